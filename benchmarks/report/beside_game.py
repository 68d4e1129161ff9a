"""Learning on the embedded SMAC engine beside learning on StarCraft II itself: figure, tables, a sentence for each map.

The game's numbers are other people's runs of PyMARL (benchmarks/reference/real_game.yaml): a labelled reference behind
ours, never mixed with them. Reports without runs on the embedded engine have none of this.

The sentence follows from the numbers by a rule. At 100K, 250K, 500K, 1M and 2M steps the median over our seeds of the
win rate (mean of five tests) lies inside the range of the game's runs, above or below; an end is passed by more than
`BATTLE`, or by more than `POINTS` where one run of the game is known. Where the game's runs win on average, an engine
that does not lies below, whatever their worst one does; where neither wins yet, nothing is compared. With at least
`LIKE` of the compared places inside, and no fewer than `LEAST` of them, learning looks like learning on the game.
Otherwise the engine is easier, or harder, where at least `ONE_SIDED` of the others are above, or below; else learning
differs in both directions. A map is judged when all its planned runs are there.

A first form of the rule was fixed before any full run. It counted places where neither wins as inside, let a single
failed run of the game excuse any engine, had no `BATTLE`, and judged maps on one seed. It was changed on 27 November
2026, when all runs on 2s3z, 8m and 3s5z and seed 0 on 5m_vs_6m had been seen (seed 1 had ended), before any other map.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator

from benchmarks.claims.smac import HALF
from benchmarks.report.drawing import Drawable, Legend, line_of
from benchmarks.report.figures import MEAN, WIN_RATE, aligned
from benchmarks.report.gather import Results, Run
from benchmarks.report.tables import FINAL_WIN_RATE, Cell, Column, Content, Table, bold_notes
from benchmarks.smac_validation.game import curve_of, real_game, win_rate_at
from benchmarks.smac_validation.learning import LATER, POINTS, TIMES, Curve, mean_of_last, steps_to
from marl_gre_envs.smac.maps import MAPS

LIKE = 0.8
ONE_SIDED = 0.75
"""Shares of the places that the sentence needs."""

LEAST = 3
BATTLE = 0.031
"""One battle of 32, to three decimals as the reference has it; with a lower win rate nobody has won yet."""

ALL_TIMES = (*TIMES, *LATER)
LOGGED = (60_000, 250_000, 500_000, 1_000_000, 1_950_000)
"""Where PyMARL's log is compared; it ends short of 2M steps."""

WIDE = 4
"""Panels side by side, all of a map in one row."""

GAME: dict[str, Any] = {"color": "0.35", "linestyle": "--"}
ENGINE = "embedded engine"
NEVER = "never"

QUANTITIES = (
    ("TD loss", "td_loss", "loss"),
    ("gradient norm", "grad_norm", "grad_norm"),
    ("absolute TD error", "td_error_abs", "td_error_abs"),
    ("mean q_tot per agent", "q_tot_mean", "q_taken_mean"),
    ("return, training episodes", "episode_return_mean", "return_mean"),
)
"""Title, column of training.csv, and the name in PyMARL's log."""


KNOWN = ("win_rate", "final", "smac_paper")
"""Parts of reference/real_game.yaml."""


def map_of(results: Results, env: str) -> str | None:
    """Return the map that an entry of `envs` plays on the embedded engine with its defaults, None for others."""
    config = results.params.envs[env]
    name = config.kwargs.get("map_name")
    return str(name) if config.env == "smac_v0" and [*config.kwargs] == ["map_name"] else None


def panels(results: Results) -> list[tuple[str, str, str]]:
    """Return (env, algorithm, map) of what is planned on the engine and known of the game, none without any run."""
    found = [
        (env, name, played)
        for env in results.params.run.envs
        if (played := map_of(results, env)) is not None
        for name in results.params.run.algorithms
        if results.seeds(env, name) and any(_entry(part, played, _mixer(results, name)) for part in KNOWN)
    ]
    return found if any(results.select(env, name) for env, name, _ in found) else []


def _mixer(results: Results, algorithm: str) -> str:
    return results.params.algorithms[algorithm].mixer


def _curves(results: Results, env: str, algorithm: str) -> list[Curve]:
    return [
        Curve(map_of(results, env) or "", _mixer(results, algorithm), run.key[2], run.tests)
        for run in results.select(env, algorithm)
    ]


def at(curves: Sequence[Curve], env_steps: int) -> list[float]:
    """Return the win rate (mean of five tests) of each run that reaches a time."""
    found = [mean_of_last(curve, "win_rate", env_steps) for curve in curves]
    return [one for one in found if one is not None]


