"""Lumberjacks as in ma-gym 0.0.14, but agents can enter every cell; see lumberjacks.py."""

from functools import partial

from envs.core import make_core
from envs.lumberjacks import Lumberjacks

RESULTS_VERSION = 1

vector_env = partial(make_core, Lumberjacks, "lumberjacks_v1")
