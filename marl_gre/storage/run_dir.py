"""A run on disk: its lock, its published files, and how to read them back.

Published files appear all at once (written beside the target, through to the disk, and renamed); nothing half-written
is ever visible under its final name. SHA256SUMS holds their hashes: `sha256sum -c SHA256SUMS` reads it too. There is no
pickle anywhere.
"""

import contextlib
import csv
import fcntl
import glob
import hashlib
import io
import json
import os
import platform
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import nn

from marl_gre.config import RunConfig
from marl_gre.errors import BadInput, RunInUse, StorageFailed
from marl_gre.storage.checkpoint import sync_folder, write_durably

SCHEMA = 1
"""Version of the files' layout."""

SUMS = "SHA256SUMS"
PUBLISHED = ("entropy.csv", "provenance.json", "tests.csv", "train.json", "weights.safetensors")
"""A run's published files, all listed in SUMS."""

NOT_SOURCES = (":(top,exclude,glob)**/dvc.lock", ":(top,exclude,glob)**/results/**")
"""Pathspecs of what the pipeline itself writes and git tracks: the next run of a pipeline is not of changed sources."""

PROBE_BYTES = 1_000_000
"""What must fit on a disk before training starts: more than the published files of a gridworld run."""

Row = Mapping[str, int | float]


@contextlib.contextmanager
def lock(work: Path) -> Iterator[None]:
    """Hold the run's lock; the kernel frees it when the process dies, however it dies.

    Raises:
        RunInUse: another process holds it.
        StorageFailed: the folder cannot be written.
    """
    try:
        work.mkdir(parents=True, exist_ok=True)
        file = (work / "lock").open("a+")
        sync_folder(work.parent)
    except OSError as error:
        raise StorageFailed(f"{work}: cannot be written ({error.strerror}); free or choose another folder.") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.seek(0)
            holder = file.read().strip() or "another process"
            raise RunInUse(f"{work}: this run is being trained by {holder}; wait for it or stop it.") from error
        with contextlib.suppress(OSError):  # a full disk; the name is only for the message above
            file.truncate(0)
            file.write(f"process {os.getpid()}")
            file.flush()
        yield


def prepare(target: Path) -> None:
    """Find out before hours of work whether `target` could be published at their end; the run's lock must be held.

    What killed processes left beside it is removed.

    Raises:
        StorageFailed: it could not; the message says why.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists() and not target.is_dir():
            raise NotADirectoryError(f"{target} is a file")
        for leftover in target.parent.glob(f".{glob.escape(target.name)}.tmp-*"):
            shutil.rmtree(leftover, ignore_errors=True)
        with tempfile.TemporaryFile(dir=target.parent) as probe:  # without a name, so that a kill leaves nothing
            probe.write(bytes(PROBE_BYTES))
            probe.flush()
            os.fsync(probe.fileno())
    except OSError as error:
        raise StorageFailed(f"{target}: cannot be written ({error}); free space or fix permissions.") from error


def csv_text(rows: Sequence[Row]) -> str:
    """Return rows of numbers as CSV; floats with 9 significant digits, which is exact for float32."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(rows[0])
    writer.writerows([_cell(value) for value in row.values()] for row in rows)
    return file.getvalue()


def json_text(content: Any) -> str:
    """Return readable JSON with sorted keys."""
    return json.dumps(content, indent=1, sort_keys=True, allow_nan=False) + "\n"


def write_json(path: Path, content: Any) -> None:
    """Write readable JSON with sorted keys."""
    path.write_text(json_text(content))


def write_run(
    target: Path, tests: Sequence[Row], entropies: Sequence[Row], weights: bytes, record: Any, where: Any
) -> None:
    """Write a run's published files, and their hashes last.

    Args:
        target: an empty folder.
        tests, entropies: rows of the CSV files.
        weights: what `weights_bytes` returned.
        record: content of train.json.
        where: content of provenance.json.
    """
    contents = {
        "entropy.csv": csv_text(entropies).encode(),
        "provenance.json": json_text(where).encode(),
        "tests.csv": csv_text(tests).encode(),
        "train.json": json_text(record).encode(),
        "weights.safetensors": weights,
    }
    for name, data in contents.items():
        (target / name).write_bytes(data)
    lines = [f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in contents.items()]
    (target / SUMS).write_text("".join(lines))