def game_rows(results: Results) -> Content:
    """Fill the table "engine beside game", with a sentence of judgement for each map."""
    rows: list[list[Cell]] = []
    for env, algorithm, played in panels(results):
        runs, curves = results.select(env, algorithm), _curves(results, env, algorithm)
        names = (results.title(env), results.title(algorithm))
        finals = [FINAL_WIN_RATE.read(run) for run in runs]
        rows.append(
            [
                *(*names, ENGINE, f"{len(runs)} of {len(results.seeds(env, algorithm))}", _spread(finals)),
                _steps([steps_to(run.tests, HALF) for run in runs]),
                *(_spread(at(curves, time), np.median) for time in ALL_TIMES),
                None,
            ]
        )
        mixer = _mixer(results, algorithm)
        end, paper = (_entry(section, played, mixer) for section in ("final", "smac_paper"))
        known = [win_rate_at(played, mixer, time) for time in ALL_TIMES]
        if end is None and paper is None:
            continue
        rows.append(
            [
                *(*names, "StarCraft II", str(end["runs"]) if end else None),
                _percent(*end["win_rate"]) if end else None,
                _thousands(end["steps_to_half"]) if end else None,
                *(_percent(one[0], *one[1]) if one else None for one in known),
                f"{100 * paper:.0f}" if paper is not None else None,
            ]
        )
    columns = [
        *(Column("Map"), Column("Algorithm"), Column("Played on"), Column("Runs"), Column("Final win rate, %")),
        Column("Steps to 50%"),
        *(Column(f"at {_thousands(time)}") for time in ALL_TIMES),
        Column("SMAC paper, %"),
    ]
    notes = [
        *sentences(results),
        "Win rates of greedy tests of 32 episodes in %, with the lowest and the highest run in brackets. Engine: an "
        "embedded substitute for StarCraft II. Final: mean over seeds of a run's last five tests. At a time: median "
        "over seeds of the mean of five tests. StarCraft II: other people's runs of PyMARL on the game itself "
        "(benchmarks/reference/real_game.yaml). Final: mean over runs of the last ten tests. At a time: mean over "
        "runs of single tests, so their range is wider than that of means of five. "
        "Steps to 50%: the first test at which the mean of the last five tests is that high, median over runs. "
        "SMAC paper: another version of the game.",
        *bold_notes(results),
    ]
    return Content(columns, rows, notes if rows else [])


def sentences(results: Results) -> list[str]:
    """Return a sentence of judgement for each map with runs."""
    planned: dict[str, list[str]] = {}
    for env, algorithm, _ in panels(results):
        planned.setdefault(env, []).append(algorithm)
    return [
        sentence(results, env, algorithms)
        for env, algorithms in planned.items()
        if any(results.select(env, name) for name in algorithms)
    ]


def sentence(results: Results, env: str, algorithms: Sequence[str]) -> str:
    """Return what the numbers say about one map."""
    title, found = results.title(env), [_found(results, env, name) for name in algorithms]
    numbers = [_numbers(results, env, name) for name in algorithms]
    seeds = {name: (len(results.select(env, name)), len(results.seeds(env, name))) for name in algorithms}
    so_far = [f"{results.title(name)} {here} of {planned}" for name, (here, planned) in seeds.items() if here < planned]
    places = [place for one in found for place in one if place.where is not None]
    if not any(found):
        return f"**{title}: no learning curve of the game is known for what is run here.**"
    inside, above, below = (sum(place.where == which for place in places) for which in (0, 1, -1))
    outcome = f"not judged before all seeds are there ({', '.join(so_far)})" if so_far else judged(inside, above, below)
    counted = ""
    if places:
        higher = sum(place.ours > place.mean for place in places)
        counted = (
            f" Win rates inside the range of the game's runs: {inside} of {len(places)} ({above} above, {below} "
            f"below); above its mean: {higher}."
        )
    known = "; ".join(one for one in numbers if one)
    return f"**{title}: {outcome}.**{counted}{f' {known}.' if known else ''}"


@dataclass(frozen=True)
class Place:
    """A time at which our win rate stands beside the game's."""

    ours: float
    mean: float  # of the game's runs
    where: int | None  # -1 below the game's runs, 0 inside, 1 above; None where neither wins yet


def _found(results: Results, env: str, algorithm: str) -> list[Place]:
    """Return the places of a map and algorithm of which the game's win rate and ours are known."""
    curves, played, mixer = _curves(results, env, algorithm), map_of(results, env) or "", _mixer(results, algorithm)
    found = []
    for time in ALL_TIMES:
        game, values = win_rate_at(played, mixer, time), at(curves, time)
        if game and values:
            ours = float(np.median(values))
            mean, ends, runs = game
            found.append(Place(ours, mean, where(ours, mean, *ends, BATTLE if runs > 1 else POINTS)))
    return found


