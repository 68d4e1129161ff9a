"""Shared by all checks: the error, exact comparison, watched global random generators."""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TypeVar

import numpy as np
import torch
from torch import nn

Case = TypeVar("Case")


class ConformanceError(AssertionError):
    """A broken promise; the one-line message names the defect and what is required instead."""


def require(condition: bool, defect: str) -> None:
    """Raise a ConformanceError with this one-line message unless the condition holds."""
    if not condition:
        raise ConformanceError(" ".join(defect.split()))


@torch.no_grad()
def draw_anew(module: nn.Module, seed: int = 0) -> None:
    """Draw every parameter anew, in place: training moves those that begin at 0 or 1 too.

    From N(0, 1), for matrices over the root of the number of inputs, which keeps layers' outputs as large as their
    inputs.
    """
    generator = torch.Generator().manual_seed(seed)
    for parameter in module.parameters():
        inputs = max(parameter.shape[1:].numel(), 1)  # of a vector or scalar: 1
        parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64) / inputs**0.5)


def run_as_test(check: Callable[[Case], None], case: Case) -> None:
    """Run a check in a pytest test: a broken promise fails it with its one line alone.

    The traceback stays where the code under test itself raised, since it is what helps then.
    """
    import pytest  # the kit works without it

    try:
        check(case)
        return
    except ConformanceError as error:
        if error.__cause__ is not None:
            raise
        defect = str(error)
    pytest.fail(defect, pytrace=False)


def first_difference(a: object, b: object, path: str = "") -> str | None:
    """Return the path to the first difference between two nested values, or None if they are exactly equal.

    Exactly means keys or length, dtype, shape and every number (NaN equals NaN); a list may be a tuple.
    """
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        if a.keys() != b.keys():
            return f"{path} (keys {sorted(map(str, a))} and {sorted(map(str, b))})"
        parts = [(f"{path}[{key!r}]" if path else str(key), a[key], b[key]) for key in a]
    elif isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        same = a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
        return None if same else path
    elif isinstance(a, list | tuple) and isinstance(b, list | tuple):
        if len(a) != len(b):
            return f"{path} (lengths {len(a)} and {len(b)})"
        parts = [(f"{path}[{k}]", x, y) for k, (x, y) in enumerate(zip(a, b, strict=True))]
    else:
        same = type(a) is type(b) and (a is b or bool(a == b) or (a != a and b != b))
        return None if same else f"{path} ({a!r} and {b!r})"
    found = (first_difference(x, y, name) for name, x, y in parts)
    return next((difference for difference in found if difference is not None), None)


@contextmanager
def watched_global_rngs(seed: int, moved: list[str]) -> Iterator[None]:
    """Seed Python's, NumPy's and torch's global generators and add to `moved` the names of those that were used.

    Their states are restored afterwards.
    """
    before = _global_states()
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 (the global generator is what is watched)
    torch.default_generator.manual_seed(seed)
    try:
        started = _global_states()
        yield
        moved += [
            name for name, state in _global_states().items() if first_difference(state, started[name]) is not None
        ]
    finally:
        random.setstate(before["random"])
        np.random.set_state(before["numpy.random"])  # noqa: NPY002
        torch.default_generator.set_state(torch.from_numpy(before["torch"]))


def _global_states() -> dict:
    return {
        "random": random.getstate(),
        "numpy.random": np.random.get_state(),  # noqa: NPY002
        "torch": torch.default_generator.get_state().numpy(),
    }


def one_line(error: BaseException) -> str:
    """Return the type and message of an exception on one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())


def plural(values: Sequence[object]) -> str:
    """Return the values joined by commas."""
    return ", ".join(map(str, values))
