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

    def __init__(self, sizes, config):
        super().__init__(sizes, config)
        self.weight = nn.Linear(sizes.state_dim, sizes.n_agents)
        self.value = nn.Linear(sizes.state_dim, 1)

    def weights(self, state):
        return F.softplus(self.weight(state))  # [B, T, N]

    def forward(self, values, state):
        return (self.weights(state) * values.chosen).sum(-1) + self.value(state).squeeze(-1)  # [B, T]

    def mix_and_regularise(self, values, state):
        q_tot = self(values, state)
        return q_tot, self.config.pull * torch.square(self.weights(state) - 1).mean(-1)

    def analytic_credits(self, values, state):
        return {"exact": self.weights(state)}
