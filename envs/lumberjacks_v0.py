"""Lumberjacks as in ma-gym 0.0.14, border quirk included; see lumberjacks.py."""

from functools import partial

from envs.core import make_core
from envs.lumberjacks import Lumberjacks

RESULTS_VERSION = 1

vector_env = partial(make_core, Lumberjacks, "lumberjacks_v0", border="clipped")
