"""The live comparison with the real ma-gym 0.0.14: equal starts and actions must give exactly equal outputs."""

import random

import numpy as np
import pytest

import marl_gre_envs
from gym_shim import ma_gym, quiet_spaces


def record(env, episodes, rng, start_of, after_step):
    """Play episodes with random actions in ma-gym.

    Args:
        env: a ma-gym environment.
        episodes: how many.
        rng: source of the actions.
        start_of: env -> the world to start from, as options of our environment.
        after_step: (env, before) -> what to compare beside the common outputs; before is its last value.

    Returns:
        One (start, steps) per episode; a step is (actions, obs, rewards, dones, extra).
    """
    recorded = []
    n_actions = env.action_space[0].n
    # From careless to careful driving: in TrafficJunction random braking decides how far an episode comes.
    for episode in range(episodes):
        weights = rng.dirichlet(np.full(n_actions, 0.7)) if episode % 2 else np.full(n_actions, 1 / n_actions)
        obs = env.reset()
        start, steps, dones = start_of(env), [(None, np.float32(obs), None, None, None)], [False]
        extra = after_step(env, None)
        while not all(dones):
            actions = rng.choice(n_actions, env.n_agents, p=weights)
            obs, rewards, dones, info = env.step(actions.tolist())
            extra = after_step(env, extra)
            steps.append((actions, np.float32(obs), np.float64(rewards), np.array(dones), {**extra, **info}))
        recorded.append((start, steps))
    return recorded


def compare(vec, recorded, fields):
    """Play the recorded episodes in all copies of ours at once and compare everything; fields: theirs -> ours."""
    options = {name: np.stack([np.asarray(start[name]) for start, _ in recorded]) for name in recorded[0][0]}
    vec.reset(seed=0, options=options)
    lengths = np.array([len(steps) - 1 for _, steps in recorded])
    np.testing.assert_array_equal(vec.obs, np.stack([steps[0][1] for _, steps in recorded]))
    for t in range(1, lengths.max() + 1):
        live = np.flatnonzero(t <= lengths)
        steps = [recorded[e][1][t] for e in live]
        actions = np.zeros((vec.num_envs, vec.n_agents), np.int64)
        actions[live] = [step[0] for step in steps]
        vec.step(actions)
        np.testing.assert_array_equal(vec.obs[live], [step[1] for step in steps])
        np.testing.assert_array_equal(vec.state[live], vec.obs[live].reshape(len(live), -1))
        np.testing.assert_array_equal(vec.agent_reward[live], [step[2] for step in steps])  # float64, exactly
        np.testing.assert_array_equal(vec.info["agent_done"][live], [step[3] for step in steps])
        np.testing.assert_array_equal((vec.terminated | vec.truncated)[live], t == lengths[live])
        for theirs, ours in fields.items():
            np.testing.assert_array_equal(ours(vec)[live], [step[4][theirs] for step in steps], err_msg=theirs)
    assert not (vec.terminated & vec.truncated).any()
    return vec


def lumberjacks_trees(env):
    rows, columns = env._grid_shape
    top, left = env._agent_view
    return env._tree_map[top : top + rows, left : left + columns].copy()


def lumberjacks_start(env):
    positions = [env._to_relative_coordinates(agent.pos) for agent in env._agents]
    return {"agent_pos": np.array(positions), "trees": lumberjacks_trees(env)}


def compare_lumberjacks(episodes, seed, **kwargs):
    with quiet_spaces():
        theirs = ma_gym("lumberjacks", "Lumberjacks")(**kwargs)
    theirs.seed(seed)
    rng = np.random.default_rng(seed)
    recorded = record(theirs, episodes, rng, lumberjacks_start, lambda env, before: lumberjacks_start(env))
    fields = {"agent_pos": lambda v: v.world["agent_pos"], "trees": lambda v: v.world["trees"]}
    return compare(marl_gre_envs.make_vec("lumberjacks_v0", episodes, autoreset=False, **kwargs), recorded, fields)


def traffic_start(env, **arrivals):
    return {
        "pos": np.array([env.agent_pos[i] for i in range(env.n_agents)]),
        "on_road": np.array(env._on_the_road),
        "route": np.array(env._agents_routes),
        "direction": np.array(env._agents_direction),
        **arrivals,
    }


def traffic_after(env, before):
    now = traffic_start(env)
    entered = [] if before is None else np.flatnonzero(now["on_road"] & ~before["on_road"]).tolist()
    now["arrival"] = [-1] * 4
    for car in entered:  # at most one in ma-gym
        now["arrival"] = [car, *now["pos"][car], now["route"][car]]
    return now


def compare_traffic(episodes, seed, **kwargs):
    with quiet_spaces():
        theirs = ma_gym("traffic_junction", "TrafficJunction")(**kwargs)
    random.seed(seed)  # ma-gym's TrafficJunction draws from Python's global generator
    rng = np.random.default_rng(seed)
    recorded = record(theirs, episodes, rng, traffic_start, traffic_after)
    limit = kwargs.get("max_steps", 100)
    for start, steps in recorded:
        start["arrivals"] = np.full((limit, 4), -1)
        start["arrivals"][: len(steps) - 1] = [step[4]["arrival"] for step in steps[1:]]
    fields = {
        "pos": lambda v: v.world["pos"],
        "on_road": lambda v: v.world["on_road"],
        "route": lambda v: v.world["route"],
        "step_collisions": lambda v: v.info["collisions"],
    }
    return compare(marl_gre_envs.make_vec("traffic_junction_v0", episodes, autoreset=False, **kwargs), recorded, fields)


def test_lumberjacks():
    compare_lumberjacks(200, seed=1)


@pytest.mark.parametrize("n_max", [4, 10])
def test_traffic_junction(n_max):
    vec = compare_traffic(200, seed=n_max, n_max=n_max)
    assert vec.terminated.any()  # the comparison saw goals as well as time limits


@pytest.mark.parametrize("seed", range(8))
def test_lumberjacks_with_random_settings(seed):
    rng = np.random.default_rng(seed)
    rows, columns = (int(n) for n in rng.integers(2, 9, 2))
    n_agents = int(rng.integers(1, min(5, rows * columns)))
    compare_lumberjacks(
        8,
        seed,
        grid_shape=(rows, columns),
        n_agents=n_agents,
        n_trees=int(rng.integers(0, rows * columns - n_agents + 1)),
        agent_view=(int(rng.integers(1, rows)), int(rng.integers(1, columns))),
        full_observable=bool(rng.integers(2)),
        step_cost=float(rng.integers(-8, 8)) / 4,  # quarters, so that ma-gym's order of summing trees does not matter
        tree_cutdown_reward=float(rng.integers(-8, 80)) / 4,
        max_steps=int(rng.integers(1, 80)),
    )


@pytest.mark.parametrize("seed", range(8))
def test_traffic_junction_with_random_settings(seed):
    rng = np.random.default_rng(seed)
    size = int(rng.integers(4, 17))
    compare_traffic(
        8,
        seed,
        grid_shape=(size, size),
        n_max=int(rng.integers(1, 11)),
        step_cost=float(rng.uniform(-1, 1)),
        collision_reward=float(rng.uniform(-20, 5)),
        arrive_prob=float(rng.uniform(0, 1)),
        full_observable=bool(rng.integers(2)),
        max_steps=int(rng.integers(1, 80)),
    )
