"""What each agent adds to the return, beside the credit that the mixer gives it: Shapley values from replayed episodes.

The game at a step t of a greedy episode: the episode is played again from its seed, all agents act greedily up to t as
they did, and from t on only those of a coalition do, the others take the no-op to the end. A coalition is worth the
discounted return from t on, which is what q_tot estimates, with the same chance events. The games are those at the
first step of each phase; the credits beside them are those of the same step.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from marl_gre.agents.base import Agent
from marl_gre.errors import BadInput
from marl_gre.jobs.credits_measured import PHASES, EpisodeCredits
from marl_gre.metrics import Row
from marl_gre.networks import restore
from marl_gre.policy import Policy
from marl_gre.rollout import opened, play
from marl_gre.seeding import Purpose, rng
from marl_gre.shapley import Coalitions, Shapley, shapley
from marl_gre.shares import EVEN, shares, unevenness
from marl_gre.storage.run_dir import FinishedRun
from marl_gre_envs.vector import VectorEnv

COPIES = 128
"""Coalitions played at once at most; how many changes no number where the agent acts by a compiled kernel."""

STAKE = 1e-6
"""Sum of the Shapley values' sizes up to which nothing is at stake: acting or not makes no difference."""

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Game:
    """The game at one step of an episode, with the mixer's shares there."""

    episode_seed: int
    phase: int
    step: int
    shares: Array  # of credit [N]
    shapley: Shapley

    @property
    def at_stake(self) -> bool:
        """Whether acting instead of taking the no-op makes a difference."""
        return bool(np.abs(self.shapley.values).sum() > STAKE)

    @property
    def shapley_shares(self) -> Array:
        """Each agent's share of the size of the Shapley values [N]."""
        return shares(torch.from_numpy(self.shapley.values)).numpy()

    @property
    def excess(self) -> float:
        """How much less even the Shapley shares are than those of credit, less what their sampling error can add."""
        return float(_unevenness(self.shapley_shares) - self.sampling - _unevenness(self.shares))

    @property
    def sampling(self) -> float:
        """The expected L1 error of the Shapley shares, for normal errors of the values."""
        return float(np.sqrt(2 / np.pi) * self.shapley.errors.sum() / np.abs(self.shapley.values).sum())


@dataclass(frozen=True)
class Comparison:
    """Shares of credit beside shares of the Shapley values' sizes, over the games where something is at stake.

    None is what cannot be computed: everything where there is no such game, the correlation where one side is even.
    """

    games: int
    nothing_at_stake: int  # further games, which count nowhere else
    credit_unevenness: float | None  # mean L1 distance from even shares
    shapley_unevenness: float | None
    sampling: float | None  # what the sampling error alone adds to it at most, on average
    credit_mean_unevenness: float | None  # L1 distance of the shares' mean over the games from even shares
    shapley_mean_unevenness: float | None
    correlation: float | None  # of the shares' deviations from 1/N
    negative: float | None  # share of the Shapley values below 0


def contributions(run: FinishedRun, found: Sequence[EpisodeCredits], permutations: int) -> list[Game]:
    """Return the games of greedy episodes of a run, phase by phase.

    Args:
        run: whose policy played the episodes.
        found: the episodes with their credits.
        permutations: orders of the agents for each game; with all coalitions no more than these, they are all played.

    Raises:
        BadInput: one agent, or an environment without a no-op.
        ValueError: a number of orders that cannot be used.
    """
    key, config = run.config.env_key, run.config.env
    n_agents = found[0].credits.shape[-1]
    if n_agents < 2:
        raise BadInput(f"envs.{key}: found 1 agent; Shapley values take 2 or more.")
    with opened(key, config, min(COPIES, 2**n_agents, config.test_copies)) as env:
        return _games(run, env, found, permutations)


def _games(run: FinishedRun, env: VectorEnv, found: Sequence[EpisodeCredits], permutations: int) -> list[Game]:
    config, n_agents = run.config, env.n_agents
    if not env.noops:
        raise BadInput(
            f"envs.{config.env_key}: this environment declares no no-op (`noops`) for absent agents to take."
        )
    policy = _Partial(restore(run, env).agent, env)
    games = []
    for index, one in enumerate(found):
        for phase, step in one.starts.items():
            generator = rng(config.seed, Purpose.SHAPLEY, index * PHASES + phase)
            worth = _Worth(env, policy, one.episode.seed, step, config.train.gamma)
            values = shapley(worth, n_agents, permutations, generator)
            games.append(Game(one.episode.seed, phase, step, one.shares[step].astype(np.float64), values))
    return games


