"""The functions that compiled kernels use between their products."""

import numpy as np
import pytest

from marl_gre.agents.activations import relu, sigmoid, tanh
from marl_gre_envs.compiling import fused_kernel, inner_kernel

EXACT = {
    relu: lambda x: np.where(x < 0, 0, x),
    sigmoid: lambda x: 0.5 + 0.5 * np.tanh(x / 2),
    tanh: np.tanh,
}


def on_arrays(function, compiled):
    @compiled
    def apply(x, out):
        for i in range(x.size):
            out[i] = function(x[i])

    def of(x):
        out = np.empty_like(x)
        apply(x, out)
        return out

    return of


@pytest.mark.parametrize("compiled", [inner_kernel, fused_kernel])
@pytest.mark.parametrize("function", EXACT)
def test_float32_to_a_few_units_in_the_last_place(function, compiled):
    """Near 0, up to where tanh rounds to 1, and around there; 2**-23 = 1.2e-7 is one unit."""
    draws = np.random.default_rng(0)
    x = np.concatenate([draws.uniform(-width, width, 3000) for width in (1e-4, 1, 8, 40)]).astype(np.float32)
    x = np.concatenate([x, np.float32([0, 7.9053, -7.9053, 7.9054, -7.9054, 1e30, -1e30])])
    found, exact = on_arrays(function, compiled)(x), EXACT[function](x.astype(float))
    if function is sigmoid:  # made of tanh, which is exact relative to 1/2 only
        np.testing.assert_allclose(found, exact, rtol=0, atol=2e-7)
    else:
        np.testing.assert_allclose(found, exact, rtol=4e-7, atol=0)


@pytest.mark.parametrize("function", EXACT)
def test_float64_and_python_agree_to_its_rounding(function):
    x = np.linspace(-20, 20, 401)
    np.testing.assert_allclose(on_arrays(function, fused_kernel)(x), EXACT[function](x), rtol=1e-14, atol=1e-16)
    np.testing.assert_allclose([function(value) for value in x], EXACT[function](x), rtol=1e-14, atol=1e-16)


@pytest.mark.parametrize("compiled", [inner_kernel, fused_kernel])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_nan_and_infinity(compiled, dtype):
    x = np.array([np.nan, np.inf, -np.inf], dtype)
    for function, (high, low) in {relu: (np.inf, 0), sigmoid: (1, 0), tanh: (1, -1)}.items():
        np.testing.assert_allclose(on_arrays(function, compiled)(x), [np.nan, high, low], atol=1e-7)
