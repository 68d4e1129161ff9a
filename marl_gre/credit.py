"""Measures of credit assignment: dq_tot/dq_i and its normalised entropy, for any differentiable mixer.

The paper's gradient entropy (Eq. 6, 7; https://arxiv.org/abs/2202.04427). Closed forms of the gradient (Eq. 8) belong
to the mixers that have one (`Mixer.analytic_credits`); the one place where a mixer is differentiated is here.
"""

import dataclasses
import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from marl_gre.metrics import QUANTILES

if TYPE_CHECKING:  # mixers use the entropy below
    from marl_gre.data import Batch
    from marl_gre.mixers import AgentValues, Mixer
    from marl_gre.networks import Networks


def credits(networks: "Networks", batch: "Batch") -> Tensor:
    """Return each agent's credit dq_tot/dq_i at every step of a batch, by automatic differentiation.

    Args:
        networks: an agent and a mixer.
        batch: Q steps.

    Returns:
        credits [Q,N], detached; 0 or more for a monotonic mixer.
    """
    return differentiate(networks.mixer, *networks.values(batch)).squeeze(0)


def gradient_entropies(networks: "Networks", batch: "Batch") -> dict[str, Tensor]:
    """Return the gradient entropy of every step of a batch, by the gradient's name.

    Args:
        networks: an agent and a mixer.
        batch: Q steps.

    Returns:
        Entropies [Q]: "exact", by automatic differentiation, and one for each other gradient of the mixer's
        `analytic_credits`; nothing with one agent, where the entropy is undefined.
    """
    values, state = networks.values(batch)
    if values.chosen.shape[-1] < 2:
        return {}
    with torch.no_grad():
        analytic = networks.mixer.analytic_credits(values, state)
    gradients = analytic | {"exact": differentiate(networks.mixer, values, state)}
    return {name: gradient_entropy(gradient).squeeze(0) for name, gradient in gradients.items()}


def differentiate(mixer: "Mixer", values: "AgentValues", state: Tensor, create_graph: bool = False) -> Tensor:
    """Return dq_tot/dq_i by automatic differentiation, with q_i the values of the chosen actions.

    Args:
        mixer: any mixer that treats every (b, t) on its own; `marl_gre.testing.check_mixer` checks that.
        values: the agents' values, each [B,T,N].
        state: global state [B,T,S].
        create_graph: attach the credits to the mixer's parameters, so that they can be differentiated in turn.

    Returns:
        credits [B,T,N], detached from the agents; 0 or more for a monotonic mixer.
    """
    chosen = values.chosen.detach().requires_grad_(True)
    with torch.enable_grad():
        q_tot = mixer(dataclasses.replace(values, chosen=chosen), state)
        (gradient,) = torch.autograd.grad(q_tot.sum(), chosen, create_graph=create_graph)
    return gradient


def gradient_entropy(credits: Tensor, eps: float = 1e-8) -> Tensor:
    """Return the normalised entropy of the agents' shares of credit.

    p_i = (|g_i| + eps) / sum_j (|g_j| + eps), H = -sum_i p_i ln p_i / ln N (Eq. 6 and 7 of
    https://arxiv.org/abs/2202.04427; eps as in the released code, so a vanishing gradient counts as even).

    The paper's mixers are monotonic, so its g_i are never negative. For other mixers the absolute value counts: a share
    says how strongly an agent's value moves q_tot, in either direction. Shares of signed credits would be negative, or
    unbounded where credits cancel.

    Args:
        credits: dq_tot/dq_i [...,N].
        eps: added to each credit.

    Returns:
        Entropy [...], 0 (one agent has all credit) to 1 (all have the same).

    Raises:
        ValueError: there is one agent, for which ln N = 0 leaves the entropy undefined.
    """
    n_agents = credits.shape[-1]
    if n_agents < 2:
        raise ValueError("the gradient entropy of 1 agent is undefined (ln 1 = 0): it takes 2 agents or more.")
    positive = torch.where(credits < 0, -credits, credits) + eps  # |g|, with a slope of 1 at 0
    shares = positive / positive.sum(-1, keepdim=True)
    return -(shares * shares.log()).sum(-1) / math.log(n_agents)


def entropy_statistics(entropy: Tensor) -> tuple[float, list[float]]:
    """Return the mean and the `QUANTILES` of the steps' entropies [Q]."""
    values = entropy.double()
    points = torch.tensor(QUANTILES, dtype=values.dtype, device=values.device)
    return values.mean().item(), torch.quantile(values, points).tolist()
