"""A run on disk: its lock, its published files, and how to read them back.

Published files appear all at once (written beside the target and renamed); nothing half-written is ever visible under
its final name. There is no pickle anywhere.
"""

import contextlib
import csv
import fcntl
import json
import os
import platform
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from marl_gre.config import RunConfig
from marl_gre.errors import BadInput, RunInUse, StorageFailed

SCHEMA = 1
"""Version of the files' layout."""

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
    except OSError as error:
        raise StorageFailed(f"{work}: cannot be written ({error.strerror}); free or choose another folder.") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.seek(0)
            holder = file.read().strip() or "another process"
            raise RunInUse(f"{work}: this run is being trained by {holder}; wait for it or stop it.") from error
        file.truncate(0)
        file.write(f"process {os.getpid()}")
        file.flush()
        yield


def write_csv(path: Path, rows: Sequence[Row]) -> None:
    """Write rows of numbers; floats with 9 significant digits, which is exact for float32."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(rows[0])
        writer.writerows([_cell(value) for value in row.values()] for row in rows)


def write_json(path: Path, content: Any) -> None:
    """Write readable JSON with sorted keys."""
    path.write_text(json.dumps(content, indent=1, sort_keys=True, allow_nan=False) + "\n")


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
        if target.exists():
            shutil.rmtree(target)
        temporary.rename(target)
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
        write_json(temporary, content)
        temporary.replace(target)
    except OSError as error:
        raise StorageFailed(f"{target}: cannot be written ({error}); free space or fix permissions.") from error


def save_weights(path: Path, agent: nn.Module, mixer: nn.Module) -> None:
    """Write the weights of agent and mixer, names prefixed with `agent.` and `mixer.`."""
    save_file(tensors_of({"agent": agent.state_dict(), "mixer": mixer.state_dict()}), path)


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
    try:
        record = json.loads((folder / "train.json").read_text())
        weights = load_file(folder / "weights.safetensors")
    except OSError as error:
        raise BadInput(f"{folder}: no finished run here ({error}); name a folder with train.json.") from error
    except Exception as error:  # safetensors raises a type of its own, json a ValueError
        raise BadInput(f"{folder}: the run is damaged ({error}); train it again.") from error
    if not isinstance(record, dict) or record.get("schema") != SCHEMA:
        raise BadInput(f"{folder}/train.json: found another file layout; this version reads schema {SCHEMA}.")
    return FinishedRun(RunConfig.from_record(record), record, weights)


def provenance(device: torch.device, started: float) -> dict[str, Any]:
    """Return where and with what a run was made; informative, never part of a result.

    Args:
        device: where it ran.
        started: `time.monotonic()` at its start.
    """
    return {
        "commit": _git("rev-parse", "HEAD"),
        "dirty": bool(_git("status", "--porcelain", "--untracked-files=no")),
        "cpu": _cpu_name(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in ("marl-gre", "torch", "numpy", "numba", "pettingzoo")},
        "wall_s": round(time.monotonic() - started, 1),
    }


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
