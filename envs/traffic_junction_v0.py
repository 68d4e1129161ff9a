"""TrafficJunction as in ma-gym 0.0.14, quirks included; see traffic_junction.py."""

from functools import partial

from envs.core import make_core
from envs.traffic_junction import TrafficJunction

RESULTS_VERSION = 1

vector_env = partial(
    make_core, TrafficJunction, "traffic_junction_v0", collision="block", arrivals="one", off_road="observe"
)
