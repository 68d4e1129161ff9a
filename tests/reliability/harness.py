"""What the reliability tests share: how much to do, what came out, and processes that can be killed anywhere.

Nothing in the product knows of it: children patch what they count or break in their own process.
"""

import errno
import hashlib
import io
import itertools
import json
import multiprocessing
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

import pytest

from marl_gre.config import RunConfig, load_params

TIERS = ("fast", "nightly", "release")
TIER = os.environ.get("RELIABILITY_TIER", "fast")
if TIER not in TIERS:
    raise ValueError(f"RELIABILITY_TIER: found {TIER!r}; one of {', '.join(TIERS)} is allowed.")

FORK = multiprocessing.get_context("forkserver")  # torch is imported once, not in every child
FORK.set_forkserver_preload(["preloaded"])
SPAWN = multiprocessing.get_context("spawn")  # for runs on a GPU, which the server hides from what it forks

PARAMS = """
run: {envs: [probe], algorithms: [qmix_gre], seeds: [0]}
envs:
  probe: {env: "probe_envs:Memory", kwargs: {episode_limit: 2}, total_steps: 80, test_interval_steps: 20,
    test_episodes: 3, test_copies: 1, entropy_interval_steps: 20}
  lumberjacks: {env: lumberjacks_v0, kwargs: {max_steps: 10}, total_steps: 160, test_interval_steps: 50,
    test_episodes: 3, entropy_interval_steps: 25}
  traffic: {env: traffic_junction_v0, kwargs: {n_max: 5, max_steps: 10}, total_steps: 160, test_interval_steps: 50,
    test_episodes: 3, entropy_interval_steps: 25}
  smac: {env: smac_v0, kwargs: {map_name: 3m}, total_steps: 200, test_interval_steps: 100, test_episodes: 2,
    entropy_interval_steps: 50}
algorithms:
  vdn: {mixer: vdn}
  qmix: {mixer: qmix}
  qmix_simple: {mixer: qmix_simple}
  qmix_gre: {mixer: qmix_gre}
train: {hidden_dim: 8, batch_episodes: 4, replay_episodes: 12, target_update_episodes: 5, device: cpu}
evaluate: {episodes: 3}
"""
"""Runs of well under a second: the code paths of long ones, the replay full, targets copied, several checkpoints."""

ALGORITHMS = ("vdn", "qmix", "qmix_simple", "qmix_gre")


def count(fast: int, nightly: int, release: int) -> int:
    """Return how often to do something in this tier."""
    return {"fast": fast, "nightly": nightly, "release": release}[TIER]


def run_config(folder: Path, env: str = "probe", algorithm: str = "qmix_gre", seed: int = 0) -> RunConfig:
    """Return the config of one of the small runs."""
    path = folder / "params.yaml"
    path.write_text(PARAMS)
    return load_params(path).run_config(env, algorithm, seed)


class Tally:
    """Counts for the table of `make reliability`; written at the end of a test, however it ends."""

    def __init__(self, test: str):
        self.test = test
        self.rows: dict[str, dict[str, int]] = {}

    def add(self, row: str, **counts: int) -> None:
        """Add to a row of the table."""
        own = self.rows.setdefault(row, {})
        for name, value in counts.items():
            own[name] = own.get(name, 0) + int(value)

    def write(self) -> None:
        """Append what was counted to the file that RELIABILITY_TALLY names."""
        if self.rows and "RELIABILITY_TALLY" in os.environ:
            with Path(os.environ["RELIABILITY_TALLY"]).open("a") as file:
                file.write(json.dumps({"test": self.test, "rows": self.rows}) + "\n")


def digest(folder: Path) -> dict[str, str]:
    """Return SHA-256 of everything that a run in `folder` computed: published files and the learner's whole state."""
    names = ("entropy.csv", "tests.csv", "train.json", "training.csv", "weights.safetensors")
    paths = [*(folder / "out" / name for name in names), folder / "state"]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


# --- processes ------------------------------------------------------------------------------------------------------


def fork(target: Callable[..., None], *arguments: Any) -> Any:
    """Start a process in which everything is imported and compiled already."""
    here = Path(__file__).parent
    with pytest.MonkeyPatch.context() as patch:  # the server is told no path but this
        patch.setenv("PYTHONPATH", os.pathsep.join([str(here), str(here.parent), os.environ.get("PYTHONPATH", "")]))
        forkserver.ensure_running()
    process = FORK.Process(target=target, args=arguments)
    process.start()
    return process


