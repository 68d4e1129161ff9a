"""The conformance kit over every registered environment; PettingZoo's own tests are in test_envs_faces.py."""

import functools

import pettingzoo
import pytest

import marl_gre_envs
from marl_gre.testing import check_env
from marl_gre_envs.parallel import MaskInObservation

BOTH = ("terminated", "truncated")
SMALL_GRID = {"grid_shape": (2, 2), "n_trees": 2, "n_agents": 1, "agent_view": (0, 0), "max_steps": 6, "strict": True}
MANY_AGENTS = {"grid_shape": (7, 4), "n_agents": 5, "agent_view": (2, 1), "full_observable": True, "max_steps": 20}

# Which ends random play reaches. Two random lumberjacks practically never clear 12 trees in 100 steps. 200 episodes of
# random driving took 15 to 47 steps with one car (median 26), with ten 36 to 100 (median 52) and, where an arrival is
# drawn at each gate, 27 to 54 (median 37): a limit at the median gives both ends.
CASES = [
    *((name, {}, ("truncated",)) for name in ("lumberjacks_v0", "lumberjacks_v1")),
    *((name, SMALL_GRID, BOTH) for name in ("lumberjacks_v0", "lumberjacks_v1")),
    *((name, MANY_AGENTS, ("truncated",)) for name in ("lumberjacks_v0", "lumberjacks_v1")),
    *((name, {}, ("terminated",)) for name in ("traffic_junction_v0", "traffic_junction_v1")),
    *(
        (name, {"n_max": 1, "max_steps": 26, "strict": True}, BOTH)
        for name in ("traffic_junction_v0", "traffic_junction_v1")
    ),
    ("traffic_junction_v0", {"n_max": 10, "max_steps": 52}, BOTH),
    ("traffic_junction_v1", {"n_max": 10, "max_steps": 37}, BOTH),
    # Random agents lose long before the time limit; a limit at the usual length of their episodes gives both ends.
    ("smac_v0", {}, ("terminated",)),
    ("smac_v0", {"map_name": "3m", "max_steps": 27, "strict": True}, BOTH),
    ("smac_v0", {"map_name": "MMM2", "obs_last_action": True, "reward_only_positive": False}, ("terminated",)),
    ("smac_v0", {"map_name": "zerg_5_vs_5"}, ("terminated",)),
]
USUAL_ENDS = {name: ends for name, kwargs, ends in CASES if not kwargs}


def test_every_registered_env_is_checked():
    assert {name for name, _, _ in CASES} == set(marl_gre_envs.ENVS)


@pytest.mark.parametrize(
    ("name", "kwargs", "ends"), CASES, ids=[f"{name}-{'-'.join(kwargs) or 'defaults'}" for name, kwargs, _ in CASES]
)
def test_check_env(name, kwargs, ends):
    check_env(functools.partial(marl_gre_envs.make, name, **kwargs), ends=ends)


@pytest.mark.parametrize("name", marl_gre_envs.ENVS)
def test_the_form_with_masks_in_observations(name):
    check_env(lambda: MaskInObservation(marl_gre_envs.make(name)), ends=USUAL_ENDS[name], seeds=2, episodes=2)


@pytest.mark.parametrize("name", marl_gre_envs.ENVS)
def test_the_registered_form(name):
    public = "marl_gre/" + name.replace("_v", "-v")
    check_env(lambda: pettingzoo.make("parallel", public), ends=USUAL_ENDS[name], seeds=1, episodes=1)
