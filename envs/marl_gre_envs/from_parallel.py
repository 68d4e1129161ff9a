"""Any PettingZoo parallel environment with discrete actions as a VectorEnv.

What third-party environments leave open is decided here, once:
- Action masks come from `info[agent]["action_mask"]` or from dict observations; without one all actions are available.
- Different observation or action sizes are padded (SuperSuit); padded actions are masked out.
- An agent that ends before the others keeps its place until the episode ends: zero observations and only action 0
  available, which is not sent to the environment and leaves nothing to explore or to maximise over.
- The episode ends when no agent is left: `truncated` if the time limit ended it for any of the last ones, `terminated`
  otherwise. An environment that runs past `episode_limit` steps is truncated there.
- Episode 0 of a seed is the environment's own reset(seed=seed); later ones get seeds derived from (seed, episode).
"""

import contextlib
import copy
from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np
from gymnasium.spaces import Box, Dict, Discrete, Space, flatten, flatten_space
from pettingzoo import ParallelEnv
from pettingzoo.utils import BaseParallelWrapper

from marl_gre_envs.checks import check_parallel, choice, flag, keywords_of, shown, whole
from marl_gre_envs.stored import Member, StoredOutputs, episode_seed
from marl_gre_envs.vector import VectorEnv


def from_parallel_env(
    factory: Callable[..., ParallelEnv],
    num_envs: int = 1,
    autoreset: bool = True,
    *,
    team_reward: Literal["sum", "mean", "shared"] = "sum",
    episode_limit: int | None = None,
    strict: bool = False,
    **kwargs: Any,
) -> VectorEnv:
    """Return a batch of any PettingZoo parallel environment with discrete actions, stepped one after another.

    Args:
        factory: makes one environment.
        num_envs: number of environments, 1 or more.
        autoreset: whether an environment restarts by itself when its episode ends.
        team_reward: how agents' rewards become the team's. "sum" (default) adds them up, which suits individual
            rewards; "mean" divides the sum by the number of agents; "shared" takes the one reward that all agents
            receive, and raises if they ever differ. With a shared reward "sum" counts it once per agent: the same task
            with N times the returns.
        episode_limit: maximum number of steps in an episode; by default the keyword or attribute max_cycles. A factory
            with a keyword of this name receives it, too.
        strict: raise on illegal actions instead of replacing them by the lowest legal one.
        kwargs: keyword arguments of the factory.

    A factory's own keywords team_reward and strict are not reached from here: bind them with functools.partial.

    Raises:
        ValueError: the environment lacks discrete actions, possible_agents or a known limit, a value is not allowed, or
            the factory itself has a keyword team_reward or strict and it is given.
        ImportError: the agents' sizes differ and SuperSuit is not installed.
        RuntimeError: the environment does not follow PettingZoo's API.
    """
    own = keywords_of(factory)
    if episode_limit is not None and "episode_limit" in own:
        kwargs = {**kwargs, "episode_limit": episode_limit}
    for name, given in (("team_reward", team_reward != "sum"), ("strict", strict is not False)):
        if given and name in own:
            raise ValueError(
                f"{name}: the environment has a keyword of this name too, which it would not receive; name a factory "
                "that sets one of them."
            )
    return FromParallel(factory, num_envs, autoreset, team_reward, episode_limit, strict, kwargs)


class FlatObservations(BaseParallelWrapper):
    """Flattens every observation to a float32 vector and moves the mask of a dict observation to info."""

    def __init__(self, env: ParallelEnv):
        super().__init__(env)
        self.render_mode = getattr(env, "render_mode", None)  # conversions inside SuperSuit ask for it
        self._inner = {agent: without_mask(env.observation_space(agent)) for agent in env.possible_agents}
        self.observation_spaces = {agent: flat_box(agent, space) for agent, space in self._inner.items()}

    def observation_space(self, agent: str) -> Box:
        """Return the agent's flat space."""
        return self.observation_spaces[agent]

    def reset(self, seed: int | None = None, options: dict | None = None) -> tuple[dict, dict]:
        """See ParallelEnv.reset."""
        return self._flat(*dicts_of("reset", super().reset(seed, options), 2))

    def step(self, actions: dict) -> tuple[dict, dict, dict, dict, dict]:
        """See ParallelEnv.step."""
        observations, rewards, terminations, truncations, infos = dicts_of("step", super().step(actions), 5)
        observations, infos = self._flat(observations, infos)
        return observations, rewards, terminations, truncations, infos

    @np.errstate(over="ignore")  # beyond float32 is infinity, which is reported
    def _flat(self, observations: dict, infos: dict) -> tuple[dict, dict]:
        flat, masks = {}, {agent: dict(infos.get(agent, {})) for agent in self.possible_agents}
        for agent, observation in observations.items():
            if agent not in self._inner:
                raise RuntimeError(f"the env returned an observation for {agent!r}, which is not in possible_agents.")
            if isinstance(observation, dict) and "action_mask" in observation:
                observation = dict(observation)
                masks[agent]["action_mask"] = observation.pop("action_mask")
            flat[agent] = np.asarray(flatten(self._inner[agent], observation), np.float32)
            if flat[agent].shape != self.observation_spaces[agent].shape:
                raise RuntimeError(
                    f"the env's observation of {agent} has {flat[agent].size} numbers; its space {self._inner[agent]} "
                    f"has {self.observation_spaces[agent].shape[0]}."
                )
        return flat, {agent: info for agent, info in masks.items() if agent in infos or agent in flat}


