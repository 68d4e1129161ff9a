"""What `make reliability` counts: each row is a set of tests at the counts of a tier, and the table of the README.

The tests are those of tests/reliability; RELIABILITY_TIER sets how much they do, and what they counted comes back in a
file. Each test's counts are kept as soon as it ends (results/reliability.json), so that the work can be stopped and
gone on with: what was counted on the same code and tier is not counted again.
"""

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import torch

from benchmarks.report.readme import README, put
from marl_gre.errors import BadInput, MarlGreError, Parser, run_cli
from marl_gre.storage.files import publish_json
from marl_gre.storage.provenance import machine

TESTS = Path("tests/reliability")
RESULTS = Path("results/reliability.json")
PIPELINE = ("cells", "distributed", "evaluate", "launch", "layout", "node", "train")
CODE = (
    *("marl_gre", "envs", "tests/reliability", "tests/probe_envs.py", "dvc.yaml"),
    *(f"benchmarks/{module}.py" for module in PIPELINE),
)
TIERS = ("fast", "nightly", "release")


@dataclass(frozen=True)
class Row:
    """A row of the table.

    Args:
        name: as the tests call it.
        claim: what the reader is told.
        cases: what was counted, and its word in the table.
        failures: what must be zero, likewise.
        tests: pytest's node ids below tests/reliability.
        exhaustive: what the cases are all of, where they are no random sample and no rate can be bounded.
    """

    name: str
    claim: str
    cases: tuple[str, str]
    failures: tuple[tuple[str, str], ...]
    tests: tuple[str, ...]
    exhaustive: str = ""


ROWS = (
    Row(
        "resume",
        "A killed run resumes and ends with the same bits",
        ("kills", "kills"),
        (("lost", "runs lost"), ("different", "not bit-identical")),
        (
            "test_faults.py::test_killed_at_random_steps_and_resumed_the_bits_are_the_same",
            "test_faults.py::test_qmix_gre_on_traffic_junction_10_killed_ten_times",
        ),
    ),
    Row(
        "crash points",
        "A run that dies, or whose disk fills up, at any call that writes also resumes with the same bits",
        ("points", "calls"),
        (("unsafe", "unsafe"),),
        (
            "test_crash_points.py::test_a_save_broken_at_any_call_leaves_a_sound_checkpoint",
            "test_crash_points.py::test_a_run_broken_at_any_call_goes_on_to_the_same_bits",
        ),
        "all calls of a save and of a run",
    ),
    Row(
        "power failures",
        "A power failure in a save leaves a sound checkpoint (simulated disks)",
        ("disks", "disks"),
        (("lost", "runs lost"),),
        ("test_crash_points.py::test_a_power_failure_at_any_moment_of_a_save_leaves_a_sound_checkpoint",),
        "all moments of two saves",
    ),
    Row(
        "bit flips",
        "A flipped bit is detected",
        ("flips", "flips"),
        (("undetected", "undetected"),),
        (
            "test_damage.py::test_every_flipped_bit_of_a_checkpoint_is_detected",
            "test_damage.py::test_every_flipped_bit_of_a_published_run_is_detected",
        ),
    ),
    Row(
        "truncations",
        "A truncated file is detected",
        ("cuts", "cuts"),
        (("undetected", "undetected"), ("tracebacks", "tracebacks")),
        ("test_damage.py::test_every_cut_is_detected",),
    ),
    Row(
        "configs",
        "An invalid config gives a one-line error, a valid one is accepted",
        ("configs", "configs"),
        (("tracebacks", "tracebacks"), ("wrong", "wrong acceptances")),
        ("test_fuzz_config.py::test_values", "test_fuzz_config.py::test_texts"),
    ),
    Row(
        "malicious files",
        "Loading a file never runs code from it (every loader, each case)",
        ("cases", "cases"),
        (("executions", "executions"),),
        ("test_damage.py::test_no_file_runs_code",),
        "the listed cases",
    ),
    Row(
        "forged files",
        "A damaged file whose hashes were recomputed to match gives a one-line error",
        ("files", "files"),
        (("tracebacks", "tracebacks"),),
        ("test_damage.py::test_damage_behind_fitting_hashes_ends_in_one_line",),
    ),
    Row(
        "determinism",
        "Two runs give the same bits",
        ("pairs", "pairs"),
        (("mismatches", "mismatches"),),
        ("test_determinism.py::test_two_runs_give_the_same_bits_and_other_seeds_others",),
    ),
    Row(
        "pipeline",
        "`dvc repro` run twice at once, or killed and repeated, leaves complete results",
        ("disturbed", "cases"),
        (("corrupted", "corrupted"),),
        ("test_pipeline_faults.py::test_disturbed_pipelines_end_with_the_same_results",),
    ),
    Row(
        "cluster",
        "A Ray cluster whose nodes and driver are killed gives the same bits as one machine (24 runs, 3 nodes)",
        ("kills", "kills"),
        (("different", "files not bit-identical"), ("restarted", "trained twice from the start")),
        ("test_cluster.py::test_nodes_and_driver_killed_at_random",),
    ),
)


