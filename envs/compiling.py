"""The decorator of all kernels: numba with a cache on disk that is never stale.

numba keeps compiled kernels in __pycache__ and compiles anew when the kernel's own file changes, but not when a file
does that the kernel calls into, so the old rules would go on unnoticed. Here the cache entry's name contains a
fingerprint of those shared files.
"""

import hashlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from numba import njit

# Files whose functions and constants kernels of other files use, by the package of those kernels.
SHARED_ENVS = ("envs/core.py", "envs/randomness.py")
SHARED_SMAC = tuple(
    f"envs/smac/{name}.py"
    for name in ("combat", "engine", "interface", "maps", "movement", "orders", "pathing", "rewards", "units")
)
SHARED = {"envs": SHARED_ENVS, "marl_gre": ("marl_gre/activations.py",)}
SHARED_BY_OTHERS = SHARED_ENVS + SHARED_SMAC


@cache
def _fingerprint(package: str) -> str:
    """Return 12 hexadecimal digits of the contents of the shared files that kernels of a package use."""
    files = [Path(__file__).parents[1] / name for name in SHARED.get(package, SHARED_BY_OTHERS)]
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:12]


def kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function on its first call; it releases the GIL and follows IEEE arithmetic strictly (no fastmath)."""
    return _compiled(function)


def inner_kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function that only kernels call, that makes no arrays, and that returns none.

    Without numba's counting of references to arrays, which it does not need: that count took half of the time where
    small functions share a tuple of many arrays.
    """
    return _compiled(function, _nrt=False)


def fused_kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function that makes no arrays and whose products and sums may be one instruction, rounded once.

    So its results are those of a type of processor, as are those of matrix products.
    """
    return _compiled(function, _nrt=False, error_model="numpy", fastmath={"contract"})


def _compiled(function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    package = function.__module__.rpartition(".")[0]
    function.__qualname__ += f"_{_fingerprint(package)}"  # numba names cache files by it
    return njit(cache=True, nogil=True, **options)(function)
