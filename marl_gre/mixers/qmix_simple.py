"""QMIX-simple: q_tot = w2 elu(w1 sum_i q_i + b1) + v, four scalars made from the state.

Eq. 9 of https://arxiv.org/abs/2202.04427: QMIX without the power to tell agents apart, so every agent's credit is the
same and the credit entropy is exactly 1.
"""

import torch.nn.functional as F
from torch import Tensor

from marl_gre.mixers.base import Mixer, from_state, hypernetwork
from marl_gre.mixers.qmix import QMIXConfig


class QMIXSimple(Mixer):
    """A scalar mixing network over the sum of the agents' values; `embed_dim` is the hidden width of v alone."""

    Config = QMIXConfig

    def __init__(self, n_agents: int, state_dim: int, config: QMIXConfig):
        super().__init__(n_agents, state_dim, config)
        layers, hidden, width = config.hypernet_layers, config.hypernet_dim, config.embed_dim
        self.hyper_w1 = hypernetwork(state_dim, 1, layers, hidden)
        self.hyper_w2 = hypernetwork(state_dim, 1, layers, hidden)
        self.hyper_b1 = hypernetwork(state_dim, 1, 1)
        self.hyper_v = hypernetwork(state_dim, 1, 2, width)

    def forward(self, chosen_qs: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """See `Mixer.forward`."""
        total = chosen_qs.sum(-1, keepdim=True)  # [B, T, 1]
        w1, b1, w2, v = from_state(state, self.hyper_w1, self.hyper_b1, self.hyper_w2, self.hyper_v)  # each [B, T, 1]
        q_tot = (w2.abs() * F.elu(w1.abs() * total + b1) + v).squeeze(-1)  # [B, T]
        return q_tot, q_tot.new_zeros(q_tot.shape)
