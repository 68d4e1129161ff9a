"""The interface of an agent: it unrolls whole episodes for the learner and acts step by step in the rollout.

A torch module that defines `initial_memory` and `step` can train and act; slow default loops provide everything else.
`marl_gre.testing.check_agent` checks that an agent keeps the interface's promises.
"""

from collections.abc import Sequence
from typing import ClassVar, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from marl_gre.data import EnvSizes, mask_unavailable

Memory = tuple[Tensor, ...]
"""An agent's memory of E episodes: any number of tensors whose first axis is E."""


class Actor(Protocol):
    """Plays E episodes in parallel; the agent's weights must not change while it does."""

    def act(
        self,
        obs: np.ndarray,
        action_mask: np.ndarray,
        epsilon: float,
        noise: np.ndarray | None,
        playing: np.ndarray | None = None,
    ) -> np.ndarray:
        """Choose the actions of one step and store them as the next step's previous actions.

        Args:
            obs: float32 [E,N,O]; overwritten by the next step: copy it to keep it.
            action_mask: 1 = available [E,N,A].
            epsilon: probability of a random available action, per agent.
            noise: uniform numbers in [0, 1) [2,E,N]: whether to explore, and which action; None acts greedily.
            playing: bool [E], the environments that need actions; None for all.

        Returns:
            actions, int64 [E,N].
        """
        ...


class Agent(nn.Module):
    """Maps each agent's history of observations and actions to the values of all its actions.

    A subclass defines `initial_memory`, `step` and `results_version`, which must be raised whenever a code change
    alters its numbers. It may override `forward` with a faster unroll and `actor` with faster acting.

    Args:
        sizes: the environment's sizes.
        hidden_dim: `train.hidden_dim` of params.yaml.
    """

    results_version: ClassVar[int] = 1

    def __init__(self, sizes: EnvSizes, hidden_dim: int):
        super().__init__()
        self.sizes = sizes
        self.hidden_dim = hidden_dim

    def initial_memory(self, num_envs: int) -> Memory:
        """Return the initial memory [E,...] of E episodes, on the module's device and in its dtype."""
        raise NotImplementedError("an agent defines initial_memory(num_envs)")

    def step(self, obs: Tensor, previous: Tensor, memory: Memory) -> tuple[Tensor, Memory]:
        """Return the values of all actions at one step and the memory for the next step, each environment by itself.

        Args:
            obs: [E,N,O].
            previous: the previous actions as one-hot vectors, zeros at the first step [E,N,A].
            memory: returned by the previous step, or by `initial_memory`.

        Returns:
            agent_qs [E,N,A] and the next memory.
        """
        raise NotImplementedError("an agent defines step(obs, previous, memory)")

    def forward(self, obs: Tensor, actions: Tensor, episodes: Sequence[int]) -> Tensor:
        """Return the values of all actions at every step of whole episodes, packed as in `data.Batch`.

        Args:
            obs: [P,N,O].
            actions: the actions taken, int64 [Q,N].
            episodes: number of episodes that reach each time step [T+1].

        Returns:
            agent_qs [P,N,A].
        """
        first = episodes[0]
        memory, start, agent_qs = self.initial_memory(first), 0, []
        previous = obs.new_zeros(first, *actions.shape[1:], self.sizes.n_actions)
        for count in episodes:
            if start:
                taken = actions[start - first : start - first + count]
                previous = F.one_hot(taken, self.sizes.n_actions).to(obs.dtype)
            memory = tuple(part[:count] for part in memory)  # the longest episodes come first
            values, memory = self.step(obs[start : start + count], previous, memory)
            agent_qs.append(values)
            start += count
        return torch.cat(agent_qs)

    def actor(self, num_envs: int) -> Actor:
        """Return an actor that plays E new episodes with the current weights."""
        return TorchActor(self, num_envs)


class TorchActor:
    """Epsilon-greedy acting by an agent's `step`, on the agent's device.

    Args:
        agent: any agent.
        num_envs: number E of episodes.
    """

    def __init__(self, agent: Agent, num_envs: int):
        self.agent = agent
        self.memory = agent.initial_memory(num_envs)
        of_agent = next(agent.parameters(), torch.zeros(()))
        self.previous = of_agent.new_zeros(num_envs, agent.sizes.n_agents, agent.sizes.n_actions)

    @torch.no_grad()
    def act(
        self,
        obs: np.ndarray,
        action_mask: np.ndarray,
        epsilon: float,
        noise: np.ndarray | None,
        playing: np.ndarray | None = None,
    ) -> np.ndarray:
        """See `Actor.act`."""
        seen = torch.tensor(obs).to(self.previous)  # a copy: the environment writes its next observation to `obs`
        agent_qs, self.memory = self.agent.step(seen, self.previous, self.memory)
        mask = torch.from_numpy(action_mask).to(self.previous.device)
        actions = mask_unavailable(agent_qs, mask).argmax(-1).cpu().numpy()  # [E, N]
        if noise is not None:
            actions = np.where(noise[0] < epsilon, random_available(action_mask, noise[1]), actions)
        taken = torch.from_numpy(actions).to(self.previous.device)
        self.previous = F.one_hot(taken, self.agent.sizes.n_actions).to(self.previous)
        return actions


def random_available(action_mask: np.ndarray, uniform: np.ndarray) -> np.ndarray:
    """Return a uniformly random available action for each agent.

    Args:
        action_mask: 1 = available [...,A], at least one per agent.
        uniform: random numbers in [0, 1) [...].

    Returns:
        actions, int64 [...].
    """
    available = action_mask.cumsum(-1)  # the k-th available action is the first whose count exceeds k
    chosen = (uniform * available[..., -1]).astype(np.int64)
    return (available > chosen[..., None]).argmax(-1)
