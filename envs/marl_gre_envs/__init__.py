"""Cooperative multi-agent environments, usable without torch or marl_gre.

`ENVS` lists them. `make` returns the PettingZoo parallel form, `make_vec` the batched form (`vector.VectorEnv`).
Importing this package registers every id with PettingZoo and Gymnasium (`marl_gre/lumberjacks-v0`, ...), so that
`gymnasium.make("marl_gre_envs:marl_gre/lumberjacks-v0")` needs no other import; compiled code loads on first use. Each
SMAC map and scenario also has an id of its own: `smac/3s5z_v0` for PettingZoo, `smac/3s5z-v0` for Gymnasium.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from types import ModuleType
from typing import TYPE_CHECKING, Any

import gymnasium
import pettingzoo

from marl_gre_envs.checks import check_parallel, one_of, whole
from marl_gre_envs.smac.maps import MAPS, SCENARIOS

if TYPE_CHECKING:
    from pettingzoo import ParallelEnv

    from marl_gre_envs.vector import VectorEnv

ENVS: dict[str, str] = {
    "lumberjacks_v0": "marl_gre_envs.lumberjacks_v0",
    "lumberjacks_v1": "marl_gre_envs.lumberjacks_v1",
    "traffic_junction_v0": "marl_gre_envs.traffic_junction_v0",
    "traffic_junction_v1": "marl_gre_envs.traffic_junction_v1",
    "smac_v0": "marl_gre_envs.smac_v0",
}


def make(name: str, **kwargs: Any) -> ParallelEnv:
    """Return the PettingZoo parallel form of an environment.

    Args:
        name: an id of ENVS, or "package.module:factory" of any PettingZoo parallel environment.
        kwargs: keyword arguments of the environment.

    Raises:
        ValueError: an unknown name, a value that is not allowed, or the factory makes no parallel environment.
        TypeError: an unknown keyword.
        ImportError: what the environment needs is not installed.
    """
    module, factory = _find(name)
    env = getattr(module, factory)(**kwargs)
    check_parallel(env)
    return env


def make_vec(name: str, num_envs: int = 1, *, autoreset: bool = True, **kwargs: Any) -> VectorEnv:
    """Return the batched form of an environment.

    Args:
        name: an id of ENVS, or "package.module:factory" of any PettingZoo parallel environment with discrete actions.
        num_envs: number of parallel environments, 1 or more.
        autoreset: whether an environment restarts by itself when its episode ends.
        kwargs: keyword arguments of the environment.

    Raises:
        ValueError: an unknown name, a value that is not allowed, or the environment has no batched form.
        TypeError: an unknown keyword.
        ImportError: what the environment needs is not installed.
    """
    module, factory = _find(name)
    if name in ENVS:
        return module.vector_env(num_envs, autoreset=autoreset, **kwargs)
    from marl_gre_envs.from_parallel import from_parallel_env

    return from_parallel_env(getattr(module, factory), num_envs, autoreset=autoreset, **kwargs)


def results_version(name: str) -> int:
    """Return the environment's results version, a number that changes whenever its results change.

    It is the constant RESULTS_VERSION of the environment's module, or 0 if a third party's module has none.

    Raises:
        ValueError: an unknown name, or the constant is not a whole number.
    """
    found = getattr(_find(name)[0], "RESULTS_VERSION", 0)
    return whole(f"environment {name!r}: RESULTS_VERSION", found, 0, 2**63 - 1)


def _find(name: str) -> tuple[ModuleType, str]:
    """Import the module of an environment; return it with the name of its parallel factory."""
    if isinstance(name, str) and name in ENVS:
        return importlib.import_module(ENVS[name]), "parallel_env"
    path, _, factory = name.partition(":") if isinstance(name, str) else ("", "", "")
    if not (path and factory):
        raise ValueError(one_of("environment", name, [*ENVS, "package.module:factory"]))
    try:
        module = importlib.import_module(path)
    except (Exception, SystemExit) as error:  # a third party's module can raise anything
        reason = " ".join(str(error).split())  # in one line
        raise ValueError(f"environment {name!r}: module {path!r} cannot be imported: {reason}.") from error
    found: Callable[..., Any] | None = getattr(module, factory, None)
    if not callable(found):
        public = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        raise ValueError(one_of(f"factory in module {path}:", factory, public))
    return module, factory


def _register(public_id: str, pettingzoo_id: str, name: str, **kwargs: Any) -> None:
    """Register an environment of ENVS, with keywords, under ids; the entry points are strings and load on first use."""
    if public_id in gymnasium.registry:
        return  # this package was reloaded
    # Gymnasium's checker expects one number as reward, here it is a list.
    gymnasium.register(
        public_id,
        entry_point="marl_gre_envs.gymnasium_env:JointEnv",
        disable_env_checker=True,
        kwargs={"name": name, **kwargs},
    )
    pettingzoo.register("parallel", pettingzoo_id, entry_point=f"{ENVS[name]}:parallel_env", kwargs=kwargs)
    pettingzoo.register("aec", pettingzoo_id, entry_point=f"{ENVS[name]}:env", kwargs=kwargs)


def _register_all() -> None:
    """Register every id with Gymnasium and PettingZoo."""
    for name in ENVS:
        public_id = "marl_gre/" + name.replace("_v", "-v")
        _register(public_id, public_id, name)
    for map_name in (*MAPS, *SCENARIOS):
        _register(f"smac/{map_name}-v0", f"smac/{map_name}_v0", "smac_v0", map_name=map_name)


_register_all()