def dicts_of(method: str, output: Any, count: int) -> tuple[dict, ...]:
    """Return what reset or step returned after checking that it is a tuple of so many dicts."""
    if not (isinstance(output, tuple) and len(output) == count and all(isinstance(part, Mapping) for part in output)):
        kinds = [type(part).__name__ for part in output] if isinstance(output, tuple) else type(output).__name__
        raise RuntimeError(f"the env's {method}() must return a tuple of {count} dicts by agent, found {kinds}.")
    return output


def without_mask(space: Space) -> Space:
    """Return a dict space without its action mask; other spaces are returned unchanged."""
    if isinstance(space, Dict) and "action_mask" in space.spaces:
        return Dict({name: inner for name, inner in space.spaces.items() if name != "action_mask"})
    return space


def flat_box(agent: str, space: Space) -> Box:
    """Return the flat float32 space of an observation space."""
    flat = flatten_space(space)
    if not isinstance(flat, Box):
        raise ValueError(f"observations of {agent}: found {space}; allowed are spaces that Gymnasium can flatten.")
    with np.errstate(over="ignore"):  # bounds beyond float32 are none
        return Box(flat.low.astype(np.float32), flat.high.astype(np.float32), dtype=np.float32)


def padded(env: ParallelEnv) -> ParallelEnv:
    """Return the environment, padded to one observation size and one number of actions."""
    sizes = {env.observation_space(agent).shape for agent in env.possible_agents}
    spaces = [env.action_space(agent) for agent in env.possible_agents]
    n_actions = {int(space.n) for space in spaces}
    if len(sizes) == 1 and len(n_actions) == 1:
        return env
    if len(n_actions) > 1 and any(space.start for space in spaces):
        raise ValueError(
            f"action spaces of different sizes must start at 0 to be padded; found {sorted(map(str, spaces))}."
        )
    try:
        from supersuit import pad_action_space_v0, pad_observations_v0
    except ImportError as error:
        raise ImportError(
            "the agents' observation or action sizes differ, and padding them needs SuperSuit: "
            'pip install "marl-gre[interop]".'
        ) from error
    if len(sizes) > 1:
        env = pad_observations_v0(env)
    return pad_action_space_v0(env) if len(n_actions) > 1 else env


class WrappedEnv(Member):
    """One environment of the batch, and which of its agents are still in the episode."""

    def __init__(self, env: ParallelEnv):
        super().__init__()
        self.env = env
        self.live: set[str] = set()

    def begin(self, seed: int, episode: int, options: dict | None) -> tuple[dict, dict]:
        """Reset to an episode of a seed."""
        self.start(seed, episode)
        observations, infos = self.env.reset(seed=episode_seed(seed, episode), options=options)
        self.live = set(self.env.agents)
        return observations, infos


