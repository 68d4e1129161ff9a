"""The base class of the gridworlds: the state is all observations side by side, every action is available."""

import abc
from typing import Any

import numpy as np

from marl_gre_envs.core import CoreEnv
from marl_gre_envs.vector import World


class GridWorld(CoreEnv):
    """A compiled environment whose agents see `own_dim` numbers each, all between 0 and 1."""

    obs_low = 0.0
    obs_high = 1.0
    own_dim: int  # numbers one agent sees by itself
    full_observable: bool  # whether every agent gets the observations of all

    def _set_dims(self, own_dim: int, full_observable: bool) -> None:
        """Set the observation and state sizes."""
        self.own_dim, self.full_observable = own_dim, full_observable
        self.obs_dim = own_dim * self.n_agents if full_observable else own_dim
        self.state_dim = self.obs_dim * self.n_agents

    def _buffers(self, lead: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        obs = np.zeros((*lead, self.n_agents, self.obs_dim), np.float32)
        mask = np.ones((*lead, self.n_agents, self.n_actions), np.int8)
        return obs, obs.reshape(*lead, self.state_dim), mask  # the state is the same memory

    def __setstate__(self, attributes: dict[str, Any]) -> None:
        self.__dict__.update(attributes)
        # Copies and pickles keep arrays, not that two share memory.
        self.state = self.obs.reshape(self.num_envs, self.state_dim)
        self.final_state = self.final_obs.reshape(self.num_envs, self.state_dim)

    def _observe_into(
        self, world: World, which: np.ndarray, obs: np.ndarray, state: np.ndarray, mask: np.ndarray
    ) -> None:
        # Row m of `state` begins with the agents' own observations, with or without full_observable.
        self._look(world, which, state)
        if self.full_observable:
            obs[:, 1:] = obs[:, :1]

    @abc.abstractmethod
    def _look(self, world: World, which: np.ndarray, out: np.ndarray) -> None:
        """Write the own observations of all agents [M, N * own_dim] into the first columns of the flagged rows."""