class _Partial(Policy):
    """A greedy policy whose absent agents take the no-op from some step on."""

    coalitions: Coalitions
    start: int

    def __init__(self, agent: Agent, env: VectorEnv):
        super().__init__(agent)
        self.noops = np.array(env.noops)

    def begin(self, num_envs: int) -> None:
        super().begin(num_envs)
        self.step = 0

    def act(
        self,
        obs: np.ndarray,
        action_mask: np.ndarray,
        epsilon: float,
        noise: np.ndarray | None,
        playing: np.ndarray | None = None,
    ) -> np.ndarray:
        actions = super().act(obs, action_mask, epsilon, noise, playing)
        absent = ~self.coalitions & (self.step >= self.start)
        self.step += 1
        return np.where(absent, self.noops[action_mask[..., self.noops].argmax(-1)], actions)


@dataclass(frozen=True)
class _Worth:
    """The discounted return of coalitions from a step of an episode on."""

    env: VectorEnv
    policy: _Partial
    seed: int
    start: int
    gamma: float

    def __call__(self, coalitions: Coalitions) -> Array:
        size = self.env.num_envs
        self.policy.start = self.start
        found = np.empty(len(coalitions))
        for first in range(0, len(coalitions), size):
            part = coalitions[first : first + size]
            self.policy.coalitions = np.resize(part, (size, part.shape[1]))
            episodes = play(self.env, self.policy, [self.seed] * size, record=False)
            for place in range(len(part)):
                reward = episodes[place].reward[self.start :]
                found[first + place] = (reward * self.gamma ** np.arange(len(reward))).sum()
        return found


def compare(games: Sequence[Game]) -> Comparison:
    """Return how shares of credit and of the Shapley values' sizes compare."""
    chosen = [game for game in games if game.at_stake]
    idle = len(games) - len(chosen)
    if not chosen:
        return Comparison(0, idle, None, None, None, None, None, None, None)
    credit, values = (np.stack([getattr(game, name) for game in chosen]) for name in ("shares", "shapley_shares"))
    negative = np.mean([game.shapley.values < -STAKE for game in chosen])
    return Comparison(
        games=len(chosen),
        nothing_at_stake=idle,
        credit_unevenness=float(_unevenness(credit).mean()),
        shapley_unevenness=float(_unevenness(values).mean()),
        sampling=float(np.mean([game.sampling for game in chosen])),
        credit_mean_unevenness=float(_unevenness(credit.mean(0))),
        shapley_mean_unevenness=float(_unevenness(values.mean(0))),
        correlation=correlation(credit, values),
        negative=float(negative),
    )


def _unevenness(values: Array) -> Array:
    return unevenness(torch.from_numpy(values)).numpy()


def correlation(left: Array, right: Array) -> float | None:
    """Return the correlation over games and agents of shares [G,N], each less 1/N; None where a side is even.

    The mean of the shares of a game is 1/N, so that nothing else has to be subtracted.
    """
    if min(_unevenness(side).mean() for side in (left, right)) <= EVEN:
        return None
    products = moments(left, right).sum(0)
    return float(products[0] / np.sqrt(products[1] * products[2]))


def moments(left: Array, right: Array) -> Array:
    """Return each game's sums over agents of d e, d d and e e [G,3], with d and e the shares less 1/N."""
    d, e = (side - 1 / side.shape[1] for side in (left, right))
    return np.stack([(d * e).sum(1), (d * d).sum(1), (e * e).sum(1)], axis=1)


def game_rows(games: Sequence[Game]) -> list[Row]:
    """Return one row per game: shares of credit, Shapley values and their standard errors."""
    return [
        {
            "episode_seed": game.episode_seed,
            "step": game.step,
            "phase": game.phase + 1,
            "exact": int(game.shapley.exact),
            "nobody": game.shapley.nobody,
            "everybody": game.shapley.everybody,
            **{f"share_{i}": float(value) for i, value in enumerate(game.shares)},
            **{f"shapley_{i}": float(value) for i, value in enumerate(game.shapley.values)},
            **{f"shapley_error_{i}": float(value) for i, value in enumerate(game.shapley.errors)},
        }
        for game in games
    ]


def comparison_rows(games: Sequence[Game]) -> list[Row]:
    """Return one row per phase: how shares of credit and of the Shapley values compare; NaN where undefined."""
    rows: list[Row] = []
    for phase in sorted({game.phase for game in games}):
        found = compare([game for game in games if game.phase == phase])
        numbers = {name: float("nan") if value is None else value for name, value in vars(found).items()}
        rows.append({"phase": phase + 1, **numbers})
    return rows


def comparison_lines(games: Sequence[Game]) -> list[str]:
    """Return the comparison in words, a line per phase."""
    lines = []
    for row in comparison_rows(games):
        related = row["correlation"]
        lines.append(
            f"phase {row['phase']}: "
            + (
                f"unevenness of credits {row['credit_unevenness']:.3f}, of Shapley shares "
                f"{row['shapley_unevenness']:.3f}, correlation "
                + ("undefined: one side is even" if np.isnan(related) else f"{related:+.2f}")
                if row["games"]
                else "nothing at stake: acting or not makes no difference"
            )
        )
    return lines
