"""Play episodes: a policy and a VectorEnv in, episodes out."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

import marl_gre_envs
from marl_gre.config import EnvConfig
from marl_gre.data import MOST_ACTIONS, Episode
from marl_gre.errors import BadInput, EnvironmentFailed, MarlGreError, NonFinite
from marl_gre.policy import Policy
from marl_gre.third_party import in_words
from marl_gre_envs.stored import MAX_SEED
from marl_gre_envs.vector import VectorEnv


def make_env(key: str, config: EnvConfig, num_envs: int) -> VectorEnv:
    """Return parallel environments of a declared kind; a finished one stays frozen until the next reset.

    Raises:
        BadInput: the environment cannot be made from its entry in params.yaml.
    """
    try:
        env = marl_gre_envs.make_vec(config.env, num_envs, autoreset=False, **config.kwargs)
    except (Exception, SystemExit) as error:  # a third party's environment can raise anything
        reason = in_words(error, ValueError, TypeError, ImportError, AttributeError)
        raise BadInput(f"envs.{key}: {reason}") from error
    if env.n_actions > MOST_ACTIONS:
        close(env)
        raise BadInput(f"envs.{key}: found {env.n_actions:,} actions; at most {MOST_ACTIONS:,} are allowed.")
    return env


@contextlib.contextmanager
def opened(key: str, config: EnvConfig, num_envs: int) -> Iterator[VectorEnv]:
    """Yield what `make_env` returns and close it; what closing raises changes no result.

    Raises:
        BadInput: as `make_env`.
    """
    env = make_env(key, config, num_envs)
    try:
        yield env
    finally:
        close(env)


def close(env: VectorEnv) -> None:
    """Close an environment; what that raises changes no result."""
    with contextlib.suppress(Exception):
        env.close()


def play(
    env: VectorEnv,
    policy: Policy,
    seeds: Sequence[int],
    epsilon: float = 0.0,
    noise: np.ndarray | None = None,
    record: bool = True,
) -> list[Episode]:
    """Play one episode in every environment, from the given seeds.

    Args:
        env: E environments, made with autoreset=False.
        policy: chooses the actions.
        seeds: one per environment [E].
        epsilon: probability of a random action.
        noise: uniform numbers for exploration [L,2,E,N] with L the episode limit; None is greedy.
        record: whether to store worlds; returns and lengths do not need them.

    Raises:
        EnvironmentFailed: the environment raised; the message names the seeds.
        NonFinite: an observation or reward is NaN or infinite.
    """
    num_envs, limit = env.num_envs, env.episode_limit
    actions = np.empty((num_envs, limit, env.n_agents), np.int16)
    reward = np.empty((num_envs, limit))
    length = np.zeros(num_envs, np.int64)
    won = np.zeros(num_envs, bool) if "battle_won" in env.info else None
    guarded = BlamedOnEnv(seeds)
    with guarded:
        env.reset(seed=seeds)
        world = {name: np.empty((num_envs, limit + 1, *env.world[name].shape[1:]), env.world[name].dtype)
                 for name in env.observed if record}  # fmt: skip
    policy.begin(num_envs)
    for step in range(limit):
        for name, recorded in world.items():
            recorded[:, step] = env.world[name]
        playing = ~(env.terminated | env.truncated)
        drawn = None if noise is None else noise[step]
        actions[:, step] = policy.act(env.obs, env.action_mask, epsilon, drawn, playing)
        length += playing
        with guarded:
            env.step(actions[:, step])
        reward[:, step] = env.reward
        if won is not None:
            won |= playing & (env.info["battle_won"] > 0)
        if (env.terminated | env.truncated).all():
            break
    for name, recorded in world.items():
        recorded[np.arange(num_envs), length] = env.world[name]
    episodes = [
        Episode(
            seed=int(seeds[i]),
            world={name: recorded[i, : length[i] + 1].copy() for name, recorded in world.items()},
            actions=actions[i, : length[i]].copy(),
            reward=reward[i, : length[i]].copy(),
            terminated=bool(env.terminated[i]),
            won=None if won is None else bool(won[i]),
        )
        for i in range(num_envs)
    ]
    for episode in episodes:
        if not np.isfinite(episode.reward).all():
            raise NonFinite(
                f"the environment returned a reward that is not finite in the episode with seed {episode.seed}."
            )
    return episodes


def play_greedily(env: VectorEnv, policy: Policy, seeds: Sequence[int], record: bool = True) -> list[Episode]:
    """Play one greedy episode per seed, in parallel as far as there are environments; `record` as in `play`.

    Raises:
        EnvironmentFailed, NonFinite: as in `play`.
    """
    episodes: list[Episode] = []
    for start in range(0, len(seeds), env.num_envs):
        chunk = list(seeds[start : start + env.num_envs])
        padded = chunk + chunk[-1:] * (env.num_envs - len(chunk))
        episodes += play(env, policy, padded, record=record)[: len(chunk)]
    return episodes


def counted_up(seed: int, episodes: int) -> list[int]:
    """Return the seeds of episodes that count up from a first one.

    Raises:
        BadInput: the last is larger than an environment takes.
    """
    if seed + episodes - 1 > MAX_SEED:
        raise BadInput(
            f"--seed {seed} and {episodes} episodes: seeds up to {MAX_SEED} are allowed; lower one of the two."
        )
    return list(range(seed, seed + episodes))


class BlamedOnEnv(contextlib.AbstractContextManager[Any]):
    """Around calls of an environment: raises what it raised, which can be anything, as its failure.

    A class, since a generator would cost a microsecond at every step.

    Args:
        seeds: of the episodes.
    """

    def __init__(self, seeds: Sequence[int]):
        self.seeds = seeds

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        """Raise the failure if there is one."""
        if error is None:
            return
        where = f"the environment failed in {_one_of(self.seeds)}"
        if isinstance(error, FloatingPointError):  # what adapters of third-party environments raise
            raise NonFinite(f"{where}: {error}") from error
        if isinstance(error, Exception | SystemExit) and not isinstance(error, MarlGreError):  # it may call exit()
            raise EnvironmentFailed(f"{where}: {type(error).__name__}: {error}") from error


def _one_of(seeds: Sequence[int]) -> str:
    """Return words for one of the episodes that are played together."""
    if len(seeds) == 1:
        return f"the episode with seed {seeds[0]}"
    if list(seeds) == list(range(seeds[0], seeds[0] + len(seeds))):
        return f"one of the episodes with seeds {seeds[0]} to {seeds[-1]}"
    more = ", ..." if len(seeds) > 5 else ""
    return f"one of the episodes with seeds {', '.join(str(seed) for seed in seeds[:5])}{more}"


def win_rate(episodes: Sequence[Episode]) -> float:
    """Return the share of episodes won, 0 to 1; NaN where the environment has no victory."""
    return float("nan") if episodes[0].won is None else float(np.mean([episode.won for episode in episodes]))