class FromParallel(StoredOutputs):
    """PettingZoo parallel environments behind the VectorEnv interface; see `from_parallel_env`."""

    _members: list[WrappedEnv]

    def __init__(
        self,
        factory: Callable[..., ParallelEnv],
        num_envs: int,
        autoreset: bool,
        team_reward: str,
        episode_limit: int | None,
        strict: bool,
        kwargs: dict[str, Any],
    ):
        self.num_envs = whole("num_envs", num_envs, 1, 2**20)
        self.autoreset = flag("autoreset", autoreset)
        self.team_reward = choice("team_reward", team_reward, ("sum", "mean", "shared"))
        self.strict = flag("strict", strict)
        self._closed = False
        made: list[ParallelEnv] = []
        try:
            self._make(factory, episode_limit, kwargs, made)
        except BaseException:
            for env in made:
                with contextlib.suppress(Exception):
                    env.close()
            raise

    def _make(
        self,
        factory: Callable[..., ParallelEnv],
        episode_limit: int | None,
        kwargs: dict[str, Any],
        made: list[ParallelEnv],
    ) -> None:
        """Make the environments, in `made`, and set all sizes."""
        # An environment may write into its arguments; each has its own.
        made.append(first := factory(**copy.deepcopy(kwargs)))
        check_env_form(first)
        self.episode_limit = limit_of(first, episode_limit, kwargs)
        self.agents = list(first.possible_agents)
        self.n_agents = len(self.agents)
        own = [first.action_space(agent) for agent in self.agents]
        self._start = np.array([space.start for space in own])  # [N]
        self.n_actions = max(int(space.n) for space in own)
        self._own_actions = (np.arange(self.n_actions) < [[space.n] for space in own]).astype(np.int8)  # [N, A]
        self.action_names = [str(action) for action in range(self.n_actions)]
        for _ in range(self.num_envs - 1):
            made.append(factory(**copy.deepcopy(kwargs)))
        if len({id(env.unwrapped) for env in made}) < len(made):
            raise RuntimeError("the factory returned one env twice: it must make a new one each time it is called.")
        self._members = [WrappedEnv(padded(FlatObservations(env))) for env in made]
        self.obs_dim = int(self._members[0].env.observation_space(self.agents[0]).shape[0])
        self._members[0].begin(0, 0, None)
        state = own_state(self._members[0].env)
        self._has_state = state is not None
        self.state_dim = state.size if state is not None else self.n_agents * self.obs_dim
        self._allocate()

    def _begin(self, starts: dict[int, tuple[int, int]], options: dict[str, Any] | None) -> None:
        self._check_open()
        for index, (seed, episode) in starts.items():
            observations, infos = self._members[index].begin(seed, episode, options)
            self._write(index, observations, infos, self._members[index].live)

    def _play(self, running: list[int], actions: np.ndarray) -> None:
        self._check_open()
        for index in running:
            self._step_env(index, self._members[index], actions[index])

    def _step_env(self, index: int, member: WrappedEnv, actions: np.ndarray) -> None:
        before = member.live
        sent = {agent: actions[i] + self._start[i] for i, agent in enumerate(self.agents) if agent in before}
        observations, rewards, terminations, truncations, infos = member.env.step(sent)
        terminated = {agent for agent in before if terminations.get(agent, False)}
        truncated = {agent for agent in before if truncations.get(agent, False)} - terminated
        member.live = set(member.env.agents) - terminated - truncated
        vanished = before - member.live - terminated - truncated
        if vanished:
            raise RuntimeError(f"{min(vanished)} left the env's agents without being terminated or truncated.")
        for agent in self.agents:  # those who are gone need not be paid
            if agent in member.live and agent not in rewards:
                raise RuntimeError(f"the env's step() returned no reward for {agent}, which is still in its agents.")
        self._pay(index, before, rewards)
        cut = bool(member.live) and member.steps >= self.episode_limit
        over = cut or not member.live
        self._write(index, observations, infos, before if over else member.live)
        self.info["agent_done"][index] = [over or agent not in member.live for agent in self.agents]
        self.truncated[index] = cut or (over and bool(truncated))
        self.terminated[index] = over and not self.truncated[index]
        member.running = not over

    def _pay(self, index: int, agents: set[str], rewards: dict[str, float]) -> None:
        own = self.agent_reward[index]  # [N]
        try:
            own[:] = [rewards.get(agent, 0.0) if agent in agents else 0.0 for agent in self.agents]
        except (TypeError, ValueError, OverflowError):
            raise RuntimeError(
                f"the env's rewards must be one number for each agent, found {shown(rewards)}."
            ) from None
        if not np.isfinite(own).all():
            raise FloatingPointError(f"the env returned rewards that are not finite: {own.tolist()}.")
        if self.team_reward == "shared":
            paid = sorted({float(rewards[agent]) for agent in agents if agent in rewards}) or [0.0]
            if len(paid) > 1:
                raise ValueError(f'team_reward="shared", but the agents received different rewards {paid}: use "sum".')
            self.reward[index] = paid[0]
        else:
            self.reward[index] = own.sum() / (self.n_agents if self.team_reward == "mean" else 1)

    def _write(self, index: int, observations: dict, infos: dict, present: set[str]) -> None:
        """Put one environment's observations, masks and state into the buffers; agents that left get the defaults."""
        obs, mask = self.obs[index], self.action_mask[index]
        obs[:], mask[:] = 0, 0
        mask[:, 0] = 1
        for i, agent in enumerate(self.agents):
            if agent in present:
                if agent not in observations:
                    raise RuntimeError(f"the env returned no observation for {agent}, which is in this episode.")
                obs[i] = observations[agent]
                mask[i] = self._padded_mask(i, infos.get(agent, {}).get("action_mask"))
                if not mask[i].any():
                    if agent in self._members[index].live:
                        raise ValueError(f"the env's action_mask leaves {agent} no legal action.")
                    mask[i, 0] = 1
        state = own_state(self._members[index].env) if self._has_state else obs
        if state is None or state.size != self.state_dim or state.dtype.kind not in "biuf":
            raise RuntimeError(f"the env's state() returned {shown(state)}; {self.state_dim} numbers are expected.")
        with np.errstate(over="ignore"):
            self.state[index] = state.ravel()
        if not (np.isfinite(obs).all() and np.isfinite(self.state[index]).all()):
            raise FloatingPointError(f"the env returned an observation or state that is not finite (number {index}).")

    def _padded_mask(self, i: int, mask: Any) -> np.ndarray:
        """Return an agent's mask [A], padded actions unavailable."""
        row = self._own_actions[i].copy()  # [A]
        if mask is not None:
            n_own = int(row.sum())
            if np.shape(mask) not in {(n_own,), (self.n_actions,)}:
                raise ValueError(
                    f"the action_mask of {self.agents[i]} has shape {np.shape(mask)}, expected ({n_own},)."
                )
            row[:n_own] &= np.asarray(mask)[:n_own] != 0
        return row

    def render(self, index: int = 0) -> np.ndarray:
        """See VectorEnv.render."""
        self._check_open()
        picture = self._members[whole("index", index, 0, self.num_envs - 1)].env.render()
        if isinstance(picture, np.ndarray):
            if picture.dtype == np.uint8 and picture.ndim == 3 and picture.shape[2] in (3, 4) and picture.size:
                return picture[..., :3]
            raise RuntimeError(f"found a picture {picture.dtype} {picture.shape}; [height, width, 3] uint8 is allowed.")
        raise RuntimeError('the env draws no picture: make it with render_mode="rgb_array".')

    def close(self) -> None:
        """See VectorEnv.close."""
        if not self._closed:
            self._closed = True
            for member in self._members:
                member.env.close()

    def _check_open(self) -> None:
        if self._closed:
            raise RuntimeError("the environments of this batch are closed: make it anew.")


