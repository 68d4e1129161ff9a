"""TrafficJunction as the papers describe it: cars overlap when they collide, may arrive at every gate at once, and
are gone when finished; see traffic_junction.py.
"""

from functools import partial

from envs.core import make_core
from envs.traffic_junction import TrafficJunction

RESULTS_VERSION = 1

vector_env = partial(make_core, TrafficJunction, "traffic_junction_v1")
