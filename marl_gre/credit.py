"""Credit assignment measured: dq_tot/dq_i and its normalised entropy, for any differentiable mixer.

The paper's gradient entropy (Eq. 6, 7; https://arxiv.org/abs/2202.04427). Analytic gradients (Eq. 8) belong to the
mixers that have one; here is the general path that every mixer shares, whether or not it is ours.
"""

import math
from typing import Protocol

import torch
from torch import Tensor

QUANTILES = tuple(round(0.05 * k, 2) for k in range(21))
"""The quantiles of single-step entropies that a run logs: 0, 0.05, ..., 1."""


class DifferentiableMixer(Protocol):
    """What the functions here need of a mixer."""

    def __call__(self, chosen_qs: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Mix chosen_qs [B,T,N] under state [B,T,S] into q_tot [B,T] and a penalty [B,T]."""
        ...


def credits(mixer: DifferentiableMixer, chosen_qs: Tensor, state: Tensor) -> Tensor:
    """Return each agent's credit dq_tot/dq_i by automatic differentiation.

    Args:
        mixer: any mixer that treats every (b, t) on its own; `marl_gre.testing.check_mixer` checks that.
        chosen_qs: Q of the actions taken [B,T,N].
        state: global state [B,T,S].

    Returns:
        credits [B,T,N], not attached to any graph; 0 or more for a monotonic mixer.
    """
    qs = chosen_qs.detach().requires_grad_(True)
    with torch.enable_grad():
        q_tot, _ = mixer(qs, state)
        (gradient,) = torch.autograd.grad(q_tot.sum(), qs)
    return gradient


def credit_entropy(credits: Tensor, eps: float = 1e-8) -> Tensor:
    """Return the normalised entropy of the agents' shares of credit.

    p_i = (g_i + eps) / sum_j (g_j + eps), H = -sum_i p_i ln p_i / ln N (Eq. 6 and 7 of
    https://arxiv.org/abs/2202.04427; eps as in the released code, so that a vanishing gradient counts as even).

    Args:
        credits: dq_tot/dq_i [...,N], 0 or more.
        eps: added to each credit.

    Returns:
        Entropy [...], 0 (one agent has all credit) to 1 (all have the same).

    Raises:
        ValueError: with one agent, where ln N = 0 leaves the entropy undefined.
    """
    n_agents = credits.shape[-1]
    if n_agents < 2:
        raise ValueError("the credit entropy of 1 agent is undefined (ln 1 = 0): it takes 2 agents or more.")
    positive = credits + eps
    shares = positive / positive.sum(-1, keepdim=True)
    return -(shares * shares.log()).sum(-1) / math.log(n_agents)


def entropy_statistics(entropy: Tensor) -> tuple[float, list[float]]:
    """Return the mean and the `QUANTILES` of the steps' entropies [Q]."""
    values = entropy.double()
    points = torch.tensor(QUANTILES, dtype=values.dtype, device=values.device)
    return values.mean().item(), torch.quantile(values, points).tolist()
