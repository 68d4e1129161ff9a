"""QMIX-GRE: QMIX whose loss also holds lambda times the normalised entropy of dq_tot/dq.

Eq. 6, 7, 8 and 10 of https://arxiv.org/abs/2202.04427. The agents' values are detached in the entropy, so that it
moves the mixer's parameters only.
"""

from typing import Literal

from pydantic import Field
from torch import Tensor

from marl_gre.credit import credit_entropy
from marl_gre.mixers.qmix import QMIX, QMIXConfig, mix, mixing_gradient


class QMIXGREConfig(QMIXConfig):
    """Keys of QMIX-GRE in params.yaml."""

    gre_lambda: float = Field(1e-3, ge=0, description="weight of the entropy term")
    gre_gradient: Literal["exact", "released"] = Field("exact", description="ELU derivative used in Eq. 8")
    gre_eps: float = Field(1e-8, gt=0, description="added to each credit before normalising")


class QMIXGRE(QMIX):
    """QMIX with gradient entropy regularisation; takes 2 agents or more."""

    Config = QMIXGREConfig
    config: QMIXGREConfig

    def __init__(self, n_agents: int, state_dim: int, config: QMIXGREConfig):
        super().__init__(n_agents, state_dim, config)
        if n_agents < 2:
            raise ValueError(f"qmix_gre: found {n_agents} agent; the credit entropy takes 2 or more: use mixer: qmix.")

    def forward(self, chosen_qs: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """See `Mixer.forward`."""
        weights = self.weights(state)
        gradient = mixing_gradient(chosen_qs.detach(), weights, self.config.gre_gradient)  # [B, T, N]
        entropy = credit_entropy(gradient, self.config.gre_eps)  # [B, T]
        return mix(chosen_qs, weights), self.config.gre_lambda * entropy
