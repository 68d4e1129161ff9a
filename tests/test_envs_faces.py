"""The PettingZoo and Gymnasium faces: the libraries' own tests, and what those leave out.

Of pettingzoo.test, bombardment_test does not apply (it takes step()'s None for an observation and fails for any
environment), nor do test_save_obs (for image observations), performance_benchmark and manual_control_test (no test).
"""

import copy
import importlib
import os
import pickle
import subprocess
import sys
import warnings

import gymnasium
import numpy as np
import pettingzoo
import pytest
from gymnasium.utils.env_checker import check_env

import marl_gre_envs
from marl_gre_envs.gymnasium_env import JointEnv
from marl_gre_envs.parallel import MaskInObservation

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # pettingzoo.test imports PettingZoo's old modules
    from pettingzoo.test import (
        api_test,
        max_cycles_test,
        parallel_api_test,
        parallel_seed_test,
        render_test,
        seed_test,
        state_test,
    )

NAMES = list(marl_gre_envs.ENVS)
GRIDWORLDS = [name for name in NAMES if name != "smac_v0"]  # more about that one in test_smac_faces.py
PUBLIC = {name: "marl_gre/" + name.replace("_v", "-v") for name in NAMES}
# In traffic_junction_v1 cars off the road observe zeros, which PettingZoo suspects to be a mistake.
zeros_allowed = pytest.mark.filterwarnings("ignore:Observation numpy array is all zeros")
# Gymnasium takes _v0 for outdated where there is a _v1; here they are two environments.
newer_version = pytest.mark.filterwarnings("ignore:.*is out of date:DeprecationWarning")


def module(name):
    return importlib.import_module(marl_gre_envs.ENVS[name])


@zeros_allowed
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("form", ["env", "raw_env"])
def test_pettingzoo_api(name, form, capsys):
    api_test(getattr(module(name), form)(), num_cycles=300)


@pytest.mark.parametrize("wrap", [lambda env: env, MaskInObservation])
@pytest.mark.parametrize("name", NAMES)
def test_pettingzoo_parallel_api(name, wrap, capsys):
    parallel_api_test(wrap(module(name).parallel_env()), num_cycles=300)


@zeros_allowed
@pytest.mark.filterwarnings("ignore:Observation space for each agent probably should be")  # a Dict is the point
@pytest.mark.filterwarnings("ignore:Observation is not a NumPy array")
@pytest.mark.parametrize("name", NAMES)
def test_pettingzoo_masks_in_observations(name, capsys):
    api_test(pettingzoo.utils.parallel_to_aec(MaskInObservation(module(name).parallel_env())), num_cycles=100)


@pytest.mark.parametrize("name", NAMES)
def test_pettingzoo_seeds(name, capsys):
    seed_test(module(name).env, num_cycles=500)
    parallel_seed_test(module(name).parallel_env, num_cycles=500)


@pytest.mark.parametrize("name", NAMES)
def test_pettingzoo_max_cycles_and_state(name):
    max_cycles_test(module(name))
    state_test(module(name).env(), module(name).parallel_env())


@pytest.mark.parametrize("name", NAMES)
def test_pettingzoo_render(name, monkeypatch):
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    monkeypatch.setattr("marl_gre_envs.parallel.FRAMES_PER_SECOND", 1000)
    pytest.importorskip("pygame")
    render_test(module(name).env)


@pytest.mark.parametrize("name", NAMES)
def test_the_registries_find_them(name):
    for form, kind in (("parallel", pettingzoo.ParallelEnv), ("aec", pettingzoo.AECEnv)):
        env = pettingzoo.make(form, PUBLIC[name])
        assert isinstance(env, kind)
        assert env.metadata["name"] == name
    assert gymnasium.spec(PUBLIC[name]).kwargs == {"name": name}
    assert marl_gre_envs.results_version(name) == module(name).RESULTS_VERSION


