"""VDN: q_tot = sum_i q_i (https://arxiv.org/abs/1706.05296)."""

from torch import Tensor

from marl_gre.mixers.base import Mixer


class VDN(Mixer):
    """The sum of the agents' values: no parameters, no state, equal credits."""

    def forward(self, chosen_qs: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """See `Mixer.forward`."""
        q_tot = chosen_qs.sum(-1)  # [B, T]
        return q_tot, q_tot.new_zeros(q_tot.shape)
