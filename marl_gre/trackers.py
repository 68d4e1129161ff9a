"""Trackers: where a run's rows also go while it trains, as TensorBoard or Weights & Biases (`--log`, `MARL_GRE_LOG`).

A run's CSV files are its record; a tracker only shows them earlier, under the names and units of metrics.py. No tracker
is part of a run's identity. Each works in a thread of its own: one that raises is dropped with one warning, and one
that hangs is left behind, so that a run neither fails nor waits.
"""

import math
import os
import queue
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, Self

from marl_gre.config import RunConfig
from marl_gre.errors import BadInput
from marl_gre.metrics import COUNTERS, METRICS, Row
from marl_gre.storage.files import csv_text
from marl_gre.third_party import imported, installed

VARIABLE = "MARL_GRE_LOG"
"""Environment variable with the default of `--log`: names, separated by commas."""

CLOSE_S = 10.0
"""How long the end of a run waits for its trackers."""


class Tracker(Protocol):
    """What receives rows; made by calling its class with the run's config and the folder of running work.

    Rows come in the order of their `env_steps`. A run that resumes begins with the rows of its checkpoint, which are
    the same numbers as before: a tracker that keeps one value per column and step needs to do nothing about it.
    """

    def write(self, file: str, row: Row) -> None:
        """Take a row of tests.csv, entropy.csv or training.csv, a copy; NaN where a cell is empty."""

    def close(self) -> None:
        """Finish; no row follows."""


TrackerClass = Callable[[RunConfig, Path], Tracker]


def folder_of(config: RunConfig, work: Path, name: str) -> Path:
    """Return where a tracker called `name` keeps the files of a run."""
    return work / name / config.env_key / config.algorithm_key / str(config.seed)


def values(file: str, row: Row) -> dict[str, float]:
    """Return a row's numbers by file and column, as tests/episode_return_mean, without counters and empty cells."""
    prefix = file.removesuffix(".csv")
    return {f"{prefix}/{name}": value for name, value in row.items() if name not in COUNTERS and not math.isnan(value)}


def units() -> dict[str, str]:
    """Return the unit of each declared column, by file and column."""
    return {
        f"{metric.file.removesuffix('.csv')}/{metric.name}": metric.unit
        for metric in METRICS
        if metric.name not in COUNTERS
    }


class LiveCSV:
    """The files that a run will publish, as far as it is: in work/live/ENV/ALGORITHM/SEED, for `dvc plots show`."""

    def __init__(self, config: RunConfig, work: Path):
        self.folder = folder_of(config, work, "live")
        self.rows: dict[str, list[Row]] = {}
        self.headers: dict[str, str] = {}
        self.folder.mkdir(parents=True, exist_ok=True)
        for path in self.folder.glob("*.csv"):
            path.unlink()

    def write(self, file: str, row: Row) -> None:
        """See Tracker."""
        rows = self.rows.setdefault(file, [])
        rows.append(row)
        header, _, line = csv_text([row]).partition("\n")
        if header == self.headers.get(file):
            with (self.folder / file).open("a") as opened:
                opened.write(line)
        else:  # the first row, or one with other columns
            text = csv_text(rows)
            self.headers[file] = text.partition("\n")[0]
            (self.folder / file).write_text(text)

    def close(self) -> None:
        """See Tracker."""


class TensorBoard:
    """Event files in work/tensorboard/ENV/ALGORITHM/SEED (`tensorboard --logdir work/tensorboard`)."""

    def __init__(self, config: RunConfig, work: Path):
        from torch.utils.tensorboard import SummaryWriter

        # All rows come again when a run resumes: purge_step hides what earlier files of this folder hold.
        self.writer = SummaryWriter(str(folder_of(config, work, "tensorboard")), purge_step=0)
        table = "\n".join(f"| {name} | {unit} |" for name, unit in units().items())
        self.writer.add_text("units", f"| column | unit |\n| --- | --- |\n{table}", 0)

    def write(self, file: str, row: Row) -> None:
        """See Tracker."""
        for name, value in values(file, row).items():
            self.writer.add_scalar(name, value, int(row["env_steps"]))
        self.writer.flush()

    def close(self) -> None:
        """See Tracker."""
        self.writer.close()


