"""The base class of environments whose outputs are their world: seeds, restarts, illegal actions, final outputs.

Third-party PettingZoo environments (from_parallel.py) and the real StarCraft II (starcraft.py) do not expose their true
world, so a replay stores observations, states and masks. The two hooks at the end begin an episode and take a step.
"""

import abc
from collections.abc import Sequence
from typing import Any

import numpy as np

from marl_gre_envs.checks import actions_of, as_array, check_dict, illegal_action, seeds_of
from marl_gre_envs.vector import VectorEnv, World

MAX_SEED = 2**32 - 1  # the largest that NumPy's older generators, common in third-party envs, and StarCraft II take


class Member:
    """One environment of the batch and the bookkeeping of its episode."""

    def __init__(self) -> None:
        self.seed = 0
        self.episode = -1
        self.steps = 0
        self.running = False

    def start(self, seed: int, episode: int) -> None:
        """Record that an episode of a seed begins."""
        self.seed, self.episode, self.steps, self.running = seed, episode, 0, True


class StoredOutputs(VectorEnv):
    """A VectorEnv whose world is {obs, state, action_mask}; subclasses set all sizes, then call `_allocate`."""

    observed = ("obs", "state", "action_mask")
    strict: bool
    _members: Sequence[Member]

    def _allocate(self, counters: Sequence[str] = ()) -> None:
        """Allocate outputs and info; counters: fields [E] of info besides illegal_actions."""
        e, n, a, o, s = self.num_envs, self.n_agents, self.n_actions, self.obs_dim, self.state_dim
        self.obs, self.final_obs = np.zeros((2, e, n, o), np.float32)
        self.state, self.final_state = np.zeros((2, e, s), np.float32)
        self.action_mask, self.final_action_mask = np.zeros((2, e, n, a), np.int8)
        self.reward, self.agent_reward = np.zeros(e), np.zeros((e, n))
        self.terminated, self.truncated = np.zeros((2, e), bool)
        self.info = {name: np.zeros(e, np.int64) for name in ("illegal_actions", *counters)}
        self.info["agent_done"] = np.zeros((e, n), bool)
        self.world = {"obs": self.obs, "state": self.state, "action_mask": self.action_mask}
        self.started = False

    def reset(self, seed: int | Sequence[int] | None = None, options: dict[str, Any] | None = None) -> None:
        """See VectorEnv.reset."""
        starts = self._starts(seed)
        for output in (self.reward, self.agent_reward, self.terminated, self.truncated, *self.info.values()):
            output[...] = 0
        self._begin(starts, options)
        self.started = True

    def step(self, actions: np.ndarray | Sequence[Sequence[int]]) -> None:
        """See VectorEnv.step."""
        if not self.started:
            raise RuntimeError("step() before reset(): call reset() first.")
        legal = self._legal(actions_of(actions, self.num_envs, self.n_agents))
        running = [index for index, member in enumerate(self._members) if member.running]
        self.reward[:] = self.agent_reward[:] = 0
        for index in running:
            self._members[index].steps += 1
        self._play(running, legal)
        over = [index for index in running if not self._members[index].running]
        if over and self.autoreset:
            self.final_obs[over], self.final_state[over] = self.obs[over], self.state[over]
            self.final_action_mask[over] = self.action_mask[over]
            self._begin({i: (self._members[i].seed, self._members[i].episode + 1) for i in over}, None)

    def observe(self, world: World) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """See VectorEnv.observe; the world consists of the stored outputs."""
        check_dict("the world", world, self.observed)
        obs, state, action_mask = (as_array(name, world[name]) for name in self.observed)
        lead = state.shape[:-1]
        for name, found in zip(self.observed, (obs, state, action_mask), strict=True):
            own = self.world[name]
            shape = (*lead, *own.shape[1:])
            if found.shape != shape or found.dtype != own.dtype:
                raise ValueError(
                    f"world[{name!r}] must be {own.dtype} of shape {shape}, found {found.dtype} {found.shape}."
                )
        return obs.copy(), state.copy(), action_mask.copy()

    def _starts(self, seed: int | Sequence[int] | None) -> dict[int, tuple[int, int]]:
        """Return the (seed, episode) that each environment starts with."""
        if seed is None:
            if not self.started:
                return {index: (index, 0) for index in range(self.num_envs)}
            return {index: (member.seed, member.episode + 1) for index, member in enumerate(self._members)}
        return {index: (one, 0) for index, one in enumerate(seeds_of(seed, self.num_envs, MAX_SEED))}

    def _legal(self, chosen: np.ndarray) -> np.ndarray:
        """Return the actions with every illegal one replaced by the lowest legal one, and count them."""
        inside = (chosen >= 0) & (chosen < self.n_actions)
        index = np.where(inside, chosen, 0)
        available = np.take_along_axis(self.action_mask, index[..., None], axis=-1)[..., 0]
        frozen = [not member.running for member in self._members]
        legal = (inside & (available == 1)) | np.array(frozen)[:, None]
        self.info["illegal_actions"][:] = (~legal).sum(-1)
        if self.strict and not legal.all():
            e, agent = np.argwhere(~legal)[0]
            raise illegal_action(chosen[e, agent], self.agents[agent], e, self.action_mask[e, agent])
        return np.where(legal, chosen, self.action_mask.argmax(-1))

    # Hooks of the environments.

    @abc.abstractmethod
    def _begin(self, starts: dict[int, tuple[int, int]], options: dict[str, Any] | None) -> None:
        """Start the given (seed, episode) in the given environments, and write their obs, state and action_mask."""

    @abc.abstractmethod
    def _play(self, running: list[int], actions: np.ndarray) -> None:
        """Play one step in the running environments; actions [E,N] are legal there.

        Writes obs, state, action_mask, reward, agent_reward, the flags and info; one that ended stops running.
        """


def episode_seed(seed: int, episode: int) -> int:
    """Return the seed of an episode: the given seed for episode 0, 31 bits derived from both for later ones."""
    if episode == 0:
        return seed
    return int(np.random.SeedSequence(seed, spawn_key=(episode,)).generate_state(1)[0]) >> 1
