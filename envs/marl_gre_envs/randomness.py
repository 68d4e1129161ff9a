"""Counter-based random draws: a pure function of (seed, episode, step, purpose, index), so there is no state to carry.

The five integers are absorbed one after another by the SplitMix64 generator (Steele, Lea, Flood: Fast splittable
pseudorandom number generators, OOPSLA 2014, https://doi.org/10.1145/2660193.2660195): `absorb(h, n)` is output n of
SplitMix64 started from h, and seeds the next level. An environment therefore draws the same numbers in any batch and
any order. The functions are compiled, to be called from kernels; purposes are small constants of each environment.
"""

from numba import njit, uint64

from marl_gre_envs.compiling import kernel

GAMMA = uint64(0x9E3779B97F4A7C15)
MIX_1 = uint64(0xBF58476D1CE4E5B9)
MIX_2 = uint64(0x94D049BB133111EB)


@njit(nogil=True, inline="always")
def absorb(state, number):
    """Return output `number` (0 = first) of SplitMix64 started from `state`, a 64-bit word."""
    z = uint64(state) + GAMMA * (uint64(number) + uint64(1))
    z = (z ^ (z >> uint64(30))) * MIX_1
    z = (z ^ (z >> uint64(27))) * MIX_2
    return z ^ (z >> uint64(31))


@kernel
def episode_key(seed, episode):
    """Return the 64-bit key of one episode, from which `bits` draws."""
    return absorb(absorb(uint64(0), seed), episode)


@kernel
def bits(key, step, purpose, index):
    """Return 64 random bits for draw `index` of a purpose at a step of the episode with this key."""
    return absorb(absorb(absorb(key, step), purpose), index)


@kernel
def uniform(key, step, purpose, index):
    """Return a random number in [0, 1), a multiple of 2**-53."""
    return (bits(key, step, purpose, index) >> uint64(11)) * (1.0 / 9007199254740992.0)


@kernel
def below(n, key, step, purpose, index):
    """Return a random whole number in 0..n-1, n below 2**31.

    The high half of the bits scaled by n: one value's probability differs from 1/n by less than 2**-32.
    """
    return int((bits(key, step, purpose, index) >> uint64(32)) * uint64(n) >> uint64(32))


@kernel
def shuffle(items, count, key, step, purpose):
    """Put a uniform random selection of `items`, in random order, into its first `count` places (Fisher-Yates)."""
    for place in range(count):
        other = place + below(items.size - place, key, step, purpose, place)
        items[place], items[other] = items[other], items[place]