class WandB:
    """A run of Weights & Biases, whose own variables (WANDB_PROJECT, WANDB_MODE, ...) hold; its files: work/wandb."""

    def __init__(self, config: RunConfig, work: Path):
        import wandb

        work.mkdir(parents=True, exist_ok=True)
        self.run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", "marl-gre"),
            id=config.identity()[:32],
            resume="allow",
            name=f"{config.env_key} {config.algorithm_key} seed {config.seed}",
            group=f"{config.env_key} {config.algorithm_key}",
            config={**config.resolved(), "units": units()},
            dir=str(work),
            settings=wandb.Settings(silent=True, console="off", init_timeout=30),
        )
        self.known = self.run.step  # a step that the server has is not taken again

    def write(self, file: str, row: Row) -> None:
        """See Tracker."""
        step = int(row["env_steps"])
        if step >= self.known:
            self.run.log(values(file, row), step=step)

    def close(self) -> None:
        """See Tracker."""
        self.run.finish()


TRACKERS: Mapping[str, TrackerClass] = {"csv": LiveCSV, "tensorboard": TensorBoard, "wandb": WandB}
"""Trackers by name. One that needs a library has the library's name, and so has the extra that installs it."""


def from_variable() -> list[str]:
    """Return the names in the environment variable.

    Raises:
        BadInput: as `find`, naming the variable.
    """
    names = [name for part in os.environ.get(VARIABLE, "").split(",") if (name := part.strip())]
    find(names, VARIABLE)
    return names


def find(names: Sequence[str], source: str = "--log") -> dict[str, TrackerClass]:
    """Return tracker classes by name: one of TRACKERS, or package.module:Class.

    Args:
        names: the names.
        source: where they come from, for messages.

    Raises:
        BadInput: there is no such tracker, or its library is not installed.
    """
    found: dict[str, TrackerClass] = {}
    for name in names:
        if ":" not in name:
            if name not in TRACKERS:
                raise BadInput(f"{source}: found {name!r}; {', '.join(TRACKERS)} or package.module:Class is allowed.")
            if name != "csv" and not installed(name):
                raise BadInput(f'{source} {name}: the library is missing: pip install "marl-gre[{name}]".')
            found[name] = TRACKERS[name]
            continue
        try:
            found[name] = imported(name, "package.module:Class")
        except ValueError as error:
            raise BadInput(f"{source}: {error}.") from error
        if not callable(found[name]):
            raise BadInput(f"{source}: found {name!r}, which is not a class; use package.module:Class.")
    return found


class Trackers:
    """Hands rows on to trackers, each in a thread of its own that starts with the first rows.

    Args:
        classes: what `find` returned.
        config: the run's.
        work: the folder of running work.
    """

    def __init__(self, classes: Mapping[str, TrackerClass], config: RunConfig, work: Path):
        self._workers = [_Worker(name, made, config, work) for name, made in classes.items()]
        self._seen: dict[str, int] = {}

    def follow(self, files: Mapping[str, Sequence[Row]]) -> None:
        """Hand on the rows that are new in `files`: all rows so far, by file."""
        if not self._workers:
            return
        new = []
        for file, rows in files.items():
            new += [(file, row) for row in rows[self._seen.get(file, 0) :]]
            self._seen[file] = len(rows)
        for item in sorted(new, key=lambda item: item[1]["env_steps"]):
            for worker in self._workers:
                worker.take((item[0], dict(item[1])))  # its own row: what a tracker writes into it reaches nobody

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: Any) -> None:
        """Close the trackers; wait CLOSE_S seconds for all of them together."""
        for worker in self._workers:
            worker.take(None)
        deadline = time.monotonic() + CLOSE_S
        for worker in self._workers:
            worker.wait(deadline)


class _Worker:
    def __init__(self, name: str, made: TrackerClass, config: RunConfig, work: Path):
        self.name = name
        self.items: queue.SimpleQueue[tuple[str, Row] | None] = queue.SimpleQueue()
        # a daemon: the interpreter does not wait for one that hangs
        self.thread = threading.Thread(target=self._work, args=(made, config, work), name=f"log {name}", daemon=True)

    def take(self, item: tuple[str, Row] | None) -> None:
        if item is not None and self.thread.ident is None:
            self.thread.start()
        self.items.put(item)

    def wait(self, deadline: float) -> None:
        if self.thread.ident is None:
            return
        self.thread.join(max(0.0, deadline - time.monotonic()))
        if self.thread.is_alive():
            self._warn(f"not finished after {CLOSE_S:.0f} s; it was left behind")

    def _work(self, made: TrackerClass, config: RunConfig, work: Path) -> None:
        try:
            tracker = made(config, work)
            while (item := self.items.get()) is not None:
                tracker.write(*item)
            tracker.close()
        except BaseException as error:  # SystemExit too: nothing that a tracker does ends a run
            self._warn(f"{type(error).__name__}: {error}; the run goes on without it")

    def _warn(self, message: str) -> None:
        print(f"warning: --log {self.name}: {' '.join(message.split())}.", file=sys.stderr)
