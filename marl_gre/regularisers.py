"""Gradient entropy regularisation for any mixer: `gre_lambda` in an `algorithms` entry.

Eq. 10 of https://arxiv.org/abs/2202.04427 adds lambda times the mean normalised entropy of dq_tot/dq to the loss. The
credits come from the mixer's closed form where it has one, and from double differentiation where it has none.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field
from torch import Tensor

from marl_gre.credit import gradient_entropy
from marl_gre.section import Section

if TYPE_CHECKING:  # qmix_gre uses the regulariser below
    from marl_gre.mixers.base import AgentValues, Mixer

Regularise = Callable[["Mixer", "AgentValues", Tensor], tuple[Tensor, Tensor]]
"""A function from a mixer, values [B,T,N] and state [B,T,S] to q_tot [B,T] and regulariser [B,T]."""

LEAST_EPS = 1e-30
"""The least `gre_eps`: float32 rounds much smaller ones to 0, and the logarithm of 0 is infinite."""


def own(mixer: "Mixer", values: "AgentValues", state: Tensor) -> tuple[Tensor, Tensor]:
    """Return q_tot and the mixer's own regulariser."""
    return mixer.mix_and_regularise(values, state)


class GradientEntropy(Section):
    """The regulariser with its keys in params.yaml; it trains the mixer only and needs at least two agents."""

    results_version: ClassVar[int] = 1

    gre_lambda: float = Field(ge=0, description="weight of the entropy term")
    gre_gradient: str = Field("exact", description="which of the mixer's credits: `exact`, or another that it names")
    gre_eps: float = Field(1e-8, ge=LEAST_EPS, description="added to each credit before normalising")

    def __call__(self, mixer: "Mixer", values: "AgentValues", state: Tensor) -> tuple[Tensor, Tensor]:
        """Return q_tot [B,T], and gre_lambda times the gradient entropy plus the mixer's own regulariser [B,T].

        Raises:
            BadInput: the mixer has no gradient of that name.
        """
        q_tot, regulariser, credits = mixer.mix_with_credits(values, state, self.gre_gradient)
        return q_tot, regulariser + self.of(credits)

    def of(self, credits: Tensor) -> Tensor:
        """Return gre_lambda times the gradient entropy [...] of credits [...,N]."""
        return self.gre_lambda * gradient_entropy(credits, self.gre_eps)
