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

# Files whose functions and constants kernels of other files use: any kernel the first, kernels of `envs` no others.
SHARED = ("core.py", "randomness.py")
SHARED_SMAC = tuple(
    f"smac/{name}.py"
    for name in ("combat", "engine", "interface", "maps", "movement", "orders", "pathing", "rewards", "units")
)


@cache
def _fingerprint(package: str) -> str:
    """Return 12 hexadecimal digits of the contents of the shared files that kernels of a package use."""
    files = SHARED if package == "envs" else SHARED + SHARED_SMAC
    return hashlib.sha256(b"".join((Path(__file__).parent / name).read_bytes() for name in files)).hexdigest()[:12]


def kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function on its first call; it releases the GIL and follows IEEE arithmetic strictly (no fastmath)."""
    return _compiled(function)


def inner_kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function that only kernels call, that makes no arrays, and that returns none.

    Without numba's counting of references to arrays, which it does not need: that count took half of the time where
    small functions share a tuple of many arrays.
    """
    return _compiled(function, _nrt=False)


def _compiled(function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    package = function.__module__.rpartition(".")[0]
    function.__qualname__ += f"_{_fingerprint(package)}"  # numba names cache files by it
    return njit(cache=True, nogil=True, **options)(function)
