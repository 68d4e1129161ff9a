"""Lumberjacks as in ma-gym 0.0.14, but agents can enter every cell; see lumberjacks.py for rules and keywords."""

from functools import partial

from marl_gre_envs.core import make_core
from marl_gre_envs.lumberjacks import Lumberjacks
from marl_gre_envs.parallel import CoreParallelEnv, aec_forms, metadata_of

RESULTS_VERSION = 1  # raised whenever results change

vector_env = partial(make_core, Lumberjacks, "lumberjacks_v1", border="open")


class parallel_env(CoreParallelEnv):
    """The PettingZoo parallel form of Lumberjacks; see lumberjacks.py for keywords."""

    metadata = metadata_of("lumberjacks_v1")
    vector_env = staticmethod(vector_env)


raw_env, env = aec_forms(parallel_env)
