"""What agents contribute beside their credit: is credit that is nearly uniform wrong?

`python -m benchmarks.shapley` measures the Shapley values (marl_gre/jobs/credits_shapley.py says of which game); here
they become a table and an answer. If they are uneven where credits are even, the paper's premise holds there: credit
could discriminate and does not. If they are as even, it does not.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from benchmarks.claims.declared import GRID, QMIX, VDN
from benchmarks.report.gather import Key, Results
from benchmarks.report.tables import SEED, Cell, Column, Content, Table
from marl_gre import stats
from marl_gre.config import Params
from marl_gre.jobs.credits_measured import PHASES
from marl_gre.jobs.credits_shapley import Game, compare, moments
from marl_gre.stats import Array

ALGORITHMS = (VDN, QMIX, GRID[0])
Side = Literal["shares", "shapley_shares"]
"""Of credit, or of the Shapley values."""
EPISODES = 20
"""Of each run: the first ones of its evaluation."""
PERMUTATIONS = 32
"""Orders in which agents join; with few agents all coalitions are played instead."""
LEAST_GAMES = 5
"""Fewer are in the table as they are, without correlation, and not in the figure."""
READING = (
    "If Shapley shares are uneven where credits are even, the paper's premise holds: credit could discriminate, and "
    "does not. If they are even too, even credit is right."
)

SLOPES = (
    "Credit is the slope dq_tot/dq_i, as the paper has it. With even slopes, contributions can still be uneven "
    "through the agents' values, as in VDN's sum: uneven contributions mean that credit in the paper's sense does not "
    "follow them, not that even slopes learn worse (RQ1b tests that)."
)

AFTERWARDS = (
    "Decided in advance: the game, the orders, and that uneven beside even means the premise. Decided after some of "
    "the output was seen: to leave out games with nothing at stake, whose zeros would otherwise count as even, and to "
    "let the answer need more unevenness than sampling adds, by a t interval over episodes."
)


def cells(params: Params) -> list[Key]:
    """Return the runs that are measured: each algorithm's first seed on the gridworlds."""
    keys = [key for one in ALGORITHMS if (key := one.find(params))]
    grids = [env for env in params.run.envs if not params.envs[env].env.startswith(("smac", "starcraft"))]
    return [(env, key, params.run.seeds[0]) for env in grids for key in keys]


def measured(results: Results) -> dict[Key, tuple[Game, ...]]:
    """Return the games of the cells that were measured."""
    return {key: run.games for key in cells(results.params) if (run := results.runs.get(key)) and run.games}


@dataclass(frozen=True)
class Premise:
    """Whether agents contribute less evenly than they are credited, in one environment."""

    env: str
    credit: float  # mean unevenness of the shares of credit
    shapley: float
    sampling: float  # what sampling can have added to it
    low: float  # 95% interval of their difference less the sampling, over episodes
    high: float
    correlation: float | None
    mean_credit: float  # unevenness of the shares' mean over games, in which a single game's chance averages out
    mean_shapley: float

    @property
    def holds(self) -> bool | None:
        """True where contributions are less even than credit, False where they are more even, None where it is open.

        Single games and their mean must agree: chance makes a single game's contributions uneven.
        """
        if self.low > 0 and self.mean_shapley > self.mean_credit:
            return True
        return False if self.high < 0 and self.mean_shapley < self.mean_credit else None


def premises(results: Results) -> list[Premise]:
    """Return what QMIX's credit is beside contributions, for each environment where anything is at stake."""
    found = []
    for (env, algorithm, _), games in measured(results).items():
        chosen = [game for game in games if game.at_stake]
        seeds = list(dict.fromkeys(game.episode_seed for game in chosen))
        if algorithm != QMIX.find(results.params) or len(seeds) < 2:
            continue
        per_episode = [np.mean([game.excess for game in chosen if game.episode_seed == seed]) for seed in seeds]
        low, high = stats.mean_interval(per_episode)
        both = compare(chosen)
        found.append(
            Premise(
                *(env, both.credit_unevenness or 0.0, both.shapley_unevenness or 0.0, both.sampling or 0.0),
                *(low, high, both.correlation),
                *(both.credit_mean_unevenness or 0.0, both.shapley_mean_unevenness or 0.0),
            )
        )
    return found


