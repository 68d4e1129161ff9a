"""Recorded trajectories: ma-gym's (tests/data, every number must agree exactly) and our own (a digest per version)."""

import functools
import hashlib
import json
import operator
from pathlib import Path

import numpy as np
import pytest

import marl_gre_envs

DATA = Path(__file__).parent / "data"
LUMBERJACKS = [
    "lumberjacks_default",
    "lumberjacks_4x4_2trees",
    "lumberjacks_7x6_3agents_view2x1",
    "lumberjacks_fullobs",
]
TRAFFIC = ["traffic_junction4", "traffic_junction10", "traffic_junction6_p02_fullobs"]

# Beginning of the SHA-256 of what playing_digest sees. Whoever changes one changes results, and raises the module's
# RESULTS_VERSION.
PINNED = {
    ("lumberjacks_v0", 1): "83b6a8b67d62ba1e",
    ("lumberjacks_v1", 1): "7cfc230d452e72ad",
    ("traffic_junction_v0", 1): "9c39e852b5f451ab",
    ("traffic_junction_v1", 1): "1370c4df6b6cd376",
    ("smac_v0", 3): "63d317cdcfbd6bab",
}


def load(file):
    """Return (name of our env, constructor keywords, recorded arrays, start worlds as options)."""
    with np.load(DATA / f"{file}.npz") as archive:
        data = dict(archive)
    kwargs = json.loads(str(data["config"]))
    if file in LUMBERJACKS:
        return "lumberjacks_v0", kwargs, data, {"agent_pos": data["init_agent_pos"], "trees": data["init_trees"]}
    start = {name: data[f"init_{name}"] for name in ("pos", "on_road", "route", "direction")}
    return "traffic_junction_v0", kwargs, data, start | {"arrivals": data["arrival"]}


@pytest.mark.parametrize("file", LUMBERJACKS + TRAFFIC)
def test_core_reproduces_ma_gym(file):
    name, kwargs, data, start = load(file)
    length = data["length"]
    vec = marl_gre_envs.make_vec(name, len(length), autoreset=False, **kwargs)
    vec.reset(seed=0, options=start)
    np.testing.assert_array_equal(vec.obs, data["obs"][:, 0])
    for t in range(length.max()):
        live = t < length
        vec.step(np.maximum(data["actions"][:, t], 0))  # frozen copies get any legal action
        found = {
            "obs": vec.obs,
            "rewards": vec.agent_reward.astype(np.float32),  # the recording is float32
            "dones": vec.info["agent_done"],
            **{key: vec.world[key] for key in ("agent_pos", "trees", "pos", "on_road", "route") if key in vec.world},
            **{key: vec.info[key] for key in ("collisions",) if key in vec.info},
        }
        for key, value in found.items():
            expected = data["obs"][:, t + 1] if key == "obs" else data[key][:, t]
            np.testing.assert_array_equal(value[live], expected[live], err_msg=f"{key}, step {t + 1}")
        np.testing.assert_array_equal((vec.terminated | vec.truncated)[live], (t + 1 == length)[live])
    np.testing.assert_array_equal(vec.world["step"], length)


@pytest.mark.parametrize("file", LUMBERJACKS + TRAFFIC)
def test_pettingzoo_face_reproduces_ma_gym(file):
    name, kwargs, data, start = load(file)
    env = marl_gre_envs.make(name, **kwargs)
    for episode, length in enumerate(data["length"]):
        obs, _ = env.reset(seed=0, options={key: value[episode] for key, value in start.items()})
        np.testing.assert_array_equal(list(obs.values()), data["obs"][episode, 0])
        for t in range(length):
            assert env.agents == env.possible_agents
            actions = dict(zip(env.agents, data["actions"][episode, t].tolist(), strict=True))
            obs, rewards, terminations, truncations, infos = env.step(actions)
            np.testing.assert_array_equal(list(obs.values()), data["obs"][episode, t + 1])
            own = [info["agent_reward"] for info in infos.values()]
            np.testing.assert_array_equal(np.float32(own), data["rewards"][episode, t])
            team = functools.reduce(operator.add, own)  # `sum` rounds otherwise from Python 3.12 on
            assert list(rewards.values()) == [team] * len(own)
            assert [info["agent_done"] for info in infos.values()] == data["dones"][episode, t].tolist()
            over = {a: terminations[a] or truncations[a] for a in obs}
            assert set(over.values()) == {t + 1 == length}
        assert env.agents == []


def playing_digest(name):
    """Return the digest of 300 steps of random play in 3 copies, restarts included."""
    vec = marl_gre_envs.make_vec(name, 3, max_steps=40, **({"n_max": 7} if name.startswith("traffic") else {}))
    vec.reset(seed=11)
    rng = np.random.default_rng(0)
    digest = hashlib.sha256()
    for _ in range(300):
        vec.step(rng.integers(0, vec.n_actions, (3, vec.n_agents)))
        for value in (vec.obs, vec.state, vec.reward, vec.agent_reward, vec.terminated, vec.truncated):
            digest.update(value.tobytes())
    return digest.hexdigest()[:16]


@pytest.mark.parametrize("name", [name for name, _ in PINNED])
def test_results_version_pins_results(name):
    assert playing_digest(name) == PINNED[name, marl_gre_envs.results_version(name)]
