"""Trackers of a third party: one that is sound, and some that are not."""

import os
import time


class Lines:
    """Writes what it receives to a file."""

    def __init__(self, config, work):
        self.file = (work / "lines.txt").open("a")
        self.file.write(f"open {config.env_key} {config.algorithm_key} {config.seed}\n")

    def write(self, file, row):
        self.file.write(f"{file} {row['env_steps']}\n")

    def close(self):
        self.file.write("closed\n")
        self.file.close()


class Spoils:
    """Uses each row up."""

    def __init__(self, config, work):
        pass

    def write(self, file, row):
        row.update(dict.fromkeys(row, 1e9))
        row.popitem()
        row.clear()

    def close(self):
        pass


class FailsAtOnce:
    def __init__(self, config, work):
        raise RuntimeError("no server\nhere")


class FailsLater:
    def __init__(self, config, work):
        pass

    def write(self, file, row):
        if row["env_steps"] > 300:
            raise SystemExit("I end your run")


class Hangs(FailsLater):
    def write(self, file, row):
        time.sleep(3600)


NOT_A_CLASS = os.name
