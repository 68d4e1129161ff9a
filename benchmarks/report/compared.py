"""Side studies beside the main results: which runs stand together, and the figures of them.

A study's own report holds its runs alone, since DVC tracks them apart; what puts two projects side by side is made
here, for studies/README.md (`python -m benchmarks.report.readme`).
"""

import itertools
import math
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib.style
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, StrMethodFormatter

from benchmarks.claims.declared import ENTROPY_ALL, FINAL_RETURN, anchor_of
from benchmarks.claims.presented import compared_text
from benchmarks.claims.verdicts import Judgement
from benchmarks.report.drawing import COLOURS, LOOK, as_png
from benchmarks.report.gather import Results, Run, seed_list
from benchmarks.report.tables import entropy_percentiles
from marl_gre.stats import Array

MAIN, OWN = COLOURS[0], COLOURS[1]
"""Of the main results and of the study, in every figure here."""
PERCENTS = (5, 25, 50, 75, 95)
WEIGHT_0 = 1e-5
"""Where a log axis shows the weight 0."""


@dataclass(frozen=True)
class Compared:
    """A side study and what of the main results stands beside it."""

    envs: tuple[str, ...]
    algorithms: tuple[str, ...] = ("qmix", "qmix_simple", "qmix_gre_1e-3")
    figure: "Draw | None" = None
    alt: str = ""  # what the figure shows

    def lines(self, main: Results, study: Results, env: str) -> list[tuple[Results, str]]:
        """Return whose runs an environment shows, as (results, algorithm): the main results', then the study's."""
        ours = [(main, name) for name in self.algorithms] if env in self.envs else []
        return ours + ([(study, name) for name in study.params.run.algorithms] if env in study.params.run.envs else [])


Draw = Callable[[Compared, Results, Results], Figure]
"""From what is compared, the main results and the study's, to the figure."""


def missing(study: Results) -> list[str]:
    """Return a sentence on the study's runs that are not there; none where nothing is missing."""
    if not study.missing:
        return []
    run, begun = study.params.run, {env for env, _, _ in study.runs}
    lacking: dict[tuple[str, tuple[int, ...]], list[str]] = {}  # algorithms by environment and missing seeds
    for env, name in itertools.product(run.envs, run.algorithms):
        seeds = tuple(sorted(key[2] for key in study.missing if key[:2] == (env, name)))
        if seeds and env in begun:
            lacking.setdefault((env, seeds), []).append(study.title(name))
    parts = []
    for (env, seeds), names in lacking.items():
        whose = "every algorithm" if len(names) == len(run.algorithms) > 1 else ", ".join(names)
        parts.append(f"{'seeds' if len(seeds) > 1 else 'seed'} {seed_list(seeds)} of {whose} on {study.title(env)}")
    if untouched := [study.title(env) for env in run.envs if env not in begun]:
        parts.append(f"all on {', '.join(untouched)}")
    number, total = len(study.missing), len(study.runs) + len(study.missing)
    return [f"**{number} of {total} runs {'is' if number == 1 else 'are'} missing: {'; '.join(parts)}.**"]


def side_by_side(compared: Compared, main: Results, study: Results) -> Figure:
    """Return final returns and entropies of all algorithms, a row of two panels for each environment."""
    envs = study.params.run.envs
    heights = [len(compared.lines(main, study, env)) for env in envs]
    figure = Figure(figsize=(8.4, 0.24 * sum(heights) + 1.1 * len(envs) + 0.5), layout="constrained")
    panels = figure.subplots(len(envs), 2, squeeze=False, height_ratios=heights)
    for env, (left, right) in zip(envs, panels, strict=True):
        lines = compared.lines(main, study, env)
        for y, (results, name) in enumerate(lines):
            colour, runs = OWN if results is study else MAIN, results.select(env, name)
            if not runs:
                left.text(
                    0.5, y, "not run", transform=left.get_yaxis_transform(), ha="center", va="center", color="0.4"
                )
                continue
            _returns(left, y, FINAL_RETURN.read(runs, results.params), colour)
            _entropies(right, y, runs, colour)
        play = anchor_of(main.params, env)
        if play:
            left.axvline(play["idle"], color="0.5", linewidth=1, linestyle=":")
        left.set_yticks(range(len(lines)), [results.title(name) for results, name in lines])
        right.set_yticks(range(len(lines)), [])
        for axes, title in ((left, f"{study.title(env)}: final return"), (right, "entropy (1: even)")):
            axes.set_title(title)
            axes.set_ylim(len(lines) - 0.5, -0.5)
            _plain(axes, "x")
    figure.supxlabel(
        "blue: main results, orange: this study. Returns: dots are seeds, lines their mean, dotted: doing nothing.\n"
        "Entropies of all training's steps: 5 to 95% (thin), 25 to 75% (thick), median (dot); hollow: credits of the "
        "function",
        fontsize=8,
    )
    return figure


