"""The decorator of all kernels: numba with a cache on disk that is never stale.

numba keeps compiled kernels in __pycache__ and compiles anew when the kernel's own file changes, but not when a file
does that the kernel calls into, so the old rules would go on unnoticed. Here the cache entry's name contains a
fingerprint of all files that the kernel's module imports.
"""

import ast
import hashlib
import importlib.util
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from numba import njit

OURS = ("marl_gre_envs", "marl_gre")


@cache
def sources(module: str) -> frozenset[Path]:
    """Return a module's file and the files of all modules of its own project that it imports, however indirectly.

    A project is a top-level package; this package and `marl_gre` count as part of every project.
    """
    ours = {module.partition(".")[0], *OURS}
    found: dict[str, Path] = {}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        file = None if name in found else _file(name)
        if file is None:
            continue
        found[name] = file
        for node in ast.walk(ast.parse(file.read_bytes())):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module:
                names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            else:
                continue
            waiting += [name for name in names if name.partition(".")[0] in ours]
    return frozenset(found.values())


def _file(module: str) -> Path | None:
    """Return a module's source file; None for a package, a name within a module, and what is not a file."""
    if module in sys.modules:
        origin = getattr(sys.modules[module], "__file__", None)
    else:
        try:
            spec = importlib.util.find_spec(module)
        except ModuleNotFoundError:  # `from module import name`
            return None
        origin = spec.origin if spec else None
    return Path(origin) if origin and origin.endswith(".py") and not origin.endswith("__init__.py") else None


@cache
def _fingerprint(module: str) -> str:
    """Return 12 hexadecimal digits of the contents of all files that the kernels of a module can use."""
    files = sorted(sources(module), key=str)
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
    function.__qualname__ += f"_{_fingerprint(function.__module__)}"  # numba names cache files by it
    return njit(cache=True, nogil=True, **options)(function)
