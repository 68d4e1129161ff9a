"""ReLU, sigmoid and tanh for compiled kernels, written so that the compiler vectorises them.

All of them propagate NaN, so that it reaches the loss, where it is detected. In single precision tanh is the quotient
of two polynomials in x (the coefficients are those of Eigen's float tanh, https://gitlab.com/libeigen/eigen), within
4e-7 of the true value; a call of the C library would take ten times as long. In double precision, which only tests use,
it is the C library's.
"""

import math

import numpy as np
from numba import types
from numba.extending import overload

LARGEST = np.float32(7.90531110763549805)  # from here on the quotient below gives exactly 1 (-1)
A13, A11, A9, A7, A5, A3, A1 = (
    np.float32(coefficient)
    for coefficient in (
        -2.76076847742355e-16,
        2.00018790482477e-13,
        -8.60467152213735e-11,
        5.12229709037114e-08,
        1.48572235717979e-05,
        6.37261928875436e-04,
        4.89352455891786e-03,
    )
)
B6, B4, B2, B0 = (
    np.float32(coefficient)
    for coefficient in (1.19825839466702e-06, 1.18534705686654e-04, 2.26843463243900e-03, 4.89352518554385e-03)
)


def tanh(x: float) -> float:
    """Return the hyperbolic tangent of x in x's precision; for use in kernels."""
    return math.tanh(x)


def sigmoid(x: float) -> float:
    """Return 1 / (1 + exp(-x)) = (1 + tanh(x / 2)) / 2 in x's precision; for use in kernels."""
    return 0.5 + 0.5 * tanh(0.5 * x)


def relu(x: float) -> float:
    """Return max(x, 0) in x's precision; for use in kernels."""
    return max(x, 0.0)


@overload(relu)
def _compiled_relu(x):
    zero = (np.float32 if x == types.float32 else np.float64)(0)
    return lambda x: zero if x < zero else x


@overload(tanh)
def _compiled_tanh(x):
    if x != types.float32:
        return lambda x: math.tanh(x)

    def single(x):
        x = -LARGEST if x < -LARGEST else x  # written so that NaN stays NaN
        x = LARGEST if x > LARGEST else x
        s = x * x
        p = x * ((((((A13 * s + A11) * s + A9) * s + A7) * s + A5) * s + A3) * s + A1)
        return np.true_divide(p, ((B6 * s + B4) * s + B2) * s + B0)  # `/` looks for zeros, and loops stay scalar

    return single


@overload(sigmoid)
def _compiled_sigmoid(x):
    half = (np.float32 if x == types.float32 else np.float64)(0.5)
    return lambda x: half + half * tanh(half * x)