def _returns(axes: Axes, y: int, values: Array, colour: str) -> None:
    axes.plot(values, np.full(len(values), y), "o", color=colour, markersize=3.5, alpha=0.6)
    axes.plot([np.mean(values)] * 2, [y - 0.32, y + 0.32], color=colour, linewidth=2)


def _entropies(axes: Axes, y: int, runs: Sequence[Run], colour: str) -> None:
    """Draw percentiles: 5 to 95 thin, 25 to 75 thick, the median as a dot; the function's credits below, hollow."""
    for reading, shift in (("exact", 0.0), ("function", 0.28)):
        found = entropy_percentiles(runs, "single steps", reading, PERCENTS)  # type: ignore[arg-type]
        if found is None:
            continue
        axes.plot(found[[0, 4]], [y + shift] * 2, color=colour, linewidth=1)
        axes.plot(found[[1, 3]], [y + shift] * 2, color=colour, linewidth=3.5, alpha=0.5)
        face = colour if reading == "exact" else "white"
        axes.plot(found[2], y + shift, "o", color=colour, markersize=4, markerfacecolor=face)


def against_weight(compared: Compared, main: Results, study: Results) -> Figure:
    """Return entropy and final return against the regulariser's weight, a column for each environment."""
    envs = study.params.run.envs
    figure = Figure(figsize=(4.2 * len(envs), 5.4), layout="constrained")
    panels = figure.subplots(2, len(envs), squeeze=False, sharex=True)
    measures = (("Gradient entropy\n(mean over training, 1: even)", ENTROPY_ALL), ("Final return", FINAL_RETURN))
    for env, column in zip(envs, panels.T, strict=True):
        column[0].set_title(study.title(env))
        column[1].set_xlabel("weight of the entropy term, gre_lambda (0: QMIX)")
        for axes, (label, measure) in zip(column, measures, strict=True):
            means: dict[float, float] = {}
            for results, name in compared.lines(main, study, env):
                weight, runs = gre_lambda(results, name), results.select(env, name)
                if not runs:
                    continue
                values = measure.read(runs, results.params)
                colour = OWN if results is study else MAIN
                axes.plot(np.full(len(values), weight or WEIGHT_0), values, "o", color=colour, markersize=4, alpha=0.6)
                means[weight or WEIGHT_0] = float(values.mean())
                if weight == 0:
                    axes.axhspan(values.min(), values.max(), color=MAIN, alpha=0.1, linewidth=0)
            axes.plot([*sorted(means)], [means[weight] for weight in sorted(means)], color="0.4", linewidth=1)
            if env == envs[0]:
                axes.set_ylabel(label)
            axes.set_xscale("log")
            axes.set_xlim(WEIGHT_0 / 2, 20)
            ticks = [WEIGHT_0, *(10.0**power for power in range(-4, 2))]
            axes.set_xticks(ticks, ["0", *(f"{tick:g}" for tick in ticks[1:])])
            axes.minorticks_off()
            _plain(axes, "both")
    figure.supxlabel(
        "dots: seeds, line: their mean; blue: main results, band: QMIX's seeds; orange: this study", fontsize=8
    )
    return figure


