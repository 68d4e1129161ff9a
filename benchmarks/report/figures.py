"""The figures: each a declaration in `FIGURES` (which runs, which curve, which summary, which figure of the paper).

One panel per environment of params.yaml; drawing.py puts them together and writes them.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import ClassVar

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator

import marl_gre_envs
from benchmarks.claims.declared import OF_SPAN, anchor_of
from benchmarks.claims.smac import WIN_RATE_MARGIN
from benchmarks.report import contributions
from benchmarks.report.drawing import IQM_SUFFIX, Drawable, Drawn, Legend, line_of, save
from benchmarks.report.gather import Columns, Results, Run
from benchmarks.report.tables import SEED
from marl_gre import metrics, stats
from marl_gre.jobs.credits_measured import PHASES
from marl_gre.jobs.play import drawing
from marl_gre.metrics import TRAINING
from marl_gre.seeding import Purpose, rng
from marl_gre.stats import Array

LINE_MARGIN = 0.03
"""Of an axis, so that a line on its end is seen."""
START = 0.05
"""Share of the training whose low values an axis may leave out."""

Band = Callable[[Array], tuple[Array, Array, Array]]
"""From curves [R,T] to centre, lower and upper line, each [T]."""


@dataclass(frozen=True)
class Metric:
    """A curve that every run has."""

    name: str
    columns: Callable[[Run], Columns]
    column: str
    label: str
    least_span: tuple[float, float] | None = None  # of the vertical axis; more where the data need it


RETURN = Metric(
    "return", lambda run: run.tests, "episode_return_mean", "Test return\n(team reward per episode, greedy)"
)
WIN_RATE = Metric("win_rate", lambda run: run.tests, "win_rate", "Test win rate\n(greedy)", least_span=(0.0, 1.0))
ENTROPY = Metric(
    "entropy",
    lambda run: run.entropy,
    "mean",
    "Gradient entropy\n(batch mean, 1 = even credits)",
    least_span=(0.9, 1.0),
)


@dataclass(frozen=True)
class Summary:
    """How the runs of one algorithm become a line and a band."""

    suffix: str  # of the file name
    label: Callable[[Results], str]
    band: Callable[[Results], Band]


def _mean_and_range(curves: Array) -> tuple[Array, Array, Array]:
    return curves.mean(0), curves.min(0), curves.max(0)


def _iqm_and_interval(curves: Array, *, resamples: int, confidence: float) -> tuple[Array, Array, Array]:
    low, high = stats.bootstrap_band(curves, stats.iqm, resamples=resamples, confidence=confidence, seed=SEED)
    return stats.iqm(curves.T), low, high


MEAN = Summary(
    "", lambda results: "lines: mean over n seeds, bands: lowest to highest seed", lambda results: _mean_and_range
)
IQM = Summary(
    IQM_SUFFIX,
    lambda results: (
        f"lines: interquartile mean over n seeds, bands: {results.params.report.confidence:.0%} bootstrap CI"
    ),
    lambda results: partial(
        _iqm_and_interval,
        resamples=results.params.report.bootstrap_resamples,
        confidence=results.params.report.confidence,
    ),
)


@dataclass(frozen=True)
class Curves(Drawable):
    """A figure of learning curves, in a file for each summary."""

    metrics: tuple[Metric, ...]  # each panel shows the first that its environment has
    mixers: tuple[str, ...] | None  # whose algorithms are drawn; None: all
    summaries: tuple[Summary, ...] = (MEAN,)
    against: str | None = (
        None  # mixer whose first algorithm is subtracted, seed by seed: for lines that cover each other
    )
    most_columns: ClassVar[int] = 3

    @property
    def names(self) -> list[str]:
        """The names of its files."""
        return [f"{self.name}{summary.suffix}" for summary in self.summaries]

    @property
    def labels_all(self) -> bool:
        """Whether panels may have different vertical axes."""
        return len(self.metrics) > 1

    def legend(self, results: Results) -> Legend:
        """Return (title with the number of seeds, style) of each line."""
        return [
            (f"{results.title(name)} ({_seed_counts(results, name)})", line_of(results, name))
            for name in self._algorithms(results)
        ]

    def key(self, results: Results, name: str) -> str:
        """Return what lines and bands are in the file of this name."""
        text = self._summary(name).label(results)
        if not self.against:
            return text
        margin = "; dotted: the margin of the claims" if {RETURN, WIN_RATE} & {*self.metrics} else ""
        return f"{text}; differences between runs of one seed{margin}"

    def notes(self, results: Results) -> list[str]:
        """Return what a reader must know: substitutes, less budget than the paper's, missing runs."""
        shown = results.algorithms(self.mixers)
        missing = sum(algorithm in shown for _, algorithm, _ in results.missing)
        return [*results.notes(), *([f"Missing runs: {missing}"] if missing else [])]

    def describe(self, results: Results) -> str:
        """Return the figure in words."""
        panels = ", ".join(results.title(env) for env in results.params.run.envs)
        lines = ", ".join(results.title(name) for name in self._algorithms(results))
        labels = dict.fromkeys(self.label(results, env).replace("\n", " ") for env in results.params.run.envs)
        charts = f"Line charts of {' or '.join(labels)} against environment steps"
        return f"{charts}. Panels: {panels}. Lines: {lines or 'none'}."

    def can_be_drawn(self, results: Results) -> bool:
        """Return whether its algorithms are planned."""
        return bool(self._algorithms(results)) and (self.against is None or self._baseline(results) is not None)

    def label(self, results: Results, env: str) -> str:
        """Return the label of the vertical axis: the metric's, or that of its difference."""
        label = self._metric(results, env).label
        if not self.against:
            return label
        return f"{label.partition(chr(10))[0]}\nminus {results.title(self._baseline(results) or self.against)}'s"

    def shows(self, results: Results, name: str, env: str) -> str:
        """Return where the lines of a panel end, in words."""
        metric, band = self._metric(results, env), self._summary(name).band(results)
        ends = []
        for algorithm in self._algorithms(results):
            steps, curves = self._curves(results, env, algorithm, metric)
            if len(steps):
                ends.append(f"{results.title(algorithm)} at {band(curves)[0][-1]:.4g}")
        label = self.label(results, env).replace("\n", " ")
        return f"{results.title(env)}, {label} against environment steps: {'; '.join(ends) or 'no runs'} in the end"

    def _summary(self, name: str) -> Summary:
        return self.summaries[self.names.index(name)]

    def _metric(self, results: Results, env: str) -> Metric:
        return next(metric for metric in self.metrics if metric is not WIN_RATE or results.has_wins(env))

    def _baseline(self, results: Results) -> str | None:
        return results.first_algorithm(self.against) if self.against else None

    def _algorithms(self, results: Results) -> list[str]:
        return [name for name in results.algorithms(self.mixers) if name != self._baseline(results)]

    def _curves(self, results: Results, env: str, algorithm: str, metric: Metric) -> tuple[Array, Array]:
        """Return steps [T] and values [R,T], less the baseline's of the same seed where there is one to subtract."""
        runs = results.select(env, algorithm)
        if not self.against:
            return aligned(runs, metric)
        base = {run.key[2]: run for run in results.select(env, self._baseline(results) or "")}
        runs = [run for run in runs if run.key[2] in base]
        steps, values = aligned([*runs, *(base[run.key[2]] for run in runs)], metric)
        return steps, values[: len(runs)] - values[len(runs) :] if len(steps) else values

    def panel(self, results: Results, name: str, env: str, axes: Axes) -> None:
        """Draw line and band of each algorithm."""
        metric, band = self._metric(results, env), self._summary(name).band(results)
        bands = []
        for algorithm in self._algorithms(results):
            steps, curves = self._curves(results, env, algorithm, metric)
            if len(steps):
                style = line_of(results, algorithm)
                centre, low, high = band(curves)
                axes.fill_between(steps, low, high, color=style["color"], alpha=0.18, linewidth=0)
                axes.plot(steps, centre, **style)
                bands.append((steps, low, high))
        if self.against and bands:
            axes.axhline(0, color="0.4", linewidth=0.8)
            play = anchor_of(results.params, env)
            margin = WIN_RATE_MARGIN.value if metric is WIN_RATE else 0.0
            if metric is RETURN and play:
                margin = OF_SPAN.value * (play["good"] - play["idle"])
            for end in (-margin, margin) if margin else ():
                axes.axhline(end, color="#A23B00", linewidth=1, linestyle=(0, (1, 1)))
        axes.set_title(results.title(env))
        axes.set_xlabel("Environment steps")
        axes.xaxis.set_major_formatter(FuncFormatter(_thousands))
        axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
        axes.set_xlim(0, results.params.envs[env].total_steps)
        if metric.least_span and not self.against:
            least, most = metric.least_span
            margin = LINE_MARGIN * (most - least)
            low, high = axes.dataLim.intervaly if bands else np.array([most, least])
            axes.set_ylim(np.minimum(low - margin, least), np.maximum(high, most) + margin)
        elif bands and not self.against and (inside := without_start(bands, results.params.envs[env].total_steps)):
            axes.set_ylim(*inside)
            axes.set_xlabel(f"Environment steps\n(outside the axes: first tests, down to {axes.dataLim.y0:,.0f})")
        if not bands:
            axes.text(0.5, 0.5, "no runs", transform=axes.transAxes, ha="center", va="center", color="0.4")
            axes.set_yticks([])