@dataclass
class Child:
    """A training process, and the pipe on which it tells of every environment step."""

    process: Any
    events: int
    log: Path

    def steps(self) -> Iterator[int]:
        """Yield 1, 2, ... as environment steps (and the beginning and the end of loading) are reported."""
        seen = 0
        while data := os.read(self.events, 1):
            seen += len(data)
            yield seen

    def wait_for_pause(self) -> None:
        """Wait until it stands still where `start(pause_at=...)` told it to."""
        while (state := Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()[0]) != "T":
            assert state != "Z", self.errors()
            time.sleep(0.005)

    def go_on(self) -> None:
        """Let it go on."""
        os.kill(self.process.pid, signal.SIGCONT)

    def end(self) -> int:
        """Wait; return the exit code, negative for a signal."""
        while os.read(self.events, 65536):
            pass
        self.process.join()
        os.close(self.events)
        return self.process.exitcode

    def errors(self) -> str:
        """Return what it wrote to stderr."""
        return self.log.read_text()


def start(
    config: RunConfig,
    folder: Path,
    every: int = 8,
    setup: Callable[..., None] | None = None,
    *arguments: Any,
    pause_at: int = 0,
) -> Child:
    """Start training in a process of its own: published to folder/out, checkpoints in folder/work.

    Args:
        config: the run.
        folder: where.
        every: environment steps between checkpoints.
        setup: called in the child before training, with `arguments`.
        pause_at: it stands still after this many reports, so that a test need not hurry; 0 for never.
    """
    folder.mkdir(parents=True, exist_ok=True)
    receiver, sender = FORK.Pipe(duplex=False)
    told = (config, folder, every, sender, setup, arguments, pause_at)
    if config.train.device == "cuda":
        process: Any = SPAWN.Process(target=_train, args=told)
        process.start()
    else:
        process = fork(_train, *told)
    sender.close()
    events = os.dup(receiver.fileno())
    receiver.close()
    return Child(process, events, folder / "log")


def finish(config: RunConfig, folder: Path, every: int = 8) -> dict[str, str]:
    """Train to the end in a process of its own; return the run's digest."""
    child = start(config, folder, every)
    code = child.end()
    assert code == 0, child.errors()
    return digest(folder)


_REFERENCES: dict[tuple[str, int], dict[str, str]] = {}


def reference(config: RunConfig, every: int = 8) -> dict[str, str]:
    """Return the digest of the run if nothing disturbs it; each process that tests trains it once."""
    key = (config.identity(), every)
    if key not in _REFERENCES:
        with tempfile.TemporaryDirectory() as folder:
            _REFERENCES[key] = finish(config, Path(folder), every)
    return _REFERENCES[key]


