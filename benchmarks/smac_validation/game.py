"""The real game's figures, from benchmarks/reference/real_game.yaml."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.report.gather import reference

Range = tuple[float, float]
Curve = NDArray[np.float64]


def real_game() -> dict[str, Any]:
    """Return all figures."""
    return reference("real_game")


def win_rate_at(name: str, algorithm: str, env_steps: float) -> tuple[float, Range, int] | None:
    """Return the game's mean test win rate, its least and greatest over runs, and the number of runs.

    Between the steps of the reference it is interpolated; None for what no run is known of.
    """
    found = curve_of(name, algorithm)
    if found is None:
        return None
    steps, *curves, runs = found
    mean, least, most = (float(np.interp(env_steps, steps, curve)) for curve in curves)
    return mean, (least, most), runs


def curve_of(name: str, algorithm: str) -> tuple[Curve, Curve, Curve, Curve, int] | None:
    """Return the game's steps, mean, least and greatest test win rate, and its number of runs; None if unknown."""
    curves = real_game()["win_rate"]
    found = curves.get(name, {}).get(algorithm)
    if found is None:
        return None
    grid = curves["steps"]
    steps = np.arange(grid["from"], grid["to"] + 1, grid["every"], dtype=np.float64)
    mean, least, most = (np.array(found[key], np.float64) for key in ("mean", "least", "most"))
    return steps, mean, least, most, int(found["runs"])


def test_spread_at(name: str, algorithm: str, mean_return: float) -> float | None:
    """Return the standard deviation of returns within the game's greedy tests where their mean is `mean_return`.

    It is interpolated over the means that the game's runs went through, and the nearest one's beyond them; None for
    what no log is known of.
    """
    found = real_game()["learner"].get(name, {}).get(algorithm, {})
    if "test_return_std" not in found:
        return None
    pairs = sorted(zip(found["test_return_mean"], found["test_return_std"], strict=True))
    means, spreads = np.array(pairs, float).T
    return float(np.interp(mean_return, means, spreads))