@dataclass(frozen=True)
class Pictures(Drawable):
    """A figure of the environments themselves."""

    steps: int  # random steps before the picture
    is_picture: ClassVar[bool] = True

    def panel(self, results: Results, name: str, env: str, axes: Axes) -> None:
        """Show an environment's picture."""
        image = picture(results, env, self.steps)
        axes.set_axis_off()
        axes.set_title(results.title(env))
        if image is None:
            axes.text(0.5, 0.5, "no picture: this environment does not render", ha="center", va="center")
        else:
            axes.imshow(image, interpolation="nearest")

    def shows(self, results: Results, name: str, env: str) -> str:
        """Return a panel in words."""
        return f"{results.title(env)}, after {self.steps} random steps"

    def describe(self, results: Results) -> str:
        """Return the figure in words."""
        panels = ", ".join(results.title(env) for env in results.params.run.envs)
        return f"Pictures of the environments after {self.steps} random steps: {panels}."


@dataclass(frozen=True)
class Contributions(Drawable):
    """A figure of how uneven credits and the agents' contributions are, over the quarters of an episode."""

    def can_be_drawn(self, results: Results) -> bool:
        """Return whether contributions were measured."""
        return bool(contributions.measured(results))

    def legend(self, results: Results) -> Legend:
        """Return (title, style) of each line."""
        return [
            (f"{results.title(name)}: {what}", {"color": line_of(results, name)["color"], "linestyle": line})
            for name in dict.fromkeys(key[1] for key in contributions.measured(results))
            for what, line in (("Shapley shares", "-"), ("credits", ":"))
        ]

    def key(self, results: Results, name: str) -> str:
        """Return what lines and bars are."""
        return (
            f"means over the games of {contributions.EPISODES} episodes of seed {results.params.run.seeds[0]}, with "
            "95% intervals; no point where something is at stake in fewer than "
            f"{contributions.LEAST_GAMES} games"
        )

    def describe(self, results: Results) -> str:
        """Return the figure in words."""
        panels = ", ".join(results.title(env) for env in results.params.run.envs)
        return f"Lines of the unevenness of Shapley shares and of credits over the quarters. Panels: {panels}."

    def label(self, results: Results, env: str) -> str:
        """Return the label of the vertical axis."""
        return "Unevenness of shares\n(L1 distance from even)"

    def shows(self, results: Results, name: str, env: str) -> str:
        """Return a panel in words."""
        return f"{results.title(env)}, unevenness of Shapley shares and of credits by quarter"

    def panel(self, results: Results, name: str, env: str, axes: Axes) -> None:
        """Draw means with intervals by quarter, shifted so that algorithms do not cover each other."""
        axes.set_title(results.title(env))
        axes.set_xlabel("Quarter of the episode")
        axes.set_xticks(range(1, PHASES + 1))
        axes.set_xlim(0.6, PHASES + 0.4)
        here = {key[1]: games for key, games in contributions.measured(results).items() if key[0] == env}
        for place, (algorithm, games) in enumerate(here.items()):
            colour, shift = line_of(results, algorithm)["color"], 0.06 * (place - (len(here) - 1) / 2)
            sides: tuple[tuple[contributions.Side, str], ...] = (("shapley_shares", "-"), ("shares", ":"))
            for name, line in sides:
                found = contributions.by_quarter(games, name)
                ends = np.reshape([stats.mean_interval(values) for values in found.values()], (-1, 2))
                means = np.array([values.mean() for values in found.values()])
                axes.errorbar(
                    [phase + 1 + shift for phase in found],
                    means,
                    yerr=np.abs(ends.T - means),
                    color=colour,
                    linestyle=line,
                    marker="o",
                    markersize=3,
                    elinewidth=1,
                )
            n_agents = len(games[0].shares)
            axes.set_ylim(0, 2 * (n_agents - 1) / n_agents)  # one agent has everything
        if not here:
            axes.text(0.5, 0.5, "not measured", transform=axes.transAxes, ha="center", va="center", color="0.4")


