"""The agents' shared recurrent Q network: fc1 -> ReLU -> GRU -> fc2 (PyMARL's `rnn_agent`).

One set of weights for all agents; the input of agent i is [observation, one-hot previous action, one-hot i].
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class RecurrentAgent(nn.Module):
    """Map observation histories to the values of all actions.

    Args:
        obs_dim, n_actions, n_agents: sizes of the environment.
        hidden_dim: width of fc1 and of the GRU.
    """

    agent_ids: Tensor

    def __init__(self, obs_dim: int, n_actions: int, n_agents: int, hidden_dim: int):
        super().__init__()
        self.n_actions = n_actions
        self.n_agents = n_agents
        self.hidden_dim = hidden_dim
        self.fc1 = nn.Linear(obs_dim + n_actions + n_agents, hidden_dim)
        self.rnn = nn.GRU(hidden_dim, hidden_dim)
        self.fc2 = nn.Linear(hidden_dim, n_actions)
        self.register_buffer("agent_ids", torch.eye(n_agents), persistent=False)

    def forward(self, obs: Tensor, actions: Tensor) -> Tensor:
        """Return the values of all actions at every step of whole episodes.

        Args:
            obs: [B,T+1,N,O].
            actions: actions taken, int64 [B,T,N].

        Returns:
            agent_qs [B,T+1,N,A].
        """
        batch, steps, n_agents, _ = obs.shape
        one_hot = F.one_hot(actions, self.n_actions).to(obs.dtype)  # [B, T, N, A]
        previous = F.pad(one_hot, (0, 0, 0, 0, 1, 0))  # zeros before the first step
        ids = self.agent_ids.expand(batch, steps, n_agents, n_agents)
        inputs = torch.cat((obs, previous, ids), dim=-1)
        x = F.relu(self.fc1(inputs))  # [B, T+1, N, H]
        x = x.transpose(0, 1).reshape(steps, batch * n_agents, self.hidden_dim)
        hidden, _ = self.rnn(x)  # from a zero hidden state
        agent_qs = self.fc2(hidden)  # [T+1, B*N, A]
        return agent_qs.view(steps, batch, n_agents, self.n_actions).transpose(0, 1)

    def step(self, obs: Tensor, previous: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Return the values of all actions at one step, for acting.

        Args:
            obs: [E,N,O].
            previous: one-hot previous actions, zeros at the first step [E,N,A].
            hidden: [E*N,H], zeros at the first step.

        Returns:
            agent_qs [E,N,A] and the next hidden state [E*N,H].
        """
        copies, n_agents, _ = obs.shape
        inputs = torch.cat((obs, previous, self.agent_ids.expand(copies, n_agents, n_agents)), dim=-1)
        x = F.relu(self.fc1(inputs.view(copies * n_agents, -1)))
        hidden = torch.gru_cell(x, hidden, *self.rnn.all_weights[0])  # [E*N, H]
        return self.fc2(hidden).view(copies, n_agents, self.n_actions), hidden