def where(ours: float, mean: float, least: float, most: float, slack: float) -> int | None:
    """Return whether a win rate lies below (-1), inside (0) or above (1) the game's; None where neither wins yet.

    Args:
        ours: the median over our seeds.
        mean: the mean over the game's runs.
        least: the lowest of them.
        most: the highest.
        slack: how far an end may be passed.
    """
    if max(ours, most) < BATTLE:
        return None
    if ours > most + slack:
        return 1
    return -1 if ours < least - slack or ours < BATTLE <= mean else 0


def _numbers(results: Results, env: str, algorithm: str) -> str:
    """Return where an algorithm ends and when it wins half of the battles, here and in the game; "" if not known."""
    runs = results.select(env, algorithm)
    end = _entry("final", map_of(results, env) or "", _mixer(results, algorithm))
    if not runs or not end:
        return ""
    ours = 100 * np.mean([FINAL_WIN_RATE.read(run) for run in runs])
    half = _steps([steps_to(run.tests, HALF) for run in runs])
    reaches = "never reaches 50%" if half == NEVER else f"reaches 50% after {half}"
    game = _thousands(end["steps_to_half"])
    return (
        f"{results.title(algorithm)} ends at {ours:.0f}% (game {100 * end['win_rate'][0]:.0f}) and {reaches} "
        f"(game {game if game == NEVER else f'after {game}'})"
    )


def judged(inside: int, above: int, below: int) -> str:
    """Return the rule's outcome in words, from how many places are where."""
    if inside + above + below < LEAST:
        return "too few win rates to compare"
    if inside >= LIKE * (inside + above + below):
        return "learning looks like learning on the game"
    if above >= ONE_SIDED * (above + below):
        return "the engine is easier than the game"
    if below >= ONE_SIDED * (above + below):
        return "the engine is harder than the game"
    return "learning differs from the game's, in both directions"


def learner_rows(results: Results) -> Content:
    """Fill the table of what our learner records beside PyMARL's log on the game."""
    rows: list[list[Cell]] = []
    logs = real_game()["learner"]
    for env, algorithm, played in panels(results):
        log = logs.get(played, {}).get(_mixer(results, algorithm))
        runs = [run for run in results.select(env, algorithm) if run.training]
        if log is None or not runs:
            continue
        places = [logs["steps"].index(time) for time in LOGGED]
        for title, column, name in QUANTITIES:
            scale = 1 / MAPS[played].n_agents if column == "q_tot_mean" else 1.0
            names = (results.title(env), results.title(algorithm), title)
            ours = [_recorded(runs, column, time, scale) for time in LOGGED]
            rows.append([*names, ENGINE, str(len(runs)), *ours])
            rows.append([*names, "StarCraft II", str(log["runs"]), *(log[name][place] for place in places)])
    columns = [
        *(Column("Map"), Column("Algorithm"), Column("Quantity"), Column("Played on"), Column("Runs")),
        *(Column(f"at {_thousands(time)}", ".3g") for time in LOGGED),
    ]
    notes = [
        "Engine: mean over seeds of training.csv, means over 10,000 steps, on an embedded substitute for "
        "StarCraft II. StarCraft II: what PyMARL logged on the game itself, mean over other people's runs "
        "(benchmarks/reference/real_game.yaml). PyMARL divides the mean of q_tot by the number of agents, and so does "
        "this table; its logs of VDN have no gradient norm.",
        *bold_notes(results),
    ]
    return Content(columns, rows, notes if rows else [])


def _recorded(runs: Sequence[Run], column: str, time: int, scale: float) -> float | None:
    """Return the mean over the runs that reach a time, None where none does."""
    values = []
    for run in runs:
        due, recorded = run.training["due_steps"], run.training[column]
        known = np.isfinite(recorded)
        if known.any() and due[known][-1] >= time:
            values.append(float(np.interp(time, due[known], recorded[known])) * scale)
    return float(np.mean(values)) if values else None


def _entry(section: str, played: str, mixer: str) -> Any:
    return real_game()[section].get(played, {}).get(mixer)


def _percent(middle: float, least: float, most: float) -> str:
    return f"{100 * middle:.0f} ({100 * least:.0f} to {100 * most:.0f})"


def _spread(values: Sequence[float], middle: Any = np.mean) -> str | None:
    return _percent(float(middle(values)), min(values), max(values)) if values else None


