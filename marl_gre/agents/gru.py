"""The agents' shared recurrent Q network: fc1 -> ReLU -> GRU -> fc2 (PyMARL's `rnn_agent`).

One set of weights for all agents; the input of agent i is [observation, one-hot previous action, one-hot i].
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from marl_gre.agents.gru_unroll import unroll


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

    def forward(self, obs: Tensor, actions: Tensor, episodes: Sequence[int]) -> Tensor:
        """Return the values of all actions at every step of whole episodes, packed as in `learner.Batch`.

        Args:
            obs: [P,N,O].
            actions: the actions taken, int64 [Q,N].
            episodes: how many episodes have a step at each time [T+1].

        Returns:
            agent_qs [P,N,A].
        """
        weights = (*self.fc1.parameters(), *self.rnn.all_weights[0], *self.fc2.parameters())
        if not obs.is_cuda:
            return unroll(obs, actions, episodes, *weights)
        obs_weight, action_weight, id_weight = self.fc1.weight.split((obs.shape[-1], self.n_actions, self.n_agents), 1)
        x = F.linear(obs, obs_weight, self.fc1.bias) + id_weight.t()  # one-hot inputs select columns
        x = torch.cat((x[: episodes[0]], x[episodes[0] :] + F.embedding(actions, action_weight.t())))
        rows = torch.tensor(episodes) * self.n_agents
        hidden = self.rnn(PackedSequence(F.relu(x).view(-1, self.hidden_dim), rows))[0].data  # [P*N, H]
        return self.fc2(hidden).view(*obs.shape[:2], self.n_actions)

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