def _train(
    config: RunConfig, folder: Path, every: int, events: Any, setup: Any, arguments: tuple, pause_at: int
) -> None:
    sys.stderr.flush()
    os.dup2(os.open(folder / "log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
    sys.stderr = open(2, "w", buffering=1, closefd=False)  # noqa: SIM115
    import torch

    from marl_gre import trainer as schedule
    from marl_gre.errors import run_cli
    from marl_gre.jobs import train
    from marl_gre.storage import resume

    told = itertools.count(1)

    def tell() -> None:
        os.write(events.fileno(), b".")
        if next(told) == pause_at:
            os.kill(os.getpid(), signal.SIGSTOP)

    torch.set_num_threads(1)
    train.CHECKPOINT_STEPS = every
    make_env, load, record = schedule.make_env, resume.checkpoint.load_newest, schedule.Trainer.record

    def reporting_env(*arguments):
        env = make_env(*arguments)
        step = env.step

        def reporting_step(actions):
            step(actions)
            tell()

        env.step = reporting_step
        return env

    def reporting_load(*arguments):
        tell()
        found = load(*arguments)
        tell()
        return found

    def keeping_record(trainer):
        import safetensors.torch

        with open(folder / "state", "wb") as file:  # the built-in: no call of the run's, so `Calls` leaves it alone
            file.write(safetensors.torch.save(trainer.state_dict()["tensors"]))
        return record(trainer)

    schedule.make_env, schedule.Trainer.record = reporting_env, keeping_record
    resume.checkpoint.load_newest = reporting_load
    if setup is not None:
        setup(*arguments)
    run_cli(lambda: train.train(config, folder / "out", folder / "work"))


def in_child(function: Callable[..., Any], *arguments: Any) -> Any:
    """Return function(*arguments), called in a process of its own."""
    receiver, sender = FORK.Pipe(duplex=False)
    process = fork(_call, sender, function, arguments)
    sender.close()
    try:
        result = receiver.recv()
    except EOFError:
        process.join()
        raise AssertionError(f"{function.__name__} died with {process.exitcode}") from None
    process.join()
    if isinstance(result, BaseException):
        raise result
    return result


def _call(sender: Any, function: Callable[..., Any], arguments: tuple) -> None:
    try:
        sender.send(function(*arguments))
    except BaseException as error:
        sender.send(AssertionError(f"{type(error).__name__}: {error}"))


# --- calls that change the disk -------------------------------------------------------------------------------------


@dataclass
class Calls:
    """Patches the calls that change the disk in this process: counts them, records them, and breaks one.

    Args:
        at: number of the call to break, from 1; 0 breaks none.
        how: "before" or "after" kills the process there, "torn" in the middle of a write; "full" raises ENOSPC from
            there on, as a disk does that stays full.
        under: only calls on paths that start with this count.
    """

    at: int = 0
    how: str = "before"
    under: str = "/"
    log: list[tuple] = field(default_factory=list)

    def install(self) -> None:
        """Patch, for the rest of this process's life."""
        for name in ("mkdir", "rename", "replace", "unlink", "rmdir", "fsync"):
            setattr(os, name, self._wrapped(name, getattr(os, name)))
        real_open = io.open

        def opened(path, mode="r", *arguments, **keywords):
            if ("w" not in mode and "a" not in mode) or not self._counts(os.path.abspath(path)):
                return real_open(path, mode, *arguments, **keywords)
            file = self._do("create", (os.path.abspath(path),), lambda: real_open(path, mode, *arguments, **keywords))
            return _Written(self, file, os.path.abspath(path))

        io.open = opened

    def _wrapped(self, name: str, real: Callable) -> Callable:
        def call(first, *arguments, dir_fd=None, **keywords):
            path = f"/proc/self/fd/{first}" if isinstance(first, int) else os.fspath(first)
            if isinstance(first, int):
                path = os.readlink(path)
            elif dir_fd is not None:
                path = f"{os.readlink(f'/proc/self/fd/{dir_fd}')}/{path}"
            path = os.path.abspath(path)
            if dir_fd is not None:
                keywords["dir_fd"] = dir_fd
            if not self._counts(path):
                return real(first, *arguments, **keywords)
            paths = (path, *(os.path.abspath(other) for other in arguments if isinstance(other, str | os.PathLike)))
            return self._do(name, paths, lambda: real(first, *arguments, **keywords))

        return call

    def _counts(self, path: str) -> bool:
        return path.startswith(self.under)

    def _do(self, name: str, details: tuple, real: Callable[[], Any], half: Callable[[], Any] | None = None) -> Any:
        self.log.append((name, *details))
        place = len(self.log) - 1
        here = place + 1 == self.at
        if here and self.how == "torn" and half is not None:
            half()
        if here and self.how in ("before", "torn"):
            os.kill(os.getpid(), signal.SIGKILL)
        if self.how == "full" and 0 < self.at <= len(self.log) and name in ("write", "create", "mkdir", "fsync"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(details[0]))
        try:
            return real()
        except OSError:
            self.log[place] = ("failed", *details)
            raise
        finally:
            if here and self.how == "after":
                os.kill(os.getpid(), signal.SIGKILL)


class _Written:
    """A file opened for writing whose writes count."""

    def __init__(self, calls: Calls, file: Any, path: str):
        self._calls, self._file, self._path = calls, file, path

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def __enter__(self) -> "_Written":
        return self

    def __exit__(self, *error: Any) -> None:
        self._file.close()

    def write(self, data: Any) -> Any:
        def half() -> None:
            self._file.write(data[: len(data) // 2])
            self._file.flush()

        content = data.encode() if isinstance(data, str) else bytes(data)
        return self._calls._do("write", (self._path, content), lambda: self._file.write(data), half)
