"""Shapley values of a cooperative game: exact where all coalitions are few, else from antithetic permutations.

What a coalition is worth is the caller's; `marl_gre.jobs.credits_shapley` plays episodes for it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import comb

import numpy as np
from numpy.typing import NDArray

Coalitions = NDArray[np.bool_]
"""Who is in each coalition, [C,N]."""

Worth = Callable[[Coalitions], NDArray[np.float64]]
"""From coalitions [C,N] to what each is worth [C]."""


@dataclass(frozen=True)
class Shapley:
    """The Shapley values of N players; they sum to what all are worth together less what nobody is worth."""

    values: NDArray[np.float64]  # [N]
    errors: NDArray[np.float64]  # standard errors of the sampling [N]; 0 where exact
    exact: bool
    nobody: float  # what the empty coalition is worth
    everybody: float


def require_orders(permutations: int) -> None:
    """Raise ValueError for a number of orders that is odd or below 4."""
    if permutations < 4 or permutations % 2:
        raise ValueError(f"found {permutations} permutations; an even number of 4 or more is allowed.")


def shapley(worth: Worth, players: int, permutations: int, generator: np.random.Generator) -> Shapley:
    """Return the players' Shapley values: what each adds to those before it, on average over all orders.

    Where all 2^N coalitions are no more than the sampled orders would visit, they are all evaluated and the values are
    exact (Shapley 1953, https://doi.org/10.1515/9781400881970-018). Otherwise orders are drawn in pairs of an order and
    its reverse (Mitchell et al. 2022, https://jmlr.org/papers/v23/21-0439.html), and the standard errors are those of
    the mean over independent pairs. Each coalition is evaluated once.

    Args:
        worth: what coalitions are worth; called once.
        players: N.
        permutations: how many orders, even.
        generator: draws the orders.

    Raises:
        ValueError: a number of orders that is odd or below 4, of which no error can be computed.
    """
    require_orders(permutations)
    if 2**players <= permutations * (players - 1) + 2:
        return _exact(worth, players)
    forward = np.argsort(generator.random((permutations // 2, players)), axis=1)
    orders = np.stack([forward, forward[:, ::-1]], axis=1)  # [M, 2, N]
    ranks = np.argsort(orders, axis=-1)  # [M, 2, N]: the place of each player
    before = ranks[:, :, None, :] < np.arange(players + 1)[:, None]  # [M, 2, N+1, N]: the first k players of an order
    coalitions, place = np.unique(before.reshape(-1, players), axis=0, return_inverse=True)
    found = worth(coalitions)[place.reshape(before.shape[:-1])]  # [M, 2, N+1]
    added = np.take_along_axis(np.diff(found, axis=-1), ranks, axis=-1).mean(1)  # [M, N]
    errors = added.std(axis=0, ddof=1) / np.sqrt(len(added))
    return Shapley(added.mean(0), errors, False, float(found[0, 0, 0]), float(found[0, 0, -1]))


def _exact(worth: Worth, players: int) -> Shapley:
    """Return the values from all coalitions; bit i of a coalition's place says whether player i is in it."""
    places = np.arange(2**players)
    coalitions = (places[:, None] >> np.arange(players)) & 1 == 1
    found = worth(coalitions)
    sizes = coalitions.sum(1)
    weights = np.array([1 / (players * comb(players - 1, size)) for size in range(players)])
    values = np.empty(players)
    for i in range(players):
        without = places[~coalitions[:, i]]
        values[i] = (weights[sizes[without]] * (found[without | 1 << i] - found[without])).sum()
    return Shapley(values, np.zeros(players), True, float(found[0]), float(found[-1]))
