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
    """Return the episodes as one padded batch, cut to the longest.

    Args:
        episodes: B of them.
        env: whose `observe` turns their worlds into observations.
        timeout_is_terminal: whether the time limit ends the TD target like a true end.
    """
    lengths = np.array([episode.length for episode in episodes])
    batch, steps = len(episodes), int(lengths.max())
    world = {name: np.concatenate([episode.world[name] for episode in episodes]) for name in env.observed}
    real = np.arange(steps + 1) <= lengths[:, None]  # [B, T+1]; the last one is what followed the last action

    def padded(values: np.ndarray, where: np.ndarray) -> torch.Tensor:
        if where.all():
            return torch.from_numpy(values.reshape(*where.shape, *values.shape[1:]))
        out = np.zeros((*where.shape, *values.shape[1:]), values.dtype)
        out[where] = values
        return torch.from_numpy(out)

    obs, state, action_mask = (padded(values, real) for values in env.observe(world))
    mask = torch.from_numpy(real[:, 1:].astype(np.float32))  # [B, T]
    terminated = torch.zeros(batch, steps)
    for i, episode in enumerate(episodes):
        terminated[i, episode.length - 1] = float(episode.terminated or timeout_is_terminal)
    return Batch(
        obs=obs,
        state=state,
        action_mask=action_mask,
        actions=padded(np.concatenate([episode.actions for episode in episodes]).astype(np.int64), real[:, 1:]),
        reward=padded(np.concatenate([episode.reward for episode in episodes]).astype(np.float32), real[:, 1:]),
        terminated=terminated,
        mask=mask,
    )
