"""Randomness as an argument: every random draw is a pure function of (seed, purpose, index).

There is no generator state to carry or save: episode 17 explores the same way whether or not episodes 0 to 16
were played in this process.
"""

from enum import IntEnum

import numpy as np


class Purpose(IntEnum):
    """The purposes of random draws; the numbers affect every run's results and never change."""

    INIT = 0  # network weights; index 0
    ENV = 1  # training episodes; index = episode number
    EXPLORE = 2  # epsilon-greedy; index = episode number
    REPLAY = 3  # sampled batches; index = update number
    TEST = 4  # greedy tests during training; index = test episode
    EVAL = 5  # the evaluation of the final policy; index = evaluation episode, or their number for shuffled states
    SHAPLEY = 6  # orders of agents whose contributions are measured; index = game


def rng(seed: int, purpose: Purpose, index: int) -> np.random.Generator:
    """Return the generator that belongs to (seed, purpose, index).

    Args:
        seed: the run's seed, 0 or more.
        purpose: use of the numbers.
        index: 0 or more, such as an episode or update number.
    """
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=(int(purpose), index))))


def episode_seed(seed: int, purpose: Purpose, index: int) -> int:
    """Return the environment seed of one episode, 0 to 2**31 - 1.

    Tests and evaluations depend on the run's seed only, so all algorithms with the same seed are measured on the
    same episodes (paired comparisons), and different seeds on different ones (intervals over seeds include the
    choice of episodes).
    """
    return int(rng(seed, purpose, index).integers(2**31))
