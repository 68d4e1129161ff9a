"""Lumberjacks as in ma-gym 0.0.14, including its border defect; see lumberjacks.py for rules and keywords."""

from functools import partial

from marl_gre_envs.core import make_core
from marl_gre_envs.lumberjacks import Lumberjacks
from marl_gre_envs.parallel import CoreParallelEnv, aec_forms, metadata_of

RESULTS_VERSION = 1  # raised whenever results change

vector_env = partial(make_core, Lumberjacks, "lumberjacks_v0", border="clipped")


class parallel_env(CoreParallelEnv):
    """The PettingZoo parallel form of Lumberjacks; see lumberjacks.py for keywords."""

    metadata = metadata_of("lumberjacks_v0")
    vector_env = staticmethod(vector_env)


raw_env, env = aec_forms(parallel_env)
