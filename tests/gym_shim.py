"""Loads the real ma-gym 0.0.14 without gym: just enough of gym's names for it to import.

The fake `gym` is taken out of sys.modules again, so that other libraries do not mistake it for the real one.
"""

import contextlib
import importlib
import logging
import sys
import types
import warnings

import gymnasium
import numpy as np
import pytest


def _fake_gym():
    gym = types.ModuleType("gym")
    gym.Env = type("Env", (), {})
    gym.Wrapper = type("Wrapper", (), {})
    gym.spaces = gymnasium.spaces
    seeding = types.ModuleType("gym.utils.seeding")
    seeding.np_random = lambda seed=None: (np.random.RandomState(seed), seed)
    seeding.hash_seed = lambda seed=None, max_bytes=8: seed
    utils = types.ModuleType("gym.utils")
    utils.seeding = seeding
    registration = types.ModuleType("gym.envs.registration")
    registration.register = lambda **spec: None
    environments = types.ModuleType("gym.envs")
    environments.registration = registration
    environments.registry = types.SimpleNamespace(all=list)
    gym.utils, gym.envs = utils, environments
    return {m.__name__: m for m in (gym, utils, seeding, environments, registration)} | {"gym.spaces": gym.spaces}


def ma_gym(module, name):
    """Return a class of ma-gym, for example ("lumberjacks", "Lumberjacks"); skip the test where it is not installed."""
    if importlib.util.find_spec("ma_gym") is None:
        pytest.skip("ma-gym is not installed: pip install --no-deps --ignore-requires-python ma-gym==0.0.14")
    logging.getLogger("ma_gym").setLevel(logging.ERROR)  # it logs when a shuffle repeats the last start
    fake = _fake_gym()
    with contextlib.ExitStack() as stack:
        for key, value in fake.items():
            sys.modules[key] = value
            stack.callback(sys.modules.pop, key, None)
        return getattr(importlib.import_module(f"ma_gym.envs.{module}"), name)


@contextlib.contextmanager
def quiet_spaces():
    """Let ma-gym make its spaces from float64 bounds, of which Gymnasium warns."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        yield
