"""A mixer written as a third party would: a sum whose non-negative weights come from the state, pulled to one."""

import torch
import torch.nn.functional as F
from torch import nn

from marl_gre.mixers import Mixer, MixerConfig


class WeightedSumConfig(MixerConfig):
    pull: float = 0.01


class WeightedSum(Mixer):
    """q_tot = sum_i softplus(w_i(s)) q_i + v(s)."""

    Config = WeightedSumConfig
    results_version = 1

    def __init__(self, n_agents, state_dim, config):
        super().__init__(n_agents, state_dim, config)
        self.weight = nn.Linear(state_dim, n_agents)
        self.value = nn.Linear(state_dim, 1)

    def credits(self, chosen_qs, state):
        return F.softplus(self.weight(state))  # [B, T, N]

    def forward(self, chosen_qs, state):
        weights = self.credits(chosen_qs, state)
        q_tot = (weights * chosen_qs).sum(-1) + self.value(state).squeeze(-1)  # [B, T]
        return q_tot, self.config.pull * torch.square(weights - 1).mean(-1)
