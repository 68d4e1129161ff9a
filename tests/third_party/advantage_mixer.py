"""A mixer written as a third party would, which needs actions and greedy maxima."""

import torch
import torch.nn.functional as F
from torch import nn

from marl_gre.mixers import Mixer, MixerConfig


class AdvantageSum(Mixer):
    """q_tot = sum_i max_a q_i(a) + sum_i lambda_i(s, a) (q_i - max_a q_i(a)), lambda_i > 0."""

    class Config(MixerConfig):
        floor: float = 0.1

    def __init__(self, sizes, config):
        super().__init__(sizes, config)
        self.weight = nn.Linear(sizes.state_dim + sizes.n_agents * sizes.n_actions, sizes.n_agents)

    def weights(self, values, state):
        joint_action = F.one_hot(values.actions, self.sizes.n_actions).flatten(-2).to(state.dtype)  # [B, T, N*A]
        return F.softplus(self.weight(torch.cat((state, joint_action), -1))) + self.config.floor  # [B, T, N]

    def forward(self, values, state):
        advantages = values.chosen - values.greedy  # [B, T, N], 0 or less
        return (values.greedy + self.weights(values, state) * advantages).sum(-1)  # [B, T]

    def analytic_credits(self, values, state):
        return {"exact": self.weights(values, state)}
