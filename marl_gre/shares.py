"""How uneven the agents' shares of credit are, and whether the state or the agent's index explains it.

The entropy (credit.py) says how even the shares are on average. Two numbers here ask what the unevenness depends on:
`shift` compares the shares of a step with those of the same step under another step's state, and `by_agent` splits the
squared unevenness into a part that is constant for each agent and a part that changes from step to step.
"""

import torch
from torch import Tensor

EVEN = 1e-6
"""Unevenness of equal credits that float32 rounding can cause."""


def shares(credits: Tensor) -> Tensor:
    """Return each agent's share of the absolute credits; equal shares where all credits are 0.

    Args:
        credits: dq_tot/dq_i [...,N]; of either sign where a mixer is not monotonic (see `credit.gradient_entropy`).

    Returns:
        Shares [...,N], 0 to 1, which sum to 1.
    """
    sizes = credits.abs()
    total = sizes.sum(-1, keepdim=True)
    return torch.where(total > 0, sizes / total, 1 / credits.shape[-1])


def unevenness(shares: Tensor) -> Tensor:
    """Return the L1 distance from even shares, sum_i |p_i - 1/N|.

    Args:
        shares: [...,N], returned by `shares`.

    Returns:
        Distances [...], 0 (equal shares) to 2 (N - 1) / N (one agent has everything).
    """
    return (shares - 1 / shares.shape[-1]).abs().sum(-1)


def shift(shares: Tensor, others: Tensor) -> Tensor:
    """Return the L1 distance between two assignments of shares, sum_i |p_i - r_i|.

    It is 0 where shares do not depend on what differs between the two. Where r is an independent draw from shares that
    are even on average, its mean lies between their mean unevenness and twice that.

    Args:
        shares: [...,N].
        others: [...,N].

    Returns:
        Distances [...], 0 to 2.
    """
    return (shares - others).abs().sum(-1)


def by_agent(shares: Tensor) -> float | None:
    """Return how much of the squared unevenness the agent's index fixes.

    With the deviations d_qi = p_qi - 1/N of Q steps, sum_i (mean_q d_qi)^2 / sum_i mean_q d_qi^2: the part that a
    constant share per agent explains.

    Args:
        shares: [Q,N].

    Returns:
        0 (each agent's share is even on average) to 1 (it is the same on every step); None where all shares are even.
    """
    if unevenness(shares).mean() <= EVEN:
        return None
    deviations = shares - 1 / shares.shape[-1]
    return (deviations.mean(0).square().sum() / deviations.square().mean(0).sum()).item()
