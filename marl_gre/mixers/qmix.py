"""QMIX: q_tot = elu(q W1 + b1) w2 + v, with W1, w2 >= 0 and all weights generated from the state.

https://arxiv.org/abs/1803.11485, and Eq. 1 of https://arxiv.org/abs/2202.04427.
"""

from collections.abc import Callable
from typing import ClassVar, Literal, NamedTuple

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from marl_gre.data import EnvSizes
from marl_gre.mixers.base import AgentValues, Mixer, MixerConfig, from_state, hypernetwork
from marl_gre.section import MAX_WIDTH

Derivative = Literal["exact", "released"]
"""The derivative of the ELU: the exact one, or the one in the paper's released code."""


class QMIXConfig(MixerConfig):
    """Keys of QMIX in params.yaml; the defaults are PyMARL's."""

    embed_dim: int = Field(32, ge=1, le=MAX_WIDTH, description="width K of the mixing network")
    hypernet_layers: int = Field(2, ge=1, le=2, description="layers of the hypernetworks that generate W1 and w2")
    hypernet_dim: int = Field(64, ge=1, le=MAX_WIDTH, description="hidden width of two-layer hypernetworks")


class MixingWeights(NamedTuple):
    """The mixing network's weights for each step."""

    w1: Tensor  # [B, T, R, K], 0 or more; R is N, or 1 where all agents share a row
    b1: Tensor  # [B, T, K]
    w2: Tensor  # [B, T, K], 0 or more
    v: Tensor  # [B, T]


class QMIX(Mixer):
    """A two-layer mixing network that is monotonic in every agent's value."""

    Config = QMIXConfig
    config: QMIXConfig
    shared_row: ClassVar[bool] = False  # one row of W1 for all agents

    def __init__(self, sizes: EnvSizes, config: QMIXConfig):
        super().__init__(sizes, config)
        self.rows = 1 if self.shared_row else sizes.n_agents  # of W1
        state_dim, width = sizes.state_dim, config.embed_dim
        layers, hidden = config.hypernet_layers, config.hypernet_dim
        self.hyper_w1 = hypernetwork(state_dim, self.rows * width, layers, hidden)
        self.hyper_w2 = hypernetwork(state_dim, width, layers, hidden)
        self.hyper_b1 = hypernetwork(state_dim, width, 1)
        self.hyper_v = hypernetwork(state_dim, 1, 2, width)

    def weights(self, state: Tensor) -> MixingWeights:
        """Return the mixing network's weights for state [B,T,S]."""
        w1, b1, w2, v = from_state(state, self.hyper_w1, self.hyper_b1, self.hyper_w2, self.hyper_v)
        w1 = w1.abs().unflatten(-1, (self.rows, self.config.embed_dim))  # [B, T, R, K]
        return MixingWeights(w1, b1, w2.abs(), v.squeeze(-1))

    def forward(self, values: AgentValues, state: Tensor) -> Tensor:
        """See `Mixer.forward`."""
        return self.mix(values.chosen, self.weights(state))

    def mix(self, chosen_qs: Tensor, weights: MixingWeights) -> Tensor:
        """Return q_tot [B,T] of the chosen values [B,T,N]."""
        return mix(chosen_qs, weights)

    def gradient(self, chosen_qs: Tensor, weights: MixingWeights, derivative: Derivative) -> Tensor:
        """Return the gradient of `mix` with respect to the chosen values [B,T,N]."""
        return mixing_gradient(chosen_qs, weights, derivative)

    def analytic_credits(self, values: AgentValues, state: Tensor) -> dict[str, Tensor]:
        """See `Mixer.analytic_credits`: Eq. 8 with the exact ELU derivative, and with the released code's."""
        weights = self.weights(state)
        return {name: self.gradient(values.chosen, weights, name) for name in ELU_DERIVATIVES}

    def mix_with_credits(
        self, values: AgentValues, state: Tensor, gradient: str = "exact"
    ) -> tuple[Tensor, Tensor, Tensor]:
        """See `Mixer.mix_with_credits`; q_tot and credits share the mixing weights."""
        if gradient not in ELU_DERIVATIVES:
            return super().mix_with_credits(values, state, gradient)
        weights = self.weights(state)
        credits = self.gradient(values.chosen.detach(), weights, gradient)
        q_tot = self.mix(values.chosen, weights)
        return q_tot, q_tot.new_zeros(q_tot.shape), credits


def preactivation(chosen_qs: Tensor, weights: MixingWeights) -> Tensor:
    """Return q W1 + b1 [B,T,K]."""
    return (chosen_qs.unsqueeze(-1) * weights.w1).sum(-2) + weights.b1


def mix(chosen_qs: Tensor, weights: MixingWeights) -> Tensor:
    """Return elu(q W1 + b1) w2 + v [B,T]."""
    hidden = F.elu(preactivation(chosen_qs, weights))  # [B, T, K]
    return (hidden * weights.w2).sum(-1) + weights.v  # [B, T]


def mixing_gradient(chosen_qs: Tensor, weights: MixingWeights, derivative: Derivative) -> Tensor:
    """Return W1 F w2 [B,T,R] with F = diag(elu'(q W1 + b1)) (Eq. 8); R is W1's number of rows."""
    slope = ELU_DERIVATIVES[derivative](preactivation(chosen_qs, weights))  # [B, T, K]
    return (weights.w1 @ (slope * weights.w2).unsqueeze(-1)).squeeze(-1)


def exact_elu_derivative(x: Tensor) -> Tensor:
    """Return elu'(x) = exp(min(x, 0)), 0 to 1."""
    return x.clamp(max=0).exp()


def released_elu_derivative(x: Tensor) -> Tensor:
    """Return the released code's elu'(x): exp(elu(x)) for x < 0, which is never below 1/e, and 1 elsewhere."""
    return F.elu(x.clamp(max=0)).exp()  # clamped first: exp of a large x would turn gradients into inf * 0


ELU_DERIVATIVES: dict[Derivative, Callable[[Tensor], Tensor]] = {
    "exact": exact_elu_derivative,
    "released": released_elu_derivative,
}
