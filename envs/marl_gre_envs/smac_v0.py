"""The SMAC maps, and random scenarios like SMACv2's, on an embedded engine or the real StarCraft II.

`backend="embedded"` (default) needs nothing else; keywords: smac/core.py, and for scenarios ("terran_5_vs_5", ...)
start_positions, see smac/scenarios.py; their observations have SMACv2's defaults. `backend="starcraft"` plays the same
maps with the same interface in the game; keywords: starcraft.py.
"""

from typing import Any

from marl_gre_envs.checks import check_keywords, choice, keywords_of
from marl_gre_envs.parallel import CoreParallelEnv, aec_forms, metadata_of
from marl_gre_envs.smac.core import SMAC
from marl_gre_envs.smac.interface import Flags
from marl_gre_envs.smac.maps import Scenario, map_named
from marl_gre_envs.smac.rewards import Rewards
from marl_gre_envs.smac.scenarios import SMACScenario
from marl_gre_envs.vector import VectorEnv

RESULTS_VERSION = 3  # raised whenever results of the embedded engine change

BACKENDS = ("embedded", "starcraft")
# Keywords of SMAC's StarCraft2Env and of starcraft.py that mean nothing without the game.
GAME_ONLY = (
    "step_mul",
    "difficulty",
    "game_version",
    "replay_dir",
    "replay_prefix",
    "window_size_x",
    "window_size_y",
    "debug",
    "env_class",
    "relaunch",
    "step_timeout_s",
    "start_timeout_s",
)
# What SMACv2's configurations choose differently from SMAC's defaults; and it pays max(sum, 0), not |sum|.
SMACV2 = {"obs_own_pos": True, "use_unit_ranges": True}
BOTH = {"map_name", "move_amount", "strict", *Flags._fields, *Rewards._fields} - {"reward_clamp"}


def vector_env(
    num_envs: int = 1, *, autoreset: bool = True, map_name: str = "8m", backend: str = "embedded", **kwargs: Any
) -> VectorEnv:
    """Return a batch of battles on a map.

    Args:
        num_envs: number of parallel environments, 1 or more.
        autoreset: whether an environment restarts by itself when its episode ends.
        map_name: one of SMAC's maps ("3s5z", ...) or a scenario ("terran_5_vs_5", ...; smac/scenarios.py).
        backend: "embedded", or "starcraft" for the real game.
        kwargs: keywords of the backend; those of SMAC's own environment (obs_last_action, reward_sparse, ...) are
            common to both.

    Raises:
        ValueError: an unknown map or backend, a value that is not allowed, or an option of the other backend.
        TypeError: unknown keyword.
        ImportError: SMAC is not installed; for the real game only.
    """
    found = map_named(map_name)
    random = isinstance(found, Scenario)
    choice("backend", backend, BACKENDS)
    embedded = [name for name in keywords_of(SMAC) if name not in ("num_envs", "autoreset")] + ["start_positions"]
    others = GAME_ONLY if backend == "embedded" else sorted(set(embedded) - BOTH)
    if misplaced := [name for name in kwargs if name in others]:
        other = BACKENDS[backend == "embedded"]
        raise ValueError(f"{misplaced[0]} is an option of backend={other!r} and means nothing with {backend!r}.")
    if backend == "starcraft":
        from marl_gre_envs import starcraft

        return starcraft.vector_env(map_name, num_envs, autoreset, **kwargs)
    check_keywords("smac_v0", kwargs, [*embedded, "backend"])
    if random:
        kwargs = {**SMACV2, "reward_clamp": kwargs.get("reward_only_positive", True), **kwargs}
        return SMACScenario(num_envs, autoreset=autoreset, map_name=map_name, **kwargs)
    if "start_positions" in kwargs:
        raise ValueError(f"start_positions is an option of scenarios; {map_name} always starts from the same places.")
    return SMAC(num_envs, autoreset=autoreset, map_name=map_name, **kwargs)


class parallel_env(CoreParallelEnv):
    """The PettingZoo parallel form; keywords as in vector_env."""

    metadata = metadata_of("smac_v0")
    vector_env = staticmethod(vector_env)  # type: ignore[assignment]  # StarCraft has what this face reads, too


raw_env, env = aec_forms(parallel_env)
