"""The credits within greedy episodes of a finished run: what credits.py writes and credits_shapley.py compares."""

from dataclasses import dataclass

import numpy as np
import torch

from marl_gre.credit import credits, gradient_entropy
from marl_gre.data import Batch, Episode, collate
from marl_gre.networks import Networks, restore
from marl_gre.policy import Policy
from marl_gre.rollout import opened, play_greedily
from marl_gre.shares import shares
from marl_gre.storage.run_dir import FinishedRun

PHASES = 4
"""Number of equal parts of an episode."""


@dataclass(frozen=True)
class EpisodeCredits:
    """An episode of L steps with its credits."""

    episode: Episode
    credits: np.ndarray  # dq_tot/dq_i [L, N]
    entropy: np.ndarray | None  # [L]; None for one agent

    @property
    def shares(self) -> np.ndarray:
        """Each agent's share of the absolute credits [L,N]; equal shares where all credits are 0."""
        return shares(torch.from_numpy(self.credits)).numpy()

    @property
    def phase(self) -> np.ndarray:
        """The part of the episode of each step [L], 0 to `PHASES` - 1."""
        return np.arange(self.episode.length) * PHASES // self.episode.length

    @property
    def starts(self) -> dict[int, int]:
        """The first step of each phase that has one."""
        phases, steps = np.unique(self.phase, return_index=True)
        return dict(zip(phases.tolist(), steps.tolist(), strict=True))


def measure(run: FinishedRun, seeds: list[int]) -> list[EpisodeCredits]:
    """Return one greedy episode per seed with the credits of the run's final mixer."""
    timeout_is_terminal = run.config.train.timeout_is_terminal
    with opened(run.config.env_key, run.config.env, min(len(seeds), run.config.env.test_copies)) as env:
        networks = restore(run, env)
        return [
            _measured(networks, collate([episode], env, timeout_is_terminal), episode)
            for episode in play_greedily(env, Policy(networks.agent), seeds)
        ]


def _measured(networks: Networks, batch: Batch, episode: Episode) -> EpisodeCredits:
    device = next(networks.agent.parameters()).device
    gradient = credits(networks, batch.to(device)).double()  # [L, N], in the order of play for a single episode
    entropy = gradient_entropy(gradient).cpu().numpy() if gradient.shape[-1] > 1 else None
    return EpisodeCredits(episode, gradient.cpu().numpy(), entropy)