def main() -> None:
    """Count rows and write the table."""
    parser = Parser(
        prog="python -m benchmarks.reliability",
        description="Count what breaks under faults, and write the README's table.",
    )
    names = [row.name for row in ROWS]
    parser.add_argument("--only", action="append", metavar="ROW", help=f"one row; repeatable: {', '.join(names)}")
    parser.add_argument("--tier", choices=TIERS, default="release", help="how much (default: %(default)s)")
    parser.add_argument("--again", action="store_true", help="count again what was counted on this code")
    parser.add_argument("--table", action="store_true", help="only write the table from what was counted")
    parser.add_argument("--results", type=Path, default=RESULTS, help="what was counted (default: %(default)s)")
    parser.add_argument("--readme", type=Path, default=README, help="file with the table (default: %(default)s)")
    arguments = parser.parse_args()
    unknown = sorted(set(arguments.only or names) - set(names))
    if unknown:
        raise BadInput(f"--only: found {unknown[0]!r}; one of {', '.join(names)} is allowed.")
    counted = read(arguments.results)
    put("reliability", table(counted), arguments.readme)  # missing markers are found before hours of counting
    broken = []
    for row in () if arguments.table else ROWS:
        if row.name in (arguments.only or names):
            broken += count(row, arguments.tier, arguments.again, counted, arguments.results)
    put("reliability", table(counted), arguments.readme)
    print(table(counted))
    if broken:
        raise MarlGreError(f"failed: {', '.join(broken)}; the table shows what was counted.")


def count(row: Row, tier: str, again: bool, counted: dict[str, Any], path: Path) -> list[str]:
    """Run the tests of a row that were not run yet, one by one; keep what each counted; return those that failed."""
    entries = counted.setdefault(row.name, {})
    broken = []
    here = {"code": code(), "tier": tier}
    again = again or commit().endswith("+")  # nobody knows what was counted then
    known = collect(row.tests)
    for gone in set(entries) - set(known):
        del entries[gone]
    for test in known:
        entry = entries.get(test, {})
        if not again and all(entry.get(name) == value for name, value in here.items()) and not entry["failed"]:
            continue
        print(f"{row.name}: {test}", flush=True)
        with tempfile.TemporaryDirectory() as folder:
            tally = Path(folder) / "tally"
            environment = {**os.environ, "RELIABILITY_TIER": tier, "RELIABILITY_TALLY": str(tally)}
            command = [sys.executable, "-m", "pytest", "-q", "-n", "0", "-m", "", f"{TESTS}/{test}"]
            done = subprocess.run(command, env=environment, capture_output=True, text=True)  # noqa: S603
            lines = tally.read_text().splitlines() if tally.exists() else []
        counts: dict[str, int] = {}
        for line in lines:
            for name, value in json.loads(line)["rows"].get(row.name, {}).items():
                counts[name] = counts.get(name, 0) + value
        failed = done.returncode != 0
        if failed:
            broken.append(test)
            print(done.stdout[-3000:], file=sys.stderr)
        made_by = machine(torch.device("cpu"))["cpu"]
        entries[test] = {
            **here,
            "commit": commit(),
            "date": date.today().isoformat(),
            "cpu": made_by,
            "counts": counts,
            "failed": failed,
        }
        publish_json(path, counted)
    return broken


