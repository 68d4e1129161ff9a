"""QMIX-GRE: QMIX whose loss also contains lambda times the normalised entropy of dq_tot/dq.

Eq. 6, 7, 8 and 10 of https://arxiv.org/abs/2202.04427. The agents' values are detached in the entropy, so it trains the
mixer's parameters only. `mixer: qmix` with `gre_lambda` gives bit-identical results.
"""

from pydantic import Field
from torch import Tensor

from marl_gre.data import EnvSizes
from marl_gre.mixers.base import AgentValues, Mixer
from marl_gre.mixers.qmix import QMIX, Derivative, QMIXConfig
from marl_gre.regularisers import LEAST_EPS, GradientEntropy


class QMIXGREConfig(QMIXConfig):
    """Keys of QMIX-GRE in params.yaml."""

    gre_lambda: float = Field(1e-3, ge=0, description="weight of the entropy term")
    gre_gradient: Derivative = Field("exact", description="ELU derivative used in Eq. 8")
    gre_eps: float = Field(1e-8, ge=LEAST_EPS, description="added to each credit before normalising")


class QMIXGRE(QMIX):
    """QMIX with gradient entropy regularisation; needs at least two agents."""

    Config = QMIXGREConfig
    config: QMIXGREConfig

    def __init__(self, sizes: EnvSizes, config: QMIXGREConfig):
        super().__init__(sizes, config)
        if sizes.n_agents < 2:
            raise ValueError(
                f"qmix_gre: found {sizes.n_agents} agent; the gradient entropy takes 2 or more: use mixer: qmix."
            )
        keys = {name: getattr(config, name) for name in GradientEntropy.model_fields}
        self.gradient_entropy = GradientEntropy(**keys)

    def mix_and_regularise(self, values: AgentValues, state: Tensor) -> tuple[Tensor, Tensor]:
        """See `Mixer.mix_and_regularise`; the regulariser is gre_lambda times the gradient entropy."""
        q_tot, _, credits = super().mix_with_credits(values, state, self.config.gre_gradient)
        return q_tot, self.gradient_entropy.of(credits)

    def mix_with_credits(
        self, values: AgentValues, state: Tensor, gradient: str = "exact"
    ) -> tuple[Tensor, Tensor, Tensor]:
        """See `Mixer.mix_with_credits`."""
        return Mixer.mix_with_credits(self, values, state, gradient)
