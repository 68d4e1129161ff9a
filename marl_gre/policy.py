"""Epsilon-greedy acting and the schedule of epsilon."""

import numpy as np

from marl_gre.agents.base import Agent
from marl_gre.config import TrainConfig


def epsilon_at(env_steps: int, config: TrainConfig) -> float:
    """Return epsilon, annealed linearly over the first `epsilon_anneal_steps` environment steps."""
    progress = min(env_steps / config.epsilon_anneal_steps, 1.0)
    return config.epsilon_start + progress * (config.epsilon_finish - config.epsilon_start)


class Policy:
    """Masked epsilon-greedy over an agent's values.

    Args:
        agent: the network; its weights must not change while episodes run.
    """

    def __init__(self, agent: Agent):
        self.agent = agent

    def begin(self, num_envs: int) -> None:
        """Begin E new episodes with an empty memory."""
        self.actor = self.agent.actor(num_envs)

    def act(
        self,
        obs: np.ndarray,
        action_mask: np.ndarray,
        epsilon: float,
        noise: np.ndarray | None,
        playing: np.ndarray | None = None,
    ) -> np.ndarray:
        """Choose the actions of one step; see `marl_gre.agents.base.Actor.act`."""
        return self.actor.act(obs, action_mask, epsilon, noise, playing)
