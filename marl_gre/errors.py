"""The project's errors and exit codes; every command prints one line per error and leaves no traceback.

| code | class | when |
|---|---|---|
| 0 | - | done |
| 1 | `MarlGreError` | runs of the launcher failed |
| 2 | `BadInput` | the user's params, command line or files cannot be used |
| 3 | `EnvironmentFailed` | an environment raised or returned unusable output |
| 4 | `NonFinite` | NaN or infinity in a loss, gradient, reward or observation |
| 5 | `RunInUse` | another process trains this run |
| 6 | `StorageFailed` | the run cannot be written or read back |
| 7 | `NotVerified` | a published run no longer matches what was published |
| 129, 130, 143 | `Stopped` | stopped by SIGHUP, SIGINT or SIGTERM |
| 141 | - | the output pipe was closed (`marl-gre ... | head`) |
"""

import argparse
import contextlib
import os
import sys
from collections.abc import Callable
from typing import NoReturn, TextIO


class MarlGreError(Exception):
    """An error whose message is one line that tells the user what to do."""

    exit_code = 1


class BadInput(MarlGreError):
    """The user's input cannot be used."""

    exit_code = 2


class EnvironmentFailed(MarlGreError):
    """An environment raised or returned unusable output."""

    exit_code = 3


class NonFinite(MarlGreError):
    """A loss, gradient, reward or observation is NaN or infinite."""

    exit_code = 4


class RunInUse(MarlGreError):
    """Another process holds the run's lock."""

    exit_code = 5


class StorageFailed(MarlGreError):
    """A run's files cannot be written or read back."""

    exit_code = 6


class NotVerified(MarlGreError):
    """A published run's files have changed, or its numbers are not reproduced."""

    exit_code = 7


class Stopped(MarlGreError):
    """The run was stopped by a signal. The exit code is never 0, which DVC would record as finished."""

    def __init__(self, message: str, signal_number: int):
        super().__init__(message)
        self.exit_code = 128 + signal_number


class _Answered(SystemExit):
    """A parser has printed what `--help` or `--version` asks for."""


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line, like all others."""

    def exit(self, status: int = 0, message: str | None = None) -> NoReturn:
        """Raise what tells a parser's end from a `sys.exit` of a part of the run, which can be anyone's code."""
        raise _Answered(status)

    def error(self, message: str) -> NoReturn:
        """Raise BadInput with the parser's message."""
        raise BadInput(f"{message}; see {self.prog} --help.")


def run_cli(main: Callable[[], None]) -> NoReturn:
    """Run a command's main function; on an error print one line to stderr and exit with the error's code."""
    try:
        sys.exit(_exit_code(main))
    finally:
        for stream in (sys.stdout, sys.stderr):
            _give_up(stream)


def _exit_code(main: Callable[[], None]) -> int:
    try:
        with contextlib.suppress(_Answered):
            main()
        print(end="", flush=True)  # here, where a full disk can be reported; nothing where there is no output
    except MarlGreError as error:
        return _failed(" ".join(str(error).split()), error.exit_code)
    except SystemExit as ended:
        reason = f"code that this command runs called sys.exit({ended.code!r}); let it raise an exception instead."
        return _failed(reason, BadInput.exit_code)
    except KeyboardInterrupt:
        return _failed("stopped by Ctrl-C.", 130)
    except BrokenPipeError:  # the reader of our output went away (`marl-gre ... | head`)
        return 141
    except MemoryError as error:
        return _failed(
            f"out of memory ({error}); make networks smaller or episodes fewer or shorter.", BadInput.exit_code
        )
    except OSError as error:
        return _failed(f"{error}; free space, fix permissions or name another path.", StorageFailed.exit_code)
    return 0


def _failed(reason: str, exit_code: int) -> int:
    with contextlib.suppress(OSError):  # nobody reads it
        print(f"error: {reason}", file=sys.stderr)
    return exit_code


def _give_up(stream: TextIO | None) -> None:
    """Drop what a stream does not take, or the interpreter's end would try again and exit with 120."""
    if stream is None:
        return
    try:
        stream.flush()
    except (OSError, ValueError):
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
