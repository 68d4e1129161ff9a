"""How fast and how small everything is, on one thread, beside reference learners and the arithmetic itself.

    python -m benchmarks.speed [--quick] [--only SECTION] [--out FOLDER]

This file runs the sections of sections.py and prints one table for each.
"""

import json
import os
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from benchmarks.speed.cases import FULL, QUICK
from benchmarks.speed.sections import SECTIONS, Row
from benchmarks.speed.tools import peak_gflops
from marl_gre.errors import Parser, StorageFailed, run_cli
from marl_gre.storage.provenance import provenance


def machine() -> Row:
    """Return on what this runs."""
    described = provenance(torch.device("cpu"), time.monotonic())
    kept = {name: described[name] for name in ("commit", "dirty", "cpu", "threads", "python", "versions")}
    return kept | {
        "cores": os.cpu_count(),
        "peak_gflops": max(peak_gflops() for _ in range(5)),
        "load_average": os.getloadavg()[0],
    }


def heading(machine: Row) -> str:
    """Return what the report says about the machine."""
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    return (
        "# Speed and memory\n\nWritten by `make speed OUT=docs`; docs/performance.md explains the figures.\n\n"
        f"{machine['cpu']}, {machine['cores']} cores, 1 thread used; float32 matrix products "
        f"{machine['peak_gflops']:.0f} GFLOP/s; load average {machine['load_average']:.1f}; "
        f"Python {machine['python']}, {versions}. Times are CPU seconds of the thread: waiting for a core that is busy "
        "does not count.\n"
    )


def table(name: str, rows: list[Row]) -> str:
    """Return a section of the report."""
    explained = " ".join((SECTIONS[name].__doc__ or "").split())
    text = f"\n## {name}\n\n{explained}\n\n"
    if not rows:
        return text + "Not measured: torch finds no CUDA device here.\n"
    columns = list(rows[0])
    lines = [columns, ["---"] + ["---:"] * (len(columns) - 1), *([cell(v) for v in row.values()] for row in rows)]
    return text + "".join(f"| {' | '.join(line)} |\n" for line in lines)


def cell(value: object) -> str:
    """Return a table's cell: three digits, and nothing for a number that is not there."""
    if not isinstance(value, float):
        return str(value)
    return "" if value != value else f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print.

    Raises:
        StorageFailed: the files cannot be written.
    """
    parser = Parser(prog="python -m benchmarks.speed", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="seconds instead of minutes; the numbers mean little")
    parser.add_argument("--only", choices=SECTIONS, help="one section")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="also write speed.json and speed.md there")
    asked = parser.parse_args(arguments)
    torch.set_num_threads(1)
    if asked.out is not None:
        keep(asked.out, {})  # what cannot be written shows now, not after a quarter of an hour
    found = machine()
    text, sections = heading(found), {}
    print(text, end="", flush=True)
    for name in [asked.only] if asked.only else SECTIONS:
        sections[name] = SECTIONS[name](QUICK if asked.quick else FULL)
        found[f"load_average_after_{name}"] = os.getloadavg()[0]
        print(table(name, sections[name]), end="", flush=True)
        text += table(name, sections[name])
    if asked.out is not None:
        # JSON has no NaN
        numbers = {
            name: [{column: None if value != value else value for column, value in row.items()} for row in rows]
            for name, rows in sections.items()
        }
        content = json.dumps({"machine": found, "sections": numbers}, indent=1) + "\n"
        keep(asked.out, {"speed.md": text, "speed.json": content})


def keep(folder: Path, files: dict[str, str]) -> None:
    """Write files into a folder, which is made if need be.

    Raises:
        StorageFailed: that is not possible.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            (folder / name).write_text(content)
    except OSError as error:
        raise StorageFailed(f"{folder}: cannot be written ({error}); name another folder with --out.") from error


if __name__ == "__main__":
    run_cli(main)