@contextlib.contextmanager
def publishing(target: Path) -> Iterator[Path]:
    """Give a temporary folder whose content replaces `target` when the block ends without an error.

    Raises:
        StorageFailed: the files cannot be written.
    """
    temporary = target.with_name(f".{target.name}.tmp-{os.getpid()}")
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        yield temporary
        _sync_all(temporary)
        if target.exists():
            shutil.rmtree(target)
        temporary.rename(target)
        sync_folder(target.parent)
    except OSError as error:
        raise StorageFailed(f"{target}: cannot be written ({error}); free space or fix permissions.") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def publish_json(target: Path, content: Any) -> None:
    """Write a JSON file that appears at once.

    Raises:
        StorageFailed: it cannot be written.
    """
    temporary = target.with_name(f".{target.name}.tmp-{os.getpid()}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        write_durably(temporary, json_text(content).encode())
        temporary.replace(target)
        sync_folder(target.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise StorageFailed(f"{target}: cannot be written ({error}); free space or fix permissions.") from error


def weights_bytes(agent: nn.Module, mixer: nn.Module) -> bytes:
    """Return the weights of agent and mixer as a safetensors file, names prefixed with `agent.` and `mixer.`."""
    return safetensors.torch.save(tensors_of({"agent": agent.state_dict(), "mixer": mixer.state_dict()}))


def tensors_of(parts: Mapping[str, Mapping[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """Return the tensors of all parts as "part.name", ready for safetensors: on the CPU, contiguous."""
    return {
        f"{part}.{name}": value.detach().cpu().contiguous()
        for part, tensors in parts.items()
        for name, value in tensors.items()
    }


@dataclass(frozen=True)
class FinishedRun:
    """What a published run holds."""

    config: RunConfig
    record: dict[str, Any]  # train.json
    weights: dict[str, torch.Tensor]
    sums: dict[str, str]  # published file -> SHA-256, as read

    def load_into(self, agent: nn.Module, mixer: nn.Module) -> None:
        """Load the weights.

        Raises:
            BadInput: they do not fit, for example because the environment changed its sizes.
        """
        for prefix, module in (("agent.", agent), ("mixer.", mixer)):
            own = {name.removeprefix(prefix): value for name, value in self.weights.items() if name.startswith(prefix)}
            try:
                module.load_state_dict(own)
            except RuntimeError as error:
                raise BadInput(f"the run's weights do not fit its config: {str(error).splitlines()[-1]}") from error


def load_run(folder: Path) -> FinishedRun:
    """Read a published run.

    Raises:
        BadInput: the folder holds no finished run, or a damaged one.
    """
    if not (folder / "train.json").is_file():
        raise BadInput(f"{folder}: no finished run here; name a folder with train.json.")
    try:
        listed = read_sums(folder)
        data = {name: (folder / name).read_bytes() for name in ("train.json", "weights.safetensors")}
        for name, content in data.items():
            if hashlib.sha256(content).hexdigest() != listed.get(name):
                raise ValueError(f"{name} is not what {SUMS} says")
        record = json.loads(data["train.json"])
        weights = safetensors.torch.load(data["weights.safetensors"])
        if not all(torch.isfinite(value).all() for value in weights.values()):
            raise ValueError("its weights are not finite")
    except Exception as error:  # safetensors raises a type of its own, json a ValueError
        raise BadInput(f"{folder}: the run is damaged ({error}); train it again.") from error
    if not isinstance(record, dict) or record.get("schema") != SCHEMA:
        raise BadInput(f"{folder}/train.json: found another file layout; this version reads schema {SCHEMA}.")
    return FinishedRun(RunConfig.from_record(record), record, weights, listed)


def read_sums(folder: Path) -> dict[str, str]:
    """Return the content of a published run's SHA256SUMS.

    Raises:
        ValueError: it does not list the published files.
        OSError: it cannot be read.
    """
    text = (folder / SUMS).read_text()
    listed = {name: digest for digest, _, name in (line.partition("  ") for line in text.splitlines())}
    if text != "".join(f"{listed.get(name)}  {name}\n" for name in PUBLISHED):
        raise ValueError(f"{SUMS} does not list {', '.join(PUBLISHED)}")
    return listed


def provenance(device: torch.device, started: float) -> dict[str, Any]:
    """Return where and with what a run was made; informative, never part of a result.

    Args:
        device: where it ran.
        started: `time.monotonic()` at its start.
    """
    return {
        "commit": _git("rev-parse", "HEAD"),
        "dirty": bool(_git("status", "--porcelain", "--untracked-files=no", "--", ":/", *NOT_SOURCES)),
        **machine(device),
        "wall_s": round(time.monotonic() - started, 1),
    }


def machine(device: torch.device) -> dict[str, Any]:
    """Return what must be the same for the same bits to be promised."""
    return {
        "cpu": f"{_cpu_name()}, {torch.backends.cpu.get_cpu_capability()}",
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in ("marl-gre", "torch", "numpy", "numba", "pettingzoo")},
    }


def _sync_all(folder: Path) -> None:
    """Write a folder with all below it through to the disk."""
    for path in (*folder.rglob("*"), folder):
        sync_folder(path)  # a file is opened the same way


def _cell(value: float) -> str:
    if isinstance(value, float):
        return "" if value != value else f"{value:.9g}"  # a measurement that is not defined is an empty cell
    return str(value)


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(  # noqa: S603
            ["git", *arguments],  # noqa: S607
            cwd=Path(__file__).parent, capture_output=True, text=True, timeout=10, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None  # not a checkout, or no git
    return done.stdout.strip()


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _cpu_name() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
