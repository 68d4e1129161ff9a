"""Learning curves beside the real game's: win rates, and how much returns differ within a greedy test.

Any runs of `marl-gre train` on the maps of SMAC are read, finished ones from their published folders and
unfinished ones from their newest checkpoint.
"""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.smac_validation.checks import Check, Section
from benchmarks.smac_validation.game import test_spread_at, win_rate_at
from marl_gre.config import Params, RunConfig
from marl_gre.errors import BadInput
from marl_gre.metrics import TESTS
from marl_gre.storage import checkpoint
from marl_gre.storage.files import read_object
from marl_gre.storage.run_dir import RECORD, work_folder

TIMES = (100_000, 250_000, 500_000)
LATER = (1_000_000, 2_000_000)
LAST = 5  # the mean of this many tests up to a time
FACTOR = 1.5
POINTS = 0.10  # around a single known run of the game
"""Criteria: the spread of returns, and the win rate where no range is known."""


@dataclass(frozen=True)
class Curve:
    """The greedy tests of one run."""

    map_name: str
    algorithm: str
    seed: int
    tests: dict[str, np.ndarray]  # columns of tests.csv


def read_curves(folder: Path) -> list[Curve]:
    """Return the curves of all published SMAC runs below a folder.

    Raises:
        BadInput: one cannot be read.
    """
    curves = []
    for path in sorted(folder.rglob(RECORD)):
        try:
            config = RunConfig.from_record(read_object(path), path.parent)
            with (path.parent / TESTS).open(newline="") as file:
                rows = [{name: float(cell or "nan") for name, cell in row.items()} for row in csv.DictReader(file)]
            if not rows:
                raise ValueError(f"{TESTS} has no rows")
        except (OSError, ValueError, TypeError) as error:
            raise BadInput(f"{path.parent}: cannot be read ({error}); train the run again.") from error
        if config.env.env == "smac_v0":
            curves.append(_curve(config, rows))
    return curves


def _curve(config: RunConfig, rows: Sequence[Mapping[str, float | None]]) -> Curve:
    columns = {name: np.array([np.nan if row[name] is None else row[name] for row in rows]) for name in rows[0]}
    return Curve(config.env.kwargs.get("map_name", "8m"), config.algorithm.mixer, config.seed, columns)


def read_unfinished(params: Params, work: Path) -> list[Curve]:
    """Return the curves of the SMAC runs that params.yaml declares and that stand at a checkpoint."""
    curves = []
    for env in (key for key, config in params.envs.items() if config.env == "smac_v0"):
        for algorithm in params.algorithms:
            for seed in params.run.seeds:
                config = params.run_config(env, algorithm, seed)
                identity = config.identity()
                if (content := checkpoint.peek(work_folder(work, identity), identity)) is None:
                    continue
                curves.append(_curve(config, content["tests"]))
    return curves


def mean_of_last(curve: Curve, column: str, env_steps: int) -> float | None:
    """Return the mean of the five tests up to a time; None where the curve does not reach it."""
    due = curve.tests["due_steps"]
    if len(due) == 0 or due[-1] < env_steps:
        return None
    return float(curve.tests[column][due <= env_steps][-LAST:].mean())


def steps_to(tests: Mapping[str, np.ndarray], win_rate: float) -> float | None:
    """Return the first test where the mean of up to five tests that end with it is `win_rate`; None where none is.

    Args:
        tests: columns of tests.csv.
        win_rate: 0 to 1.
    """
    for last, due in enumerate(tests["due_steps"], start=1):
        if tests["win_rate"][max(0, last - LAST) : last].mean() >= win_rate:
            return float(due)
    return None


def inside_at(name: str, algorithm: str, env_steps: float) -> tuple[float, float] | None:
    """Return the win rates that count as the game's at a time: the range of its runs, 10 points around a single one.

    None where no run is known.
    """
    found = win_rate_at(name, algorithm, env_steps)
    if found is None:
        return None
    mean, ends, runs = found
    return ends if runs > 1 else (mean - POINTS, mean + POINTS)


def section(curves: Sequence[Curve]) -> Section:
    """Return win rates and spreads beside the game's, median over seeds."""
    checks: list[Check] = []
    for name, algorithm in sorted({(curve.map_name, curve.algorithm) for curve in curves}):
        chosen = [curve for curve in curves if (curve.map_name, curve.algorithm) == (name, algorithm)]
        where = f"{name} {algorithm}"
        for time in (*TIMES, *LATER):
            reached = [curve for curve in chosen if mean_of_last(curve, "win_rate", time) is not None]
            if reached:
                checks += _at(where, name, algorithm, time, reached)
    note = (
        f"Medians over seeds of the mean of {LAST} greedy tests; the game's mean over runs [least, most]. The spread "
        "is the standard deviation of returns within a test, the game's where its tests have the same mean return."
    )
    return Section("learning", "Learning", note, checks)


def _at(where: str, name: str, algorithm: str, time: int, curves: Sequence[Curve]) -> list[Check]:
    def medians(column: str) -> float:
        return float(np.median([mean_of_last(curve, column, time) for curve in curves]))

    words, checks, count = f"{time // 1000}K steps", [], len(curves)
    judged = time in TIMES and algorithm == "qmix"
    win_rate = win_rate_at(name, algorithm, time)
    if win_rate is None:
        return [Check(where, f"win rate after {words}", medians("win_rate"), samples=count)]
    mean, ends, _ = win_rate
    allowed = inside_at(name, algorithm, time)
    title = f"win rate after {words}"
    checks.append(Check(where, title, medians("win_rate"), mean, None, ends, allowed if judged else None, count))
    spread = test_spread_at(name, algorithm, medians("episode_return_mean"))
    if spread is not None:
        allowed = (spread / FACTOR, spread * FACTOR) if judged else None
        title = f"spread of returns after {words}"
        checks.append(Check(where, title, medians("episode_return_std"), spread, None, None, allowed, count))
    return checks