def test_every_environment_module_is_listed():
    folder = os.path.dirname(marl_gre_envs.__file__)
    found = {file[:-3] for file in os.listdir(folder) if file[-6:-4] == "_v" and file.endswith(".py")}
    assert found == {path.removeprefix("marl_gre_envs.") for path in marl_gre_envs.ENVS.values()}


def test_importing_is_light_and_silent():
    code = """
import sys, threading, random
state = random.getstate()
import marl_gre_envs
assert not {"numba", "torch", "PIL", "pygame", "marl_gre"} & set(sys.modules), "heavy imports"
assert threading.active_count() == 1 and random.getstate() == state
marl_gre_envs.make("lumberjacks_v0")
assert not {"torch", "marl_gre"} & set(sys.modules)
import gymnasium
gymnasium.make("marl_gre/lumberjacks-v1")
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@newer_version
def test_gymnasium_needs_no_import_of_ours():
    code = "import gymnasium; env = gymnasium.make('marl_gre_envs:marl_gre/lumberjacks-v1'); env.reset(seed=0)"
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)


@pytest.mark.parametrize("name", GRIDWORLDS)
def test_info_has_what_the_core_knows(name):
    env = marl_gre_envs.make(name, max_steps=30)
    core = env.core
    obs, infos = env.reset(seed=1)
    keys = {"action_mask", "agent_reward", "agent_done", "illegal_actions", *core.step_counters}
    rng = np.random.default_rng(0)
    while env.agents:
        for i, agent in enumerate(env.possible_agents):
            info = infos[agent]
            assert set(info) == keys
            assert info["action_mask"].dtype == np.int8
            assert info["action_mask"].tolist() == [1] * core.n_actions
            assert info["agent_reward"] == core.agent_reward[0, i]
            assert info["agent_done"] is bool(core.info["agent_done"][0, i])
            assert env.observation_space(agent).contains(obs[agent])
        assert env.state_space.contains(env.state())
        np.testing.assert_array_equal(env.state(), np.concatenate(list(obs.values())))
        actions = {agent: rng.integers(core.n_actions) for agent in env.agents}
        obs, rewards, terminations, truncations, infos = env.step(actions)
        for values, kind in ((rewards, float), (terminations, bool), (truncations, bool)):
            assert {type(value) for value in values.values()} == {kind}
            assert len(set(values.values())) == 1
        assert rewards["agent_0"] == sum(info["agent_reward"] for info in infos.values())
    assert terminations["agent_0"] != truncations["agent_0"]


@pytest.mark.parametrize("name", NAMES)
def test_what_is_returned_stays_as_it_was(name):
    env = marl_gre_envs.make(name)
    kept = [env.reset(seed=0)]
    before = [copy.deepcopy(kept[0])]
    states = [env.state()]
    copies = [states[0].copy()]
    for _ in range(5):
        kept.append(env.step(dict.fromkeys(env.agents, 0)))
        before.append(copy.deepcopy(kept[-1]))
        states.append(env.state())
        copies.append(states[-1].copy())
    for first, second in zip(kept, before, strict=True):
        for agent in env.possible_agents:
            np.testing.assert_array_equal(first[0][agent], second[0][agent])
            np.testing.assert_array_equal(first[-1][agent].pop("action_mask"), second[-1][agent].pop("action_mask"))
        assert first[1:] == second[1:]
    np.testing.assert_array_equal(states, copies)


@pytest.mark.parametrize("name", NAMES)
def test_seeds_decide_whole_episodes(name):
    def episodes(env, seed):
        env.reset(seed=seed)
        rng = np.random.default_rng(0)
        for _ in range(2):
            while env.agents:
                obs, rewards, *_ = env.step({agent: rng.integers(env.core.n_actions) for agent in env.agents})
                yield np.concatenate(list(obs.values())).tobytes(), rewards["agent_0"]
            env.reset()

    env = marl_gre_envs.make(name, max_steps=20)
    first = list(episodes(env, 5))
    assert first == list(episodes(env, 5))  # used before
    assert first == list(episodes(marl_gre_envs.make(name, max_steps=20), 5))  # new
    assert first != list(episodes(env, 6))


@pytest.mark.parametrize("name", NAMES)
def test_pickles(name):
    env = marl_gre_envs.make(name)
    env.reset(seed=3)
    twin = pickle.loads(pickle.dumps(env))  # noqa: S301
    for _ in range(10):
        actions = dict.fromkeys(env.agents, 0)
        first, second = env.step(actions), twin.step(actions)
        assert first[1] == second[1]
        np.testing.assert_array_equal(env.state(), twin.state())


@pytest.mark.parametrize("name", NAMES)
def test_a_restored_world_resumes_its_episode(name):
    env = marl_gre_envs.make(name, max_steps=3)
    env.reset(seed=0)
    env.step(dict.fromkeys(env.agents, 1))
    saved = env.core.get_world()

    def rest():
        while env.agents:
            env.step(dict.fromkeys(env.agents, 1))
            yield env.state().tobytes(), env.core.reward[0]

    expected = list(rest())
    assert len(expected) == 2
    ended = env.core.get_world()
    env.core.set_world(saved)
    assert env.agents == env.possible_agents
    assert list(rest()) == expected
    new = marl_gre_envs.make(name, max_steps=3)
    assert new.agents == []
    new.core.set_world(saved)
    assert new.agents == env.possible_agents
    new.core.set_world(ended)
    assert new.agents == []


@pytest.mark.parametrize("make", [marl_gre_envs.make, marl_gre_envs.make_vec])
@pytest.mark.parametrize(
    ("factory", "message"),
    [
        ("marl_gre_envs.lumberjacks_v1:env", "found a turn-based .AEC. env: name the factory of its parallel form"),
        ("marl_gre_envs.lumberjacks_v1:raw_env", "found a turn-based .AEC. env: name the factory of its parallel form"),
        ("os:getcwd", "found str; the factory must make a PettingZoo parallel env"),
        ("gymnasium:Env", "found Env; the factory must make a PettingZoo parallel env"),
    ],
)
def test_a_factory_of_something_else_is_refused(make, factory, message):
    with pytest.raises(ValueError, match=message):
        make(factory)


def test_the_joint_form_is_for_compiled_environments():
    with pytest.raises(ValueError, match="unknown environment 'corridor:parallel_env'; allowed: lumberjacks_v0"):
        JointEnv("corridor:parallel_env")


def test_wrong_use_raises_one_line():
    env = marl_gre_envs.make("lumberjacks_v1", strict=True)
    with pytest.raises(RuntimeError, match="call reset"):
        env.step({"agent_0": 0, "agent_1": 0})
    env.reset(seed=0)
    with pytest.raises(ValueError, match="agent_1 has none"):
        env.step({"agent_0": 0})
    with pytest.raises(ValueError, match="actions must be a dict, found list"):
        env.step([0, 1])
    with pytest.raises(ValueError, match="illegal action 7 of agent_1"):
        env.step({"agent_0": 0, "agent_1": 7})
    with pytest.raises(ValueError, match="max_cycles and max_steps are the same"):
        marl_gre_envs.make("lumberjacks_v1", max_cycles=3, max_steps=3)
    with pytest.raises(ValueError, match="unknown render_mode 'rgb'; did you mean 'rgb_array'"):
        marl_gre_envs.make("lumberjacks_v1", render_mode="rgb")
    with pytest.raises(TypeError, match="unknown keyword of lumberjacks_v1: 'n_tree'; did you mean 'n_trees'"):
        marl_gre_envs.make("lumberjacks_v1", n_tree=3)
    for kwargs in ({"num_envs": 2}, {"autoreset": True}):
        with pytest.raises(TypeError, match=f"^{next(iter(kwargs))} is a keyword of make_vec"):
            marl_gre_envs.make("lumberjacks_v1", **kwargs)
    env = marl_gre_envs.make("lumberjacks_v1", max_cycles=1)
    env.reset(seed=0)
    env.step({"agent_0": 0, "agent_1": 0})
    with pytest.raises(RuntimeError, match="call reset"):
        env.step({"agent_0": 0, "agent_1": 0})
    env.close()
    env.close()


@pytest.mark.parametrize("action", [(0,), 0, ((0, 1), (2,))])
def test_a_joint_action_of_a_wrong_form_raises_one_line(action):
    env = gymnasium.make(PUBLIC["lumberjacks_v1"]).unwrapped
    env.reset(seed=0)
    with pytest.raises(ValueError, match="^action must (be one whole number for each|have rows of one length)"):
        env.step(action)


def test_both_ways_to_the_observation_space_agree():
    env = MaskInObservation(marl_gre_envs.make("lumberjacks_v1"))
    assert env.observation_spaces == {agent: env.observation_space(agent) for agent in env.possible_agents}
    assert set(env.observation_spaces["agent_0"]) == {"observation", "action_mask"}


def test_closing_closes_the_core(monkeypatch):
    env = gymnasium.make(PUBLIC["lumberjacks_v1"]).unwrapped
    closed = []
    monkeypatch.setattr(env.core, "close", lambda: closed.append(True))
    env.close()
    assert closed


def test_an_illegal_action_is_replaced_and_counted():
    env, twin = marl_gre_envs.make("traffic_junction_v1"), marl_gre_envs.make("traffic_junction_v1")
    env.reset(seed=0)
    twin.reset(seed=0)
    *_, infos = env.step(dict.fromkeys(env.agents, 9))
    twin.step(dict.fromkeys(twin.agents, 1))  # brake
    assert infos["agent_0"]["illegal_actions"] == 4
    np.testing.assert_array_equal(env.state(), twin.state())


@newer_version
@pytest.mark.parametrize("name", GRIDWORLDS)
def test_gymnasium_joint_form(name):
    env = gymnasium.make(PUBLIC[name], max_steps=25)
    twin = marl_gre_envs.make(name, max_steps=25)
    obs, info = env.reset(seed=2)
    expected, _ = twin.reset(seed=2)
    rng = np.random.default_rng(0)
    over = False
    while not over:
        assert env.observation_space.contains(obs)
        np.testing.assert_array_equal(obs, list(expected.values()))
        assert info["action_mask"].shape == (env.unwrapped.n_agents, env.action_space[0].n)
        actions = rng.integers(env.action_space[0].n, size=env.unwrapped.n_agents)
        obs, rewards, terminated, truncated, info = env.step(tuple(actions))
        expected, team, terminations, truncations, infos = twin.step(dict(zip(twin.agents, actions, strict=True)))
        assert rewards == info["agent_reward"].tolist() == [one["agent_reward"] for one in infos.values()]
        assert info["team_reward"] == team["agent_0"] == sum(rewards)
        assert (terminated, truncated) == (terminations["agent_0"], truncations["agent_0"])
        assert (type(terminated), type(truncated)) == (bool, bool)
        over = terminated or truncated
    env.close()


@newer_version
@pytest.mark.parametrize("name", NAMES)
def test_gymnasium_checker(name, monkeypatch):
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    monkeypatch.setattr("marl_gre_envs.parallel.FRAMES_PER_SECOND", 1000)
    pytest.importorskip("pygame")
    env = gymnasium.make(PUBLIC[name], render_mode="rgb_array").unwrapped
    # Its only objection is the list of rewards, which is what the joint form is about.
    with pytest.warns(UserWarning, match="reward returned by `step") as caught:
        check_env(env)
    assert {str(one.message) for one in caught} == {str(caught[0].message)}
