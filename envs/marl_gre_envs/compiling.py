"""The decorators of all kernels: numba with a cache on disk that is never stale.

numba keeps compiled kernels in __pycache__ and recompiles when the kernel's own file changes, but not when other files
change whose functions and constants the kernel uses. Here the name of the cache entry contains a fingerprint of all
source files that the kernel's module imports.

The imports are read from the source, not from what happens to be loaded, so that every process finds the same
fingerprint. They are followed through the kernel's own package, this project and modules that are not installed, but
not into another installed package: delete __pycache__ after updating one whose kernels you call.
"""

import ast
import hashlib
import importlib.util
import sys
from collections.abc import Callable, Iterable
from functools import cache
from itertools import accumulate
from pathlib import Path
from typing import Any

from numba import njit

OURS = ("marl_gre_envs", "marl_gre")
INSTALLED = {"site-packages", "dist-packages"}


@cache
def sources(module: str) -> frozenset[Path]:
    """Return the source files that the kernels of a module can use: its own and all direct and indirect imports."""
    if module == "__main__" and (spec := sys.modules[module].__spec__):
        module = spec.name  # python -m package.module
    followed = {module.partition(".")[0], *OURS}
    found: dict[str, Path] = {}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        file = _file(name)
        if name in found or file is None:
            continue
        if name.partition(".")[0] in followed or not INSTALLED.intersection(file.parts):
            found[name] = file
            waiting += _imports(name, file)
    return frozenset(found.values())


@cache
def _file(module: str) -> Path | None:
    """Return a module's source file; None for the standard library, compiled modules and what is not a module."""
    top, *below = module.split(".")
    if top in sys.stdlib_module_names:
        return None
    folders: Iterable[str] | None
    if top in sys.modules:
        folders, origin = (getattr(sys.modules[top], name, None) for name in ("__path__", "__file__"))
    elif spec := importlib.util.find_spec(top):  # a top-level name: nothing is imported
        folders, origin = spec.submodule_search_locations, spec.origin
    else:
        return None
    if folders is not None:
        paths = [Path(folder, *below) for folder in folders]
        files = [file for path in paths for file in (path / "__init__.py", path.with_suffix(".py"))]
    else:
        files = [Path(origin)] if origin and not below else []
    return next((file for file in files if file.suffix == ".py" and file.is_file()), None)


@cache
def _imports(module: str, file: Path) -> frozenset[str]:
    """Return the full names of the modules that a module imports, outside functions: nothing else reaches a kernel."""
    package = module if file.name == "__init__.py" else module.rpartition(".")[0]
    names: set[str] = set()
    nodes: list[ast.AST] = [ast.parse(file.read_bytes())]
    for node in nodes:  # which grows
        if isinstance(node, ast.Import):  # `import a.b` gives access to the contents of a, too
            names.update(*(accumulate(alias.name.split("."), "{}.{}".format) for alias in node.names))
        elif isinstance(node, ast.ImportFrom):
            parent = importlib.util.resolve_name("." * node.level + (node.module or ""), package)
            members = (f"{parent}.{alias.name}" for alias in node.names)
            names.update(member if _file(member) else parent for member in members)
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.expr):
            nodes += ast.iter_child_nodes(node)
    return frozenset(names)


@cache
def _fingerprint(module: str) -> str:
    """Return 12 hexadecimal digits of the contents of all files that the kernels of a module can use."""
    digests = sorted(hashlib.sha256(file.read_bytes()).digest() for file in sources(module))
    return hashlib.sha256(b"".join(digests)).hexdigest()[:12]


def kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function on its first call; it releases the GIL and follows IEEE arithmetic strictly (no fastmath)."""
    return _compiled(function)


def inner_kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function that only kernels call and that neither makes nor returns arrays.

    It does without numba's reference counts of arrays, which took half of the time where small functions share a tuple
    of many arrays.
    """
    return _compiled(function, _nrt=False)


def fused_kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function that makes no arrays, allowing fused multiply-add.

    Its results therefore depend on the type of processor, as those of matrix products do.
    """
    return _compiled(function, _nrt=False, error_model="numpy", fastmath={"contract"})


def _compiled(function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    function.__qualname__ += f"_{_fingerprint(function.__module__)}"  # numba names cache files by it
    return njit(cache=True, nogil=True, **options)(function)
