"""Requests to stop: SIGINT, SIGTERM and SIGHUP are noted, and obeyed where nothing is half done."""

import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

from marl_gre.errors import Stopped

STOP = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

SAME_S = 1.0
"""Signals that come within this time of the first are the same request: `timeout` and closed terminals send several."""


@contextmanager
def noted(again_ends: bool = False) -> Iterator[list[int]]:
    """Collect the signals of STOP that arrive during the block in a list that the block may inspect.

    A handler also matters to child processes: a signal that is ignored stays ignored in them, a handled one does not.

    Args:
        again_ends: whether a second request ends the process at once, for a block that may hang before it inspects.
    """
    received: list[int] = []
    times: list[float] = []

    def handler(number: int, frame: FrameType | None) -> None:
        received.append(number)
        times.append(time.monotonic())
        if again_ends and times[-1] > times[0] + SAME_S:
            restore()
            signal.raise_signal(number)

    def restore() -> None:
        for number, action in previous.items():
            signal.signal(number, action)

    # under nohup SIGHUP is ignored, and stays so
    wanted = [n for n in STOP if n != signal.SIGHUP or signal.getsignal(n) is not signal.SIG_IGN]
    previous = {number: signal.signal(number, handler) for number in wanted}
    try:
        yield received
    finally:
        restore()


def stop_if(received: Sequence[int], advice: str) -> None:
    """Raise Stopped if a signal has arrived; the advice tells the user how to continue."""
    if received:
        raise Stopped(f"stopped by {signal.Signals(received[0]).name}; {advice}", received[0])