GRE = ("qmix", "qmix_gre")
SCORE = (WIN_RATE, RETURN)
FIGURES: tuple[Drawable, ...] = (
    Pictures("figure_1", "The environments (Figure 1)", steps=5),
    Curves("figures_3_7", "QMIX's gradient entropy during training (Figures 3, 7)", (ENTROPY,), ("qmix",)),
    Curves("figure_4", "QMIX and QMIX-simple (Figure 4)", SCORE, ("qmix", "qmix_simple"), (MEAN, IQM)),
    Curves("figure_5_differences", "QMIX-GRE minus QMIX (Figure 5)", SCORE, ("qmix_gre",), against="qmix"),
    Curves(
        "figure_6_differences",
        "Gradient entropy of QMIX-GRE minus that of QMIX (Figure 6, there on MMM2)",
        (ENTROPY,),
        ("qmix_gre",),
        against="qmix",
    ),
    Contributions("contributions", "What agents contribute, and the credit they get, over an episode"),
    Curves("figure_5", "QMIX and QMIX-GRE (Figure 5)", SCORE, GRE, (MEAN, IQM), appendix=True),
    Curves(
        "figure_6", "Gradient entropy of QMIX and QMIX-GRE (Figure 6, there on MMM2)", (ENTROPY,), GRE, appendix=True
    ),
    Curves("figure_8", "All algorithms (Figure 8)", SCORE, None, (MEAN, IQM), appendix=True),
)


