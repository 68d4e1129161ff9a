"""Episode replay that stores compact world states and recomputes what the agents saw.

A step costs tens of bytes instead of thousands (TrafficJunction10: 5,400 for the observations alone); the
environment's own `observe` makes the batch, bit-identical to what was seen.
"""

import numpy as np
import torch

from envs.vector import VectorEnv
from marl_gre.learner import Batch
from marl_gre.rollout import Episode


class Replay:
    """The newest `capacity` episodes."""

    def __init__(self, capacity: int):
        self.capacity = capacity
        self.episodes: list[Episode] = []
        self.added = 0

    def add(self, episode: Episode) -> None:
        """Keep an episode in place of the oldest one if full."""
        if len(self.episodes) < self.capacity:
            self.episodes.append(episode)
        else:
            self.episodes[self.added % self.capacity] = episode
        self.added += 1

    def sample(self, count: int, generator: np.random.Generator) -> list[Episode]:
        """Return `count` different episodes, uniformly at random."""
        chosen = generator.choice(len(self.episodes), count, replace=False)
        return [self.episodes[i] for i in chosen]


def collate(episodes: list[Episode], env: VectorEnv, timeout_is_terminal: bool) -> Batch:
    """Return the episodes as one packed batch.

    Args:
        episodes: B of them.
        env: whose `observe` turns their worlds into observations.
        timeout_is_terminal: whether the time limit ends the TD target like a true end.
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