def check_env_form(env: ParallelEnv) -> None:
    """Raise unless this is a parallel environment with a fixed team and discrete actions."""
    check_parallel(env)
    if not getattr(env, "possible_agents", None):
        raise ValueError("the env has no possible_agents; a PettingZoo parallel env must list them before reset.")
    for agent in env.possible_agents:
        if not isinstance(env.action_space(agent), Discrete):
            raise ValueError(
                f"the action space of {agent} is {env.action_space(agent)}; allowed: Discrete. Many envs have a "
                "keyword for discrete actions."
            )


def limit_of(env: ParallelEnv, episode_limit: int | None, kwargs: dict[str, Any]) -> int:
    """Return the time limit of an episode in steps: the caller's, or the environment's own max_cycles."""
    found = episode_limit
    own = (getattr(source, "max_cycles", None) for source in (env, env.unwrapped))
    for value in (kwargs.get("max_cycles"), *own, getattr(env, "metadata", {}).get("max_cycles")):
        if found is None:
            found = value
    if found is None:
        raise ValueError("the env's longest episode is unknown (it has no max_cycles): give the keyword episode_limit.")
    return whole("episode_limit", found, 1, 2**31 - 1)


def own_state(env: ParallelEnv) -> np.ndarray | None:
    """Return env.state(), or None if the environment has none."""
    try:
        if not callable(getattr(env.unwrapped, "state", env.state)):  # PettingZoo's rps has an attribute of this name
            return None
        state = env.state()
    except (NotImplementedError, AttributeError):
        return None
    return None if state is None else np.asarray(state)