def write(results: Results, folder: Path, further: Sequence[Drawable] = ()) -> list[Drawn]:
    """Write all figures and further ones that can be drawn."""
    declared = [(one, results) for one in (*FIGURES, *further) if one.can_be_drawn(results)]
    return save([*declared, *training_curves(results)], folder)


def training_curves(results: Results) -> Iterator[tuple[Curves, Results]]:
    """Give a figure of each column of training.csv, a third party's too, with the runs that have it."""
    units = {metric.name: metric.unit for metric in metrics.declared(TRAINING)}
    found = dict.fromkeys(name for run in results.runs.values() for name in run.training)
    for name in found:
        runs = {key: run for key, run in results.runs.items() if np.isfinite(run.training.get(name, np.nan)).any()}
        if name not in metrics.COUNTERS and runs:
            label = f"{name}\n({units[name]})" if name in units else name
            metric = Metric(name, lambda run: run.training, name, label)
            title = f"During training, exploration included: {name}"
            yield Curves(f"training_{name}", title, (metric,), None, appendix=True), replace(results, runs=runs)


def without_start(bands: Sequence[tuple[Array, Array, Array]], total_steps: int) -> tuple[float, float] | None:
    """Return the ends of an axis without the start's lowest values, None where they take less than half of it.

    A first test at random weights can be so bad that nothing later could be told apart.

    Args:
        bands: (steps, lower, upper line) of each curve.
        total_steps: of the training.
    """
    later = [(low[steps >= START * total_steps], high) for steps, low, high in bands]
    least, most = min(low.min(initial=math.inf) for low, _ in later), max(high.max() for _, high in later)
    height = most - least
    if not 0 < height < (most - min(low.min() for _, low, _ in bands)) / 2:
        return None
    return least - LINE_MARGIN * height, most + LINE_MARGIN * height


def aligned(runs: Sequence[Run], metric: Metric) -> tuple[Array, Array]:
    """Return the nominal steps at which every run has the metric [T], and the values [R,T]."""
    series = []
    for run in runs:
        columns = metric.columns(run)
        values = columns[metric.column]
        series.append({step: value for step, value in zip(columns["due_steps"], values, strict=True) if value == value})
    steps = sorted(set.intersection(*(set(values) for values in series))) if series else []
    return np.array(steps), np.array([[values[step] for step in steps] for values in series])


def picture(results: Results, env: str, steps: int) -> np.ndarray | None:
    """Return an environment's picture after a few random steps, None where it cannot draw itself."""
    config = results.params.envs[env]
    try:
        vector = marl_gre_envs.make_vec(config.env, 1, **drawing(config).kwargs)
        vector.reset(seed=SEED)
        for index in range(steps):
            draws = rng(SEED, Purpose.EXPLORE, index).random(vector.action_mask.shape)
            vector.step(np.where(vector.action_mask, draws, -1).argmax(-1))
        image = vector.render()
        vector.close()
    except Exception:
        if config.env in marl_gre_envs.ENVS:
            raise
        return None  # a third party's drawing may fail in any way, and is no reason to lose the report
    return image


def _seed_counts(results: Results, algorithm: str) -> str:
    """Return how many seeds are in each panel, one number where all agree."""
    counts = [len(results.select(env, algorithm)) for env in results.params.run.envs]
    return f"n = {'/'.join(map(str, dict.fromkeys(counts) if len(set(counts)) == 1 else counts))}"


def _thousands(value: float, position: int | None) -> str:
    return f"{value / 1000:g}k" if value else "0"
