"""QMIX-simple: q_tot = w2 elu(w1 sum_i q_i + b1) + v, with four scalars generated from the state.

Eq. 9 of https://arxiv.org/abs/2202.04427: QMIX unable to tell agents apart, so all credits are equal and the gradient
entropy is exactly 1.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field, field_validator, model_validator
from torch import Tensor, nn

from marl_gre.data import EnvSizes
from marl_gre.mixers.base import AgentValues, Mixer, from_state, hypernetwork
from marl_gre.mixers.qmix import QMIX, QMIXConfig
from marl_gre.section import MAX_WIDTH


class QMIXSimpleConfig(QMIXConfig):
    """QMIX's keys, with other meanings of two."""

    embed_dim: int = Field(
        32, ge=1, le=MAX_WIDTH, description="hidden width of the network of v alone: the mixing network has one unit"
    )
    hypernet_dim: int | Literal["as_qmix"] = Field(  # type: ignore[assignment]
        64, description="hidden width of two-layer hypernetworks; `as_qmix` gives as many parameters as QMIX's default"
    )

    @field_validator("hypernet_dim", mode="before")
    @classmethod
    def _width(cls, found: object) -> object:
        if found != "as_qmix" and not (type(found) is int and 1 <= found <= MAX_WIDTH):
            raise ValueError(f"found {found!r}; a whole number from 1 to {MAX_WIDTH} or as_qmix is allowed")
        return found

    @model_validator(mode="after")
    def _has_width(self) -> "QMIXSimpleConfig":
        if self.hypernet_dim == "as_qmix" and self.hypernet_layers == 1:
            raise ValueError(
                "hypernet_dim: found as_qmix, which needs hypernet_layers: 2 (a single layer has no hidden width)"
            )
        return self


class QMIXSimple(Mixer):
    """A scalar mixing network over the sum of the agents' values."""

    Config = QMIXSimpleConfig

    def __init__(self, sizes: EnvSizes, config: QMIXSimpleConfig):
        super().__init__(sizes, config)
        state_dim = sizes.state_dim
        layers, hidden, width = config.hypernet_layers, config.hypernet_dim, config.embed_dim
        if hidden == "as_qmix":
            hidden = hypernet_dim_as_qmix(sizes, config)
        self.hyper_w1 = hypernetwork(state_dim, 1, layers, hidden)
        self.hyper_w2 = hypernetwork(state_dim, 1, layers, hidden)
        self.hyper_b1 = hypernetwork(state_dim, 1, 1)
        self.hyper_v = hypernetwork(state_dim, 1, 2, width)

    def forward(self, values: AgentValues, state: Tensor) -> Tensor:
        """See `Mixer.forward`."""
        total = values.chosen.sum(-1, keepdim=True)  # [B, T, 1]
        w1, b1, w2, v = from_state(state, self.hyper_w1, self.hyper_b1, self.hyper_w2, self.hyper_v)  # each [B, T, 1]
        return (w2.abs() * F.elu(w1.abs() * total + b1) + v).squeeze(-1)  # [B, T]


def hypernet_dim_as_qmix(sizes: EnvSizes, config: QMIXSimpleConfig) -> int:
    """Return the hypernet_dim with the number of parameters closest to that of QMIX with its default hypernet_dim."""

    def size(mixer: type[Mixer], changed: dict[str, int]) -> int:
        settings = {**config.model_dump(exclude={"hypernet_dim"}), **changed}
        with torch.device("meta"):  # shapes only: no memory, no random numbers
            return count_parameters(mixer(sizes, mixer.Config(**settings)))

    one, two = (size(QMIXSimple, {"hypernet_dim": width}) for width in (1, 2))  # every further unit adds two - one
    return max(1, 1 + round((size(QMIX, {}) - one) / (two - one)))


def count_parameters(network: nn.Module) -> int:
    """Return the number of a network's parameters."""
    return sum(parameter.numel() for parameter in network.parameters())