def collect(tests: Sequence[str]) -> list[str]:
    """Return the node ids of all cases of tests."""
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-n", "0", "-m", ""]
    done = subprocess.run(  # noqa: S603
        [*command, *(f"{TESTS}/{test}" for test in tests)], capture_output=True, text=True
    )
    prefix = f"{TESTS.as_posix()}/"
    found = [line.removeprefix(prefix) for line in done.stdout.splitlines() if line.startswith(prefix)]
    if done.returncode != 0 or not found:
        raise MarlGreError(f"pytest cannot collect {', '.join(tests)}: {done.stdout[-500:]}{done.stderr[-500:]}")
    return found


def commit() -> str:
    """Return the short commit, with a plus sign where code differs from it."""
    return git("rev-parse", "--short", "HEAD") + ("+" if git("status", "--porcelain", "--", *CODE) else "")


def code() -> str:
    """Return a hash of the committed code that counts are about; other commits leave them as they are."""
    return hashlib.sha256(git("rev-parse", *(f"HEAD:{part}" for part in CODE)).encode()).hexdigest()[:12]


def git(*arguments: str) -> str:
    """Return what git prints.

    Raises:
        MarlGreError: this is no checkout, or there is no git.
    """
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=True)  # noqa: S603, S607
    except (OSError, subprocess.SubprocessError) as error:
        raise MarlGreError(f"git cannot tell the commit ({error}); run this in a checkout.") from error
    return done.stdout.strip()


def read(path: Path) -> dict[str, Any]:
    """Return what was counted so far."""
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise BadInput(f"{path}: cannot be read ({error}); delete it to count from the beginning.") from error


def table(counted: dict[str, Any]) -> str:
    """Return the table as Markdown; a row that was not counted says so."""
    lines = ["| Claim | Counted | 95% upper bound of the failure rate | When, where |", "| --- | --- | --- | --- |"]
    for row in ROWS:
        entries = list(counted.get(row.name, {}).values())
        if not entries:
            lines.append(f"| {row.claim} | not counted yet | | |")
            continue
        total = {name: sum(entry["counts"].get(name, 0) for entry in entries) for name, _ in (row.cases, *row.failures)}
        words = [f"{total[row.cases[0]]:,} {row.cases[1]}", *(f"{total[name]:,} {word}" for name, word in row.failures)]
        failures = sum(total[name] for name, _ in row.failures)
        rate = bound(total[row.cases[0]], failures)
        rate = f"exhaustive: {row.exhaustive}" if row.exhaustive and not failures else rate
        lines.append(f"| {row.claim} | {', '.join(words)} | {rate} | {where(entries)} |")
    return "\n".join(lines)


def bound(cases: int, failures: int) -> str:
    """Return the 95% upper bound of a failure rate without failures, 3/n (Hanley and Lippman-Hand, 1983)."""
    if failures or not cases:
        return "none: there were failures" if failures else "none: nothing was counted"
    return f"{min(300 / cases, 100):.2g}%"


def where(entries: Sequence[dict[str, Any]]) -> str:
    """Return date, commit, tier and machine of a row's counts."""
    parts = []
    for name in ("date", "commit", "tier", "cpu"):
        values = sorted({str(entry[name]) for entry in entries})
        parts.append(" and ".join(values))
    failed = ", a test FAILED" if any(entry["failed"] for entry in entries) else ""
    return f"{parts[0]}, {parts[1]}, {parts[2]} counts, {parts[3]}{failed}"


if __name__ == "__main__":
    run_cli(main)
