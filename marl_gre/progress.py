"""Progress of long work: a bar on a terminal, plain lines elsewhere. The clock is read for display only."""

import sys
import time

from tqdm import tqdm

LINE_INTERVAL_S = 10.0
"""Seconds between plain lines."""


class Progress:
    """Shows how many of `total` units are done.

    Args:
        total: units of work.
        title: name of the work.
        unit: name of the units, such as "env steps".
        done: units that were done before, by the process that this one goes on from; no part of the rate.
    """

    def __init__(self, total: int, title: str, unit: str, done: int = 0):
        self.total = total
        self.title = title
        self.unit = unit
        self.done = self.earlier = done
        self.started = self.last_line = time.monotonic()
        self.bar = None
        if sys.stderr.isatty():
            self.bar = tqdm(desc=title, total=total, initial=done, unit=f" {unit}", dynamic_ncols=True)

    def update(self, done: int, note: str) -> None:
        """Update the number of finished units and a short note."""
        if self.bar is not None:
            self.bar.set_postfix_str(note, refresh=False)
            self.bar.update(min(done, self.total) - self.bar.n)
        elif time.monotonic() - self.last_line >= LINE_INTERVAL_S or done >= self.total > self.done:
            self.last_line = time.monotonic()
            rate = (done - self.earlier) / max(self.last_line - self.started, 1e-9)
            print(f"{self.title}: {done}/{self.total} {self.unit}, {rate:.0f}/s, {note}", file=sys.stderr, flush=True)
        self.done = done

    def close(self) -> None:
        """Finish the display, leaving the bar as it is."""
        if self.bar is not None:
            self.bar.close()
