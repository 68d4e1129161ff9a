"""Provenance of a run: code, versions, machine."""

import contextlib
import platform
import subprocess
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

NOT_SOURCES = (":(top,exclude,glob)**/dvc.lock", ":(top,exclude,glob)**/results/**")
"""Pathspecs of tracked files that the pipeline itself writes; they do not count as changed sources."""


def provenance(device: torch.device, started: float) -> dict[str, Any]:
    """Return the commit, versions and machine of a run; informative, never part of a result.

    Args:
        device: device of the run.
        started: `time.monotonic()` at its start.
    """
    own = _git("ls-files", "--error-unmatch", Path(__file__).name)  # else the repository is around an installed package
    return {
        "commit": own and _git("rev-parse", "HEAD"),
        "dirty": bool(own and _git("status", "--porcelain", "--untracked-files=no", "--", ":/", *NOT_SOURCES)),
        **machine(device),
        "wall_s": round(time.monotonic() - started, 1),
    }


def machine(device: torch.device) -> dict[str, Any]:
    """Return the properties that must match for bit-identical results to be promised."""
    return {
        "cpu": f"{_cpu_name()}, {torch.backends.cpu.get_cpu_capability()}",
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in ("marl-gre", "torch", "numpy", "numba", "pettingzoo")},
    }


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
