"""The decorator of all kernels: numba with a cache on disk that is never stale.

numba keeps compiled kernels in __pycache__ and compiles anew when the kernel's own file changes, but not when a file
does that the kernel calls into, so the old rules would go on unnoticed. Here the cache entry's name contains a
fingerprint of those shared files.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from numba import njit

SHARED = ("core.py", "randomness.py")  # files whose functions and constants kernels of other files use
FINGERPRINT = hashlib.sha256(b"".join(Path(__file__).with_name(name).read_bytes() for name in SHARED)).hexdigest()[:12]


def kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function on its first call; it releases the GIL and follows IEEE arithmetic strictly (no fastmath)."""
    function.__qualname__ += f"_{FINGERPRINT}"  # numba names cache files by it
    return njit(cache=True, nogil=True)(function)
