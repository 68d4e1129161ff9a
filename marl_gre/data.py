"""Episodes, the packed batches that the learner reads, and the sizes of an environment."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from marl_gre_envs.vector import VectorEnv

UNAVAILABLE = -9999999.0
"""Q of an unavailable action, as in PyMARL."""


@dataclass(frozen=True)
class EnvSizes:
    """The sizes of an environment, which agents and mixers are built from."""

    n_agents: int
    n_actions: int
    obs_dim: int
    state_dim: int

    @classmethod
    def of(cls, env: VectorEnv) -> "EnvSizes":
        """Return the sizes of an environment."""
        return cls(env.n_agents, env.n_actions, env.obs_dim, env.state_dim)


MOST_ACTIONS = np.iinfo(np.int16).max + 1
"""Of one agent, as episodes store them."""


@dataclass(frozen=True)
class Episode:
    """One episode of L steps as the replay stores it: worlds instead of observations."""

    seed: int
    world: dict[str, np.ndarray]  # what the env's `observe` reads, each [L+1, ...]; empty where not recorded
    actions: np.ndarray  # int16 [L, N]
    reward: np.ndarray  # team reward, float64 [L]
    terminated: bool  # a true end; otherwise the time limit
    won: bool | None  # None where there is nothing to win

    @property
    def length(self) -> int:
        """Number of steps L."""
        return len(self.reward)

    @property
    def episode_return(self) -> float:
        """The undiscounted team return."""
        return float(self.reward.sum())


@dataclass(frozen=True)
class Batch:
    """B whole episodes without padding: all first steps, then all second steps, ..., the longest episode first.

    Q counts the steps in which an action was taken. P also counts the final state of each episode, so P = Q + B. The
    successor of action q is row B + q of the packed arrays.
    """

    obs: Tensor  # [P, N, O]
    state: Tensor  # [P, S]
    action_mask: Tensor  # [P, N, A], 1 = available
    actions: Tensor  # [Q, N], int64
    reward: Tensor  # [Q], team reward
    terminated: Tensor  # [Q], 1 where nothing follows for the TD target
    now: Tensor  # [Q], int64: the row in which each action was taken
    episodes: tuple[int, ...]  # [T+1]: how many episodes have a row at each time

    def actions_by_row(self) -> Tensor:
        """Return the action taken in each row, 0 where there was none [P,N]."""
        rows = self.actions.new_zeros(len(self.obs), self.actions.shape[1])
        return rows.index_copy_(0, self.now, self.actions)

    def to(self, device: torch.device) -> "Batch":
        """Return the batch on a device."""
        tensors = {name: value.to(device) for name, value in vars(self).items() if isinstance(value, Tensor)}
        return Batch(**tensors, episodes=self.episodes)


def collate(episodes: list[Episode], env: VectorEnv, timeout_is_terminal: bool) -> Batch:
    """Return the episodes as one packed batch.

    Args:
        episodes: the B episodes.
        env: the environment, whose `observe` turns worlds into observations.
        timeout_is_terminal: whether the time limit ends the TD target, as a termination does.
    """
    episodes = sorted(episodes, key=lambda episode: -episode.length)  # stable
    lengths = np.array([episode.length for episode in episodes])
    time = np.arange(lengths[0] + 1)[:, None]
    has_row, has_action = time <= lengths, time < lengths  # [T+1, B]

    def packed(name: str) -> np.ndarray:
        values = np.concatenate([episode.world[name] for episode in episodes])
        starts = np.cumsum(lengths + 1) - (lengths + 1)
        return values[(starts + time)[has_row]]

    def of_actions(values: list[np.ndarray], dtype: type) -> torch.Tensor:
        starts = np.cumsum(lengths) - lengths
        return torch.from_numpy(np.concatenate(values)[(starts + time)[has_action]].astype(dtype))

    ends = [np.arange(e.length) == e.length - 1 if e.terminated or timeout_is_terminal else np.zeros(e.length)
            for e in episodes]  # fmt: skip
    obs, state, action_mask = env.observe({name: packed(name) for name in env.observed})
    return Batch(
        obs=torch.from_numpy(obs),
        state=torch.from_numpy(state),
        action_mask=torch.from_numpy(action_mask),
        actions=of_actions([episode.actions for episode in episodes], np.int64),
        reward=of_actions([episode.reward for episode in episodes], np.float32),
        terminated=of_actions(ends, np.float32),
        now=torch.from_numpy(np.flatnonzero(has_action[has_row])),
        episodes=tuple(has_row.sum(1).tolist()),
    )


def mask_unavailable(agent_qs: Tensor, action_mask: Tensor) -> Tensor:
    """Replace the Q values of unavailable actions by `UNAVAILABLE`.

    Args:
        agent_qs: [...,A].
        action_mask: 1 = available [...,A].
    """
    return torch.where(action_mask.bool(), agent_qs, UNAVAILABLE)
