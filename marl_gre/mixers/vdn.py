"""VDN: q_tot = sum_i q_i (https://arxiv.org/abs/1706.05296)."""

from torch import Tensor

from marl_gre.mixers.base import AgentValues, Mixer


class VDN(Mixer):
    """The sum of the agents' values: no parameters, no state, equal credits."""

    def forward(self, values: AgentValues, state: Tensor) -> Tensor:
        """See `Mixer.forward`."""
        return values.chosen.sum(-1)  # [B, T]
