"""Acting: masked epsilon-greedy over the agents' values, and the schedule of epsilon."""

import numpy as np
import torch

from marl_gre.agents import gru_acting
from marl_gre.agents.gru import RecurrentAgent
from marl_gre.config import TrainConfig
from marl_gre.losses import mask_unavailable

NO_NOISE = np.empty((2, 0, 0))


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


def weights_of(agent: RecurrentAgent) -> gru_acting.Weights:
    """Return a copy of a network's weights as the kernel reads them."""
    named = {name: np.array(value.detach().cpu().numpy().T, np.float32, order="C")
             for name, value in agent.named_parameters()}  # fmt: skip
    first = named["fc1.weight"]
    last = len(first) - agent.n_agents
    obs, action, agent_id = np.split(first, (last - agent.n_actions, last))
    return gru_acting.Weights(
        obs=obs,
        action=action,
        agent=agent_id + named["fc1.bias"],
        inputs=named["rnn.weight_ih_l0"],
        inputs_bias=named["rnn.bias_ih_l0"],
        hidden=named["rnn.weight_hh_l0"],
        hidden_bias=named["rnn.bias_hh_l0"],
        out=named["fc2.weight"],
        out_bias=named["fc2.bias"],
    )


class Policy:
    """The agents' network with its memory of the episodes being played.

    On the CPU a compiled kernel plays, in float32 whatever the network's precision, and what the agents of a copy do
    does not depend on the other copies. On other devices torch plays.

    Args:
        agent: the network; its weights are read at the beginning of episodes.
    """

    def __init__(self, agent: RecurrentAgent):
        self.agent = agent

    def begin(self, copies: int) -> None:
        """Forget: E new episodes begin, with the network's present weights."""
        agent, device = self.agent, self.agent.fc1.weight.device
        self.torch_plays = device.type != "cpu"
        if self.torch_plays:
            self.torch_hidden = torch.zeros(copies * agent.n_agents, agent.hidden_dim, device=device)
            self.previous = torch.zeros(copies, agent.n_agents, agent.n_actions, device=device)
        else:
            self.weights = weights_of(agent)
            self.hidden = np.zeros((copies, agent.n_agents, agent.hidden_dim), np.float32)
            self.actions = np.full((copies, agent.n_agents), -1, np.int64)
            self.agent_qs = np.zeros((copies, agent.n_agents, agent.n_actions), np.float32)
            self.all_playing = np.ones(copies, bool)

    def act(
        self,
        obs: np.ndarray,
        action_mask: np.ndarray,
        epsilon: float,
        noise: np.ndarray | None,
        playing: np.ndarray | None = None,
    ) -> np.ndarray:
        """Return the actions of one step and remember them.

        Args:
            obs: float32 [E,N,O].
            action_mask: 1 = available [E,N,A].
            epsilon: probability of a random available action, per agent.
            noise: uniform numbers in [0, 1) [2,E,N]: whether to explore, and what; None is greedy.
            playing: copies [E] whose actions are wanted, the others' are not computed; None for all.

        Returns:
            actions, int64 [E,N].
        """
        if self.torch_plays:
            return self._act_by_torch(obs, action_mask, epsilon, noise)
        gru_acting.act(
            self.weights,
            np.ascontiguousarray(obs, np.float32),
            np.ascontiguousarray(action_mask, np.int8),
            self.all_playing if playing is None else playing,
            0.0 if noise is None else float(epsilon),
            NO_NOISE if noise is None else np.ascontiguousarray(noise),
            self.hidden,
            self.actions,
            self.agent_qs,
        )
        return self.actions.copy()

    @torch.no_grad()
    def _act_by_torch(
        self, obs: np.ndarray, action_mask: np.ndarray, epsilon: float, noise: np.ndarray | None
    ) -> np.ndarray:
        """Return the actions of one step, chosen on the network's device."""
        device = self.previous.device
        agent_qs, self.torch_hidden = self.agent.step(
            torch.from_numpy(obs).to(device), self.previous, self.torch_hidden
        )
        best = mask_unavailable(agent_qs, torch.from_numpy(action_mask).to(device)).argmax(-1)  # [E, N]
        actions = best.cpu().numpy()
        if noise is not None:
            actions = np.where(noise[0] < epsilon, random_available(action_mask, noise[1]), actions)
        self.previous.zero_()
        self.previous.scatter_(-1, torch.from_numpy(actions).to(device).unsqueeze(-1), 1.0)
        return actions
