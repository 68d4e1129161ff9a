"""TrafficJunction as in ma-gym 0.0.14, including its defects; see traffic_junction.py for rules and keywords."""

from functools import partial

from marl_gre_envs.core import make_core
from marl_gre_envs.parallel import CoreParallelEnv, aec_forms, metadata_of
from marl_gre_envs.traffic_junction import TrafficJunction

RESULTS_VERSION = 1  # raised whenever results change

vector_env = partial(
    make_core, TrafficJunction, "traffic_junction_v0", collision="block", arrivals="one", off_road="observe"
)


class parallel_env(CoreParallelEnv):
    """The PettingZoo parallel form of TrafficJunction; see traffic_junction.py for keywords."""

    metadata = metadata_of("traffic_junction_v0")
    vector_env = staticmethod(vector_env)


raw_env, env = aec_forms(parallel_env)