def rows(results: Results) -> Content:
    """Fill the table of credits and contributions: one row for each quarter of the episodes; none if not measured."""
    found = measured(results)
    lines: list[list[Cell]] = []
    for key in cells(results.params) if found else []:
        games = found.get(key)
        if not games:
            lines.append([results.title(key[0]), results.title(key[1]), "not measured: make shapley", *[None] * 12])
            continue
        for phase in range(PHASES):
            chosen = [game for game in games if game.phase == phase]
            both = compare(chosen)
            related: tuple[float | None, ...] = (None, None, None)
            if both.correlation is not None and both.games >= LEAST_GAMES:
                related = (both.correlation, *correlation_interval(chosen, results))
            lines.append(
                [
                    *(results.title(key[0]), results.title(key[1]), f"{phase + 1}", len(chosen[0].shares)),
                    *(both.games, both.nothing_at_stake),
                    *(both.credit_unevenness, both.shapley_unevenness, both.sampling),
                    *(both.credit_mean_unevenness, both.shapley_mean_unevenness),
                    *(*related, both.negative),
                ]
                if chosen
                else [results.title(key[0]), results.title(key[1]), f"{phase + 1}", *[None] * 12]
            )
    columns = [
        *(Column("Environment"), Column("Policy of"), Column("Quarter"), Column("Agents", "d"), Column("Games", "d")),
        *(Column("nothing at stake", "d"), Column("Unevenness of credits", ".3f")),
        *(Column("of Shapley shares", ".3f"), Column("of which sampling, at most", ".3f")),
        *(Column("of the credits' mean", ".3f"), Column("of the Shapley shares' mean", ".3f")),
        *(Column("Correlation", "+.2f"), Column("low", "+.2f"), Column("high", "+.2f"), Column("Negative", ".0%")),
    ]
    notes = [
        READING,
        "A game: an episode is played again from its seed, greedily by all up to the first step of a quarter; from "
        "there on only a coalition acts and the others take the no-op (Lumberjacks: stay, TrafficJunction: brake). It "
        "is worth the discounted return from there on, which is what q_tot estimates. An agent's Shapley value is what "
        "it adds, on average over the orders in which agents could join: all coalitions of two agents, "
        f"{PERMUTATIONS} orders in antithetic pairs of ten. Beside it, the mixer's credits at the same step. Seed "
        f"{results.params.run.seeds[0]} of each algorithm, {EPISODES} episodes. "
        "Where acting or not makes no difference any more (all trees felled; a jam), nothing is at stake "
        "and the game counts nowhere else.",
        "Unevenness: sum of |share - 1/N| over the agents, at most 2 (N - 1) / N; shares of absolute values, since "
        "Shapley values can be negative. A Shapley value belongs to one episode and its chance events, which makes "
        "single games less even than their expectation; the unevenness of the mean over games holds what is left when "
        "chance averages out. Correlation over games and agents of the shares, with its "
        f"{results.params.report.confidence:.0%} bootstrap interval over games; undefined where credits are even, as "
        f"VDN's are by construction, and left out with fewer than {LEAST_GAMES} games.",
        SLOPES,
        AFTERWARDS,
    ]
    return Content(columns, lines, notes if lines else [])


def by_quarter(games: Sequence[Game], name: Side) -> dict[int, Array]:
    """Return the L1 distances from even shares of the games where something is at stake, for quarters with enough."""
    found = {}
    for phase in range(PHASES):
        chosen = [getattr(game, name) for game in games if game.phase == phase and game.at_stake]
        if len(chosen) >= LEAST_GAMES:
            found[phase] = np.abs(np.stack(chosen) - 1 / len(chosen[0])).sum(1)
    return found


def correlation_interval(games: Sequence[Game], results: Results) -> tuple[float, float]:
    """Return the bootstrap interval over games of the correlation of the shares."""
    chosen = [game for game in games if game.at_stake]
    sums = moments(np.stack([game.shares for game in chosen]), np.stack([game.shapley_shares for game in chosen]))
    report = results.params.report
    draws = np.random.default_rng(SEED).integers(0, len(sums), (report.bootstrap_resamples, len(sums)))
    products = sums[draws].sum(1)
    valid = products[:, 1] * products[:, 2] > 0
    tail = (1 - report.confidence) / 2
    found = products[valid, 0] / np.sqrt(products[valid, 1] * products[valid, 2])
    low, high = np.quantile(found, [tail, 1 - tail])
    return float(low), float(high)


TABLE = Table("contributions", "What agents contribute, beside the credit they get", rows)
