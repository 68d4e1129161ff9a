"""QMIX-GRE: QMIX whose loss also holds lambda times the normalised entropy of dq_tot/dq.

Eq. 6, 7, 8 and 10 of https://arxiv.org/abs/2202.04427. The agents' values are detached in the entropy, so that it
moves the mixer's parameters only.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from marl_gre.credit import credit_entropy
from marl_gre.mixers.qmix import QMIX, QMIXConfig, mix, mixing_gradient, preactivation


class QMIXGREConfig(QMIXConfig):
    """Keys of QMIX-GRE in params.yaml."""

    gre_lambda: float = Field(1e-3, ge=0, description="weight of the entropy term")
    gre_gradient: Literal["exact", "released"] = Field("exact", description="ELU derivative used in Eq. 8")
    gre_eps: float = Field(1e-8, gt=0, description="added to each credit before normalising")


def exact_derivative(x: Tensor) -> Tensor:
    """Return elu'(x) = exp(min(x, 0)), 0 to 1."""
    return x.clamp(max=0).exp()


def released_derivative(x: Tensor) -> Tensor:
    """Return what the paper's released code uses for elu'(x): exp(elu(x)) below 0, so never under 1/e."""
    return torch.where(x < 0, F.elu(x).exp(), 1.0)


DERIVATIVES = {"exact": exact_derivative, "released": released_derivative}


class QMIXGRE(QMIX):
    """QMIX with gradient entropy regularisation; takes 2 agents or more."""

    Config = QMIXGREConfig
    config: QMIXGREConfig

    def __init__(self, n_agents: int, state_dim: int, config: QMIXGREConfig):
        super().__init__(n_agents, state_dim, config)
        if n_agents < 2:
            raise ValueError(f"qmix_gre: found {n_agents} agent; the credit entropy takes 2 or more: use mixer: qmix.")
        self.derivative = DERIVATIVES[config.gre_gradient]

    def forward(self, chosen_qs: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """See `Mixer.forward`."""
        weights = self.weights(state)
        slope = self.derivative(preactivation(chosen_qs.detach(), weights))  # [B, T, K]
        entropy = credit_entropy(mixing_gradient(slope, weights), self.config.gre_eps)  # [B, T]
        return mix(chosen_qs, weights), self.config.gre_lambda * entropy
