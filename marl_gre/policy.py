"""Acting: masked epsilon-greedy over the agents' values, and the schedule of epsilon."""

import numpy as np
import torch

from marl_gre.agents import RecurrentAgent
from marl_gre.config import TrainConfig
from marl_gre.losses import mask_unavailable


def epsilon_at(env_steps: int, config: TrainConfig) -> float:
    """Return epsilon, linear from start to finish over the first `epsilon_anneal_steps` environment steps."""
    progress = min(env_steps / config.epsilon_anneal_steps, 1.0)
    return config.epsilon_start + progress * (config.epsilon_finish - config.epsilon_start)


def random_available(action_mask: np.ndarray, uniform: np.ndarray) -> np.ndarray:
    """Return a uniformly random available action for each agent.

    Args:
        action_mask: 1 = available [...,A], at least one per agent.
        uniform: numbers in [0, 1) that decide [...].

    Returns:
        actions, int64 [...].
    """
    available = action_mask.cumsum(-1)  # the k-th available action is the first whose count exceeds k
    chosen = (uniform * available[..., -1]).astype(np.int64)
    return (available > chosen[..., None]).argmax(-1)


class Policy:
    """The agents' network with its memory of the episodes being played.

    Args:
        agent: the network, on any device; it is read at every step, so a policy follows training.
    """

    def __init__(self, agent: RecurrentAgent):
        self.agent = agent

    def begin(self, copies: int) -> None:
        """Forget: E new episodes begin."""
        agent, device = self.agent, self.agent.fc1.weight.device
        self.hidden = torch.zeros(copies * agent.n_agents, agent.hidden_dim, device=device)
        self.previous = torch.zeros(copies, agent.n_agents, agent.n_actions, device=device)

    @torch.no_grad()
    def act(self, obs: np.ndarray, action_mask: np.ndarray, epsilon: float, noise: np.ndarray | None) -> np.ndarray:
        """Return the actions of one step and remember them.

        Args:
            obs: float32 [E,N,O].
            action_mask: 1 = available [E,N,A].
            epsilon: probability of a random available action, per agent.
            noise: uniform numbers in [0, 1) [2,E,N]: whether to explore, and what; None is greedy.

        Returns:
            actions, int64 [E,N].
        """
        device = self.hidden.device
        agent_qs, self.hidden = self.agent.step(torch.from_numpy(obs).to(device), self.previous, self.hidden)
        best = mask_unavailable(agent_qs, torch.from_numpy(action_mask).to(device)).argmax(-1)  # [E, N]
        actions = best.cpu().numpy()
        if noise is not None:
            actions = np.where(noise[0] < epsilon, random_available(action_mask, noise[1]), actions)
        self.previous.zero_()
        self.previous.scatter_(-1, torch.from_numpy(actions).to(device).unsqueeze(-1), 1.0)
        return actions
