"""QMIX-equal: q_tot = elu(sum_i q_i w1 + b1) w2 + v, QMIX with one row of W1 for all agents.

A control of this project. QMIX-simple (Eq. 9 of https://arxiv.org/abs/2202.04427) takes two things away from QMIX: the
agents' own rows of W1, and all hidden units but one. This mixer takes away the rows only. All credits are equal, so the
gradient entropy is exactly 1.
"""

from typing import ClassVar

from torch import Tensor

from marl_gre.mixers.qmix import QMIX, Derivative, MixingWeights, mix, mixing_gradient


class QMIXEqual(QMIX):
    """QMIX over the sum of the agents' values; its keys are QMIX's."""

    shared_row: ClassVar[bool] = True

    def mix(self, chosen_qs: Tensor, weights: MixingWeights) -> Tensor:
        """See `QMIX.mix`."""
        return mix(chosen_qs.sum(-1, keepdim=True), weights)

    def gradient(self, chosen_qs: Tensor, weights: MixingWeights, derivative: Derivative) -> Tensor:
        """See `QMIX.gradient`."""
        return mixing_gradient(chosen_qs.sum(-1, keepdim=True), weights, derivative).expand_as(chosen_qs)
