"""An agent written as a third party would: an LSTM in plain torch, with everything else left to the defaults."""

import torch
from torch import nn

from marl_gre.agents.base import Agent


class LSTMAgent(Agent):
    """Linear, ReLU, LSTM cell, linear; one set of weights for all agents."""

    def __init__(self, sizes, hidden_dim, scale=1.0):
        super().__init__(sizes, hidden_dim)
        self.scale = scale
        self.encoder = nn.Linear(sizes.obs_dim + sizes.n_actions + sizes.n_agents, hidden_dim)
        self.cell = nn.LSTMCell(hidden_dim, hidden_dim)
        self.values = nn.Linear(hidden_dim, sizes.n_actions)

    def initial_memory(self, num_envs):
        zeros = self.values.weight.new_zeros(num_envs, self.sizes.n_agents, self.hidden_dim)
        return zeros, zeros

    def step(self, obs, previous, memory):
        agent_ids = torch.eye(self.sizes.n_agents).to(obs).expand(len(obs), -1, -1)
        x = torch.relu(self.encoder(torch.cat((self.scale * obs, previous, agent_ids), -1)))  # [E, N, H]
        hidden, cell = self.cell(x.flatten(0, 1), tuple(part.flatten(0, 1) for part in memory))
        shape = obs.shape[:2]
        return self.values(hidden).unflatten(0, shape), (hidden.unflatten(0, shape), cell.unflatten(0, shape))