def new_beside_pilot(results: Results, new: Sequence[Judgement], pilot: Sequence[Judgement]) -> Figure:
    """Return differences on new seeds and in the pilot, a row for each claim, a column for each environment.

    Args:
        results: the runs.
        new: verdicts on claims with one test and at most one candidate each, on the same environments.
        pilot: the same claims and environments on the pilot's seeds, in the same order.
    """
    envs, claims = ([*dict.fromkeys(names)] for names in zip(*((one.env, one.claim.name) for one in new), strict=True))
    figure = Figure(figsize=(4.2 * len(envs), 1.25 * len(claims) + 0.4), layout="constrained")
    panels = figure.subplots(len(claims), len(envs), squeeze=False, sharey=True)
    for one, before in zip(new, pilot, strict=True):
        axes = panels[claims.index(one.claim.name)][envs.index(one.env)]
        (outcome,), (earlier,) = one.outcomes, before.outcomes
        ends = [end for end in (0.0, *outcome.region) if math.isfinite(end)]
        for y, found, colour in ((0, outcome, OWN), (1, earlier, MAIN)):
            if found.mean is not None:
                bar = [end for end in (found.low, found.high) if end is not None]
                axes.plot(bar, [y] * len(bar), color=colour, linewidth=2)
                axes.plot(found.mean, y, "o", color=colour, markersize=5)
                ends += [found.mean, *bar]
        room = 0.08 * (max(ends) - min(ends))
        least, most = min(ends) - room, max(ends) + room
        axes.axvspan(max(outcome.region[0], least), min(outcome.region[1], most), color="0.9", linewidth=0, zorder=0)
        axes.axvline(0, color="0.5", linewidth=1, linestyle=":")
        axes.set_xlim(least, most)
        axes.set_ylim(1.6, -0.6)
        axes.set_yticks([0, 1], ["new seeds", "pilot"])
        axes.set_title(f"{one.claim.name}, {results.title(one.env)}: {one.verdict}", fontsize=9)
        axes.set_xlabel(textwrap.fill(compared_text(outcome), 52), fontsize=8)
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,g}"))
        _plain(axes, "x")
    figure.supxlabel(
        "dots: means over seeds, bars: 95% intervals of each test alone, grey: what is claimed", fontsize=8
    )
    return figure


def gre_lambda(results: Results, algorithm: str) -> float:
    """Return the weight of an algorithm's entropy term, 0 where it has none."""
    return float(results.params.algorithms[algorithm].resolved().get("gre_lambda", 0))


def _plain(axes: Axes, grid: str) -> None:
    axes.grid(color="0.9", linewidth=0.6, axis=grid)  # type: ignore[arg-type]
    axes.spines[["top", "right"]].set_visible(False)


BESIDE: dict[str, Compared] = {
    "readings": Compared(("traffic_junction10_v0", "traffic_junction10_v1", "lumberjacks_v0")),
    "one_layer": Compared(("lumberjacks_v0", "traffic_junction10_v0")),
    "mixers": Compared(
        ("lumberjacks_v1", "traffic_junction10_v1"),
        ("vdn", "qmix", "qmix_simple", "qmix_gre_1e-3"),
        side_by_side,
        "Final returns and gradient entropies of the further mixers beside VDN, QMIX, QMIX-simple and QMIX-GRE",
    ),
    "lambda_sweep": Compared(
        ("lumberjacks_v1", "traffic_junction10_v1"),
        ("qmix", "qmix_gre_1e-4", "qmix_gre_5e-4", "qmix_gre_1e-3"),
        against_weight,
        "Gradient entropy and final return against the weight of the entropy term, from 0 to 10, by seed",
    ),
    "equal_credit": Compared(
        ("lumberjacks_v0", "traffic_junction10_v1"),
        ("vdn", "qmix", "qmix_simple", "qmix_simple_sized"),
        side_by_side,
        "Final returns and gradient entropies of QMIX with equal credit beside QMIX, QMIX-simple and VDN, by seed",
    ),
}
"""Each side study with a table of its runs below those of the main results."""


def png(draw: Callable[..., Figure], *arguments: Any) -> bytes:
    """Return a figure of this module as PNG."""
    with matplotlib.style.context(["default", LOOK]):
        return as_png(draw(*arguments))