def _steps(found: Sequence[float | None]) -> str | None:
    """Return the median of the runs' steps, `NEVER` where half of the runs never get there."""
    if not found:
        return None
    middle = float(np.median([np.inf if one is None else one for one in found]))
    return _thousands(middle if np.isfinite(middle) else None)


def _thousands(steps: float | None) -> str:
    """Return a number of steps as people write it, `NEVER` for None."""
    if steps is None:
        return NEVER
    return f"{steps / 1e6:.3g}M" if steps >= 1e6 else f"{steps / 1e3:.0f}K"


@dataclass(frozen=True)
class BesideGame(Drawable):
    """A figure of our win rates with the game's behind them, a panel for each map and algorithm."""

    def can_be_drawn(self, results: Results) -> bool:
        """Return whether there are runs on the embedded engine."""
        return bool(panels(results))

    def subjects(self, results: Results) -> list[tuple[str, str, str]]:
        """Return (env, algorithm, map) of each panel."""
        return panels(results)

    def columns(self, subjects: Sequence[tuple[str, str, str]]) -> int:
        """Return how many panels stand side by side, with all of a map in one row."""
        algorithms = len({algorithm for _, algorithm, _ in subjects})
        return min(len(subjects), algorithms * max(1, WIDE // algorithms))

    def label(self, results: Results, subject: tuple[str, str, str]) -> str:
        """Return the label of the vertical axis."""
        return WIN_RATE.label

    def notes(self, results: Results) -> list[str]:
        """Return what a reader must know."""
        return results.notes()

    def shows(self, results: Results, name: str, subject: tuple[str, str, str]) -> str:
        """Return a panel in words."""
        env, algorithm, _ = subject
        return f"{results.title(env)}, {results.title(algorithm)}: win rate, the game's in grey"

    def legend(self, results: Results) -> Legend:
        """Return (title, style) of each line."""
        names = dict.fromkeys(algorithm for _, algorithm, _ in panels(results))
        ours = [(f"{results.title(name)} on the embedded engine", _style(results, name)) for name in names]
        return [*ours, ("StarCraft II itself: other people's runs of PyMARL, for reference", GAME)]

    def key(self, results: Results, name: str) -> str:
        """Return what lines and bands are."""
        return "lines: mean over n runs; bands: least to greatest run"

    def describe(self, results: Results) -> str:
        """Return the figure in words."""
        names = ", ".join(f"{results.title(env)} {results.title(algorithm)}" for env, algorithm, _ in panels(results))
        return (
            f"Line charts of test win rates against environment steps, the game's in grey behind ours. Panels: {names}."
        )

    def panel(self, results: Results, name: str, subject: tuple[str, str, str], axes: Axes) -> None:
        """Draw our band over the game's."""
        env, algorithm, played = subject
        runs = results.select(env, algorithm)
        known = curve_of(played, _mixer(results, algorithm))
        if known is not None:
            steps, mean, least, most, count = known
            axes.fill_between(steps, least, most, color="0.6", alpha=0.25, linewidth=0)
            axes.plot(steps, mean, **GAME)
        steps, values = aligned(runs, WIN_RATE)
        if len(steps):
            centre, low, high = MEAN.band(results)(values)
            style = _style(results, algorithm)
            axes.fill_between(steps, low, high, color=style["color"], alpha=0.22, linewidth=0)
            axes.plot(steps, centre, **style)
        else:
            axes.text(
                0.5, 0.5, "not run here yet", transform=axes.transAxes, ha="center", va="center", color="0.3",
                bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8},
            )  # fmt: skip
        game = f"game {count}" if known is not None else "game not known"
        axes.set_title(f"{results.title(env)}, {results.title(algorithm)} (n = {len(runs)}; {game})")
        axes.set_xlabel("Environment steps")
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value / 1e6:g}M" if value else "0"))
        axes.xaxis.set_major_locator(MaxNLocator(4))
        axes.set_xlim(0, results.params.envs[env].total_steps)
        axes.set_ylim(-0.03, 1.03)


def _style(results: Results, algorithm: str) -> dict[str, Any]:
    """Return an algorithm's colour, the same as in the other figures; lines are whole, the game's are dashed."""
    return {**line_of(results, algorithm), "linestyle": "-"}


FIGURE = BesideGame("engine_beside_game", "Win rates on the embedded engine, the real game's behind them")

TABLES = (
    Table("engine_beside_game", "SMAC: the embedded engine beside the real game", game_rows),
    Table("learner_beside_game", "SMAC: what the learner records, beside PyMARL's log on the real game", learner_rows),
)
