"""The VectorEnv contract of the compiled environments: copies, restarts, worlds, illegal actions, errors."""

import copy
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import marl_gre_envs
from marl_gre_envs.vector import VectorEnv

# With these, random play reaches the goal as well as the time limit.
SETTINGS = {
    "lumberjacks_v0": {"grid_shape": (3, 4), "n_trees": 1, "max_steps": 20},
    "lumberjacks_v1": {"grid_shape": (3, 3), "n_agents": 3, "n_trees": 2, "max_steps": 9, "full_observable": True},
    "traffic_junction_v0": {"grid_shape": (4, 4), "n_max": 5, "max_steps": 30},
    "traffic_junction_v1": {"grid_shape": (4, 4), "n_max": 5, "max_steps": 15, "arrive_prob": 0.4},
}


def make(name, num_envs=1, **kwargs):
    return marl_gre_envs.make_vec(name, num_envs, **(SETTINGS[name] | kwargs))


def outputs(vec, row=slice(None)):
    """Everything a step gives, copied."""
    names = ("obs", "state", "action_mask", "reward", "agent_reward", "terminated", "truncated")
    shown = {name: getattr(vec, name)[row].copy() for name in names}
    return shown | {name: value[row].copy() for name, value in (vec.info | vec.world).items()}


def same(first, second):
    assert first.keys() == second.keys()
    for name, value in first.items():
        np.testing.assert_array_equal(value, second[name], err_msg=name, strict=True)


def random_actions(vec, steps, seed=0, illegal=True):
    """[steps,E,N], some of them illegal."""
    spare = 1 if illegal else 0
    return np.random.default_rng(seed).integers(-spare, vec.n_actions + spare, (steps, vec.num_envs, vec.n_agents))


@pytest.mark.parametrize("name", SETTINGS)
def test_sizes_and_dtypes(name):
    vec = make(name, 3)
    vec.reset(seed=0)
    n, a, o, s = vec.n_agents, vec.n_actions, vec.obs_dim, vec.state_dim
    expected = {
        "obs": ((3, n, o), np.float32),
        "state": ((3, s), np.float32),
        "action_mask": ((3, n, a), np.int8),
        "reward": ((3,), np.float64),
        "agent_reward": ((3, n), np.float64),
        "terminated": ((3,), np.bool_),
        "truncated": ((3,), np.bool_),
    }
    for key, (shape, dtype) in expected.items():
        assert (getattr(vec, key).shape, getattr(vec, key).dtype) == (shape, dtype), key
    assert isinstance(vec, VectorEnv)
    assert vec.episode_limit == SETTINGS[name]["max_steps"]
    assert len(vec.agents) == n
    assert len(vec.action_names) == a
    assert set(vec.observed) <= set(vec.world)
    assert vec.info["illegal_actions"].shape == (3,)


@pytest.mark.parametrize("name", SETTINGS)
def test_outputs_are_written_in_place(name):
    vec = make(name, 2)
    names = ("obs", "state", "action_mask", "reward", "agent_reward", "terminated", "truncated", "final_obs")
    before = {key: getattr(vec, key) for key in names} | vec.info | vec.world
    vec.reset(seed=0)
    for actions in random_actions(vec, 40):
        vec.step(actions)
    after = {key: getattr(vec, key) for key in names} | vec.info | vec.world
    assert all(before[key] is after[key] for key in before)


@settings(max_examples=40, deadline=None)
@given(
    name=st.sampled_from(sorted(SETTINGS)),
    seeds=st.lists(st.integers(0, 2**40), min_size=1, max_size=7),
    autoreset=st.booleans(),
    steps=st.integers(1, 40),
)
def test_a_batch_is_its_single_copies(name, seeds, autoreset, steps):
    batch = make(name, len(seeds), autoreset=autoreset)
    singles = [make(name, autoreset=autoreset) for _ in seeds]
    batch.reset(seed=seeds)
    for single, seed in zip(singles, seeds, strict=True):
        single.reset(seed=seed)
    for actions in random_actions(batch, steps, seed=steps):
        batch.step(actions)
        for i, single in enumerate(singles):
            single.step(actions[i : i + 1])
            same(outputs(batch, i), outputs(single, 0))
            if autoreset and single.terminated[0] | single.truncated[0]:
                np.testing.assert_array_equal(batch.final_obs[i], single.final_obs[0])
                np.testing.assert_array_equal(batch.final_state[i], single.final_state[0])
                np.testing.assert_array_equal(batch.final_action_mask[i], single.final_action_mask[0])


@pytest.mark.parametrize("name", SETTINGS)
def test_an_int_seed_counts_up_over_the_copies(name):
    first, second = make(name, 3), make(name, 3)
    first.reset(seed=7)
    second.reset(seed=[7, 8, 9])
    same(outputs(first), outputs(second))
    assert first.world["seed"].tolist() == [7, 8, 9]


@pytest.mark.parametrize("name", SETTINGS)
def test_seeds_and_episodes_differ_and_repeat(name):
    vec = make(name, 2)
    vec.reset(seed=[4, 4])
    first = outputs(vec)
    np.testing.assert_array_equal(first["obs"][0], first["obs"][1])
    vec.reset()
    assert vec.world["episode"].tolist() == [1, 1]
    second = outputs(vec)
    vec.reset()
    assert any((outputs(vec)[key] != second[key]).any() for key in vec.observed)
    vec.reset(seed=[4, 5])
    np.testing.assert_array_equal(vec.obs[0], first["obs"][0])  # back to episode 0
    vec.reset(seed=[5, 4])
    np.testing.assert_array_equal(vec.obs[1], first["obs"][1])
    starts = set()
    for seed in range(20):
        vec.reset(seed=seed)
        starts.add(b"".join(vec.world[key][0].tobytes() for key in vec.observed))
    assert len(starts) > 10  # there are hundreds of starts


def test_reset_without_a_seed_starts_at_seed_0():
    first, second = make("lumberjacks_v1", 2), make("lumberjacks_v1", 2)
    first.reset()
    second.reset(seed=0)
    same(outputs(first), outputs(second))


@pytest.mark.parametrize("name", SETTINGS)
def test_autoreset_goes_on_with_the_next_episode(name):
    vec, alone = make(name, 4), make(name, 4, autoreset=False)
    vec.reset(seed=3)
    alone.reset(seed=3)
    episodes = np.zeros(4, int)
    kinds = set()
    returns = np.zeros(4)
    for actions in random_actions(vec, 150):
        vec.step(actions)
        alone.step(actions)
        returns += vec.reward
        np.testing.assert_array_equal(alone.world["episode_return"], returns)
        for key in ("reward", "agent_reward", "terminated", "truncated"):
            np.testing.assert_array_equal(getattr(vec, key), getattr(alone, key))
        for key in vec.info:
            np.testing.assert_array_equal(vec.info[key], alone.info[key])
        done = vec.terminated | vec.truncated
        kinds |= set(zip(vec.terminated.tolist(), vec.truncated.tolist(), strict=True))
        np.testing.assert_array_equal(vec.obs[~done], alone.obs[~done])
        if not done.any():
            continue
        for final, last in (("final_obs", "obs"), ("final_state", "state"), ("final_action_mask", "action_mask")):
            np.testing.assert_array_equal(getattr(vec, final)[done], getattr(alone, last)[done])
        episodes += done
        returns[done] = 0
        np.testing.assert_array_equal(vec.world["episode_return"], returns)
        assert vec.world["episode"].tolist() == episodes.tolist()
        assert not vec.world["step"][done].any()
        # The same by hand: the next episode of the finished copies, the others as they are.
        world = alone.get_world()
        fresh = make(name, 4, autoreset=False)
        fresh.reset(seed=3)
        for _ in range(episodes.max()):
            fresh.reset()
            for e in np.flatnonzero(done & (fresh.world["episode"] == episodes)):
                for key in world:
                    world[key][e] = fresh.world[key][e]
        alone.set_world(world)
        np.testing.assert_array_equal(vec.obs, alone.obs)
        np.testing.assert_array_equal(vec.state, alone.state)
    assert kinds == {(False, False), (True, False), (False, True)}  # never both


def test_the_last_masks_of_an_episode_are_kept():
    # In the gridworlds every action is always available.
    kwargs = {"map_name": "3m", "max_steps": 6}
    vec, alone = (marl_gre_envs.make_vec("smac_v0", 2, autoreset=autoreset, **kwargs) for autoreset in (True, False))
    for each in (vec, alone):
        each.reset(seed=0)
        for actions in np.full((6, 2, 3), 4):  # east
            each.step(actions)
    assert vec.truncated.all()
    np.testing.assert_array_equal(vec.final_action_mask, alone.action_mask)
    assert (vec.final_action_mask != vec.action_mask).any()


@pytest.mark.parametrize("name", SETTINGS)
def test_finished_copies_freeze(name):
    vec = make(name, 6, autoreset=False)
    vec.reset(seed=0)
    frozen = {}
    for actions in random_actions(vec, 2 * vec.episode_limit):
        vec.step(actions)
        for e in range(6):
            shown = outputs(vec, e)
            if e in frozen:
                assert shown["reward"] == 0
                assert not shown["agent_reward"].any()
                assert shown["illegal_actions"] == 0
                for key in ("reward", "agent_reward", *vec.info):
                    if key != "agent_done":
                        shown.pop(key)
                same(shown, {key: frozen[e][key] for key in shown})
            elif shown["terminated"] or shown["truncated"]:
                frozen[e] = shown
    assert len(frozen) == 6
    vec.reset()
    assert not (vec.terminated | vec.truncated).any()


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("autoreset", [True, False])
def test_worlds_round_trip_in_mid_episode(name, autoreset):
    vec, other = make(name, 3, autoreset=autoreset), make(name, 3, autoreset=autoreset)
    vec.reset(seed=9)
    actions = random_actions(vec, 60)
    for t in range(60):
        world = vec.get_world()
        other.set_world(world)
        for key in ("obs", "state", "action_mask"):
            np.testing.assert_array_equal(getattr(other, key), getattr(vec, key))
        vec.step(actions[t])
        other.step(actions[t])
        same(outputs(vec), outputs(other))
        assert all((world[key] is not vec.world[key]) for key in world)


@pytest.mark.parametrize("name", SETTINGS)
def test_observe_gives_what_was_output(name):
    vec = make(name, 4)
    vec.reset(seed=1)
    worlds, seen = [], []
    for actions in random_actions(vec, 30):
        worlds.append({key: vec.world[key].copy() for key in vec.observed})
        seen.append((vec.obs.copy(), vec.state.copy(), vec.action_mask.copy()))
        vec.step(actions)
    stacked = {key: np.stack([world[key] for world in worlds]) for key in vec.observed}  # [30, 4, ...]
    live = outputs(vec)
    shaped = {
        (30, 4): lambda x: x,
        (120,): lambda x: x.reshape(120, *x.shape[2:]),
        (5, 6, 2, 2): lambda x: x.reshape(5, 6, 2, 2, *x.shape[2:]),
        (): lambda x: x[7, 2],
        (0, 4): lambda x: x[:0],
    }
    for lead, change in shaped.items():
        found = vec.observe({key: change(value) for key, value in stacked.items()})
        for value, expected in zip(found, (np.stack(parts) for parts in zip(*seen, strict=True)), strict=True):
            assert value.shape[: len(lead)] == lead
            np.testing.assert_array_equal(value, change(expected), strict=True)
    # Other layouts and read-only arrays are as good.
    strange = {key: np.asfortranarray(value) for key, value in stacked.items()}
    for value in strange.values():
        value.setflags(write=False)
    np.testing.assert_array_equal(vec.observe(strange)[0], np.stack([obs for obs, _, _ in seen]))
    same(outputs(vec), live)  # observing changes nothing


def test_observe_refuses_a_wrong_shape():
    vec = make("lumberjacks_v1")
    vec.reset(seed=0)
    world = {key: vec.world[key] for key in vec.observed} | {"trees": np.zeros((1, 3, 4), np.int8)}
    with pytest.raises(ValueError, match=r"world\['trees'\] must have shape \(1, 3, 3\), found \(1, 3, 4\)"):
        vec.observe(world)


@pytest.mark.parametrize(
    ("name", "kwargs", "change", "message"),
    [
        ("traffic_junction_v0", {}, ("route", 100), r"route must be from -1 to 3, found 100 at \[1, 0\]"),
        ("traffic_junction_v0", {}, ("route", -2), r"route must be from -1 to 3, found -2 at \[1, 0\]"),
        ("traffic_junction_v0", {}, ("corner_car", 4), r"corner_car must be from -1 to 3, found 4 at \[1\]"),
        ("traffic_junction_v0", {}, ("corner_car", -2), r"corner_car must be from -1 to 3, found -2 at \[1\]"),
        (
            "smac_v0",
            {"map_name": "3m"},
            ("last_actions", 13),
            r"last_actions must be .* -1 to 8, found 13 at \[1, 0\]",
        ),
        ("smac_v0", {"map_name": "3m"}, ("unit_type", 99), r"unit_type must be from . to ., found 99 at \[1, 0\]"),
    ],
)
def test_observe_refuses_what_kernels_would_use_as_an_index(name, kwargs, change, message):
    vec = marl_gre_envs.make_vec(name, 2, **kwargs)
    vec.reset(seed=0)
    field, value = change
    world = vec.get_world()
    world[field][(1, 0)[: world[field].ndim]] = value
    with pytest.raises(ValueError, match=message):
        vec.observe(world)
    # Cast to the world's own dtype this would look as good as before.
    with pytest.raises(ValueError, match=f"{field} must be from"):
        vec.observe(world | {field: world[field].astype(np.int64) + 2**16})


@pytest.mark.parametrize(
    ("world", "message"),
    [
        ({}, "the world lacks 'agent_pos'; it needs agent_pos, trees, step"),
        ([1], "the world must be a dict, found list"),
        ({"agent_pos": [[[0, 0], [0]]], "trees": 0, "step": 0}, "agent_pos must have rows of one length"),
    ],
)
def test_observe_refuses_what_is_no_world(world, message):
    vec = make("lumberjacks_v0")
    with pytest.raises(ValueError, match=message):
        vec.observe(world)


@pytest.mark.parametrize("name", SETTINGS)
def test_illegal_actions_become_the_noop_and_are_counted(name):
    vec, twin = make(name, 2), make(name, 2)
    vec.reset(seed=0)
    twin.reset(seed=0)
    actions = np.zeros((2, vec.n_agents), int)
    actions[0, 0], actions[0, 1], actions[1, 1] = -1, vec.n_actions, 2**40
    legal = np.where((actions < 0) | (actions >= vec.n_actions), vec.noops[0], actions)
    vec.step(actions)
    twin.step(legal)
    assert vec.info["illegal_actions"].tolist() == [2, 1]
    assert twin.info["illegal_actions"].tolist() == [0, 0]
    np.testing.assert_array_equal(vec.obs, twin.obs)
    np.testing.assert_array_equal(vec.reward, twin.reward)


def test_strict_raises_and_changes_nothing():
    vec = make("lumberjacks_v1", 3, strict=True)
    vec.reset(seed=0)
    before = vec.get_world()
    actions = np.zeros((3, 3), int)
    actions[2, 1] = 5
    with pytest.raises(ValueError, match=r"illegal action 5 of agent_1 in environment 2; legal are \[0, 1, 2, 3, 4\]"):
        vec.step(actions)
    same(before, vec.get_world())


def test_ragged_input_is_refused_in_one_line():
    vec = marl_gre_envs.make_vec("lumberjacks_v1", 2, **JACKS)
    vec.reset(seed=0)
    for call in (
        lambda: vec.step([[0, 0], [0]]),
        lambda: vec.reset(seed=[[1], [1, 2]]),
        lambda: vec.reset(options={"agent_pos": [(0, 0), (1,)], "trees": GOOD_TREES}),
        lambda: vec.set_world(vec.get_world() | {"trees": [[0], [0, 0]]}),
    ):
        with pytest.raises(ValueError, match="^(actions|seed|agent_pos|trees) must have rows of one length") as error:
            call()
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("actions", [[[0]], [[0, 0], [0, 0]], [[0.0, 0.0]], [[True, False]], [["0", "1"]], 0, None])
def test_actions_of_a_wrong_form_raise(actions):
    vec = marl_gre_envs.make_vec("lumberjacks_v1")
    vec.reset(seed=0)
    with pytest.raises(ValueError, match=r"actions must be whole numbers \(1, 2\), found"):
        vec.step(actions)


def test_step_before_reset_raises():
    with pytest.raises(RuntimeError, match="call reset"):
        marl_gre_envs.make_vec("lumberjacks_v1").step([[0, 0]])


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("how", [lambda v: pickle.loads(pickle.dumps(v)), copy.deepcopy])  # noqa: S301
def test_pickles_and_copies_go_on_alike(name, how):
    vec = make(name, 3)
    vec.reset(seed=2)
    actions = random_actions(vec, 40)
    vec.step(actions[0])
    twin = how(vec)
    for t in range(1, 40):
        vec.step(actions[t])
        twin.step(actions[t])
        same(outputs(vec), outputs(twin))
        np.testing.assert_array_equal(vec.final_state, twin.final_state)


@pytest.mark.parametrize("name", SETTINGS)
def test_global_random_state_is_not_used(name):
    import random

    random.seed(1)
    np.random.seed(1)  # noqa: NPY002  (the global state is what this test is about)
    before = random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002
    vec = make(name, 2)
    vec.reset(seed=0)
    for actions in random_actions(vec, 30):
        vec.step(actions)
    assert before == (random.getstate(), np.random.get_state()[1].tolist())  # noqa: NPY002


GOOD_TREES = [[0, 1, 0], [0, 0, 2], [0, 0, 0]]
JACKS = {"grid_shape": (3, 3), "n_trees": 2}
CARS = {"grid_shape": (4, 4), "n_max": 2, "max_steps": 5}
GOOD_CARS = {"pos": [(2, 0), (0, 0)], "on_road": [1, 0], "route": [1, -1], "direction": [(0, 1), (0, 0)]}
BAD_OPTIONS = [
    ("lumberjacks_v1", {"agent_pos": [(0, 0), (1, 1)]}, "options with agent_pos need 'trees' too"),
    ("lumberjacks_v1", {"agent_pos": [(0, 0)], "trees": GOOD_TREES}, r"agent_pos must be numbers of shape \(1, 2, 2\)"),
    ("lumberjacks_v1", {"agent_pos": [(0, 0), (1, 3)], "trees": GOOD_TREES}, r"agent_pos must be from 0 to 2, found 3"),
    ("lumberjacks_v1", {"agent_pos": [(0, 0), (-1, 0)], "trees": GOOD_TREES}, r"found -1 at \[0, 1, 0\]"),
    ("lumberjacks_v1", {"agent_pos": [(0, 0), (0.5, 0)], "trees": GOOD_TREES}, r"found 0\.5 at"),
    ("lumberjacks_v1", {"agent_pos": [(0, 0), (np.nan, 0)], "trees": GOOD_TREES}, r"found nan at"),
    ("lumberjacks_v1", {"agent_pos": [(0, 0), (np.inf, 0)], "trees": GOOD_TREES}, r"found inf at"),
    ("lumberjacks_v1", {"agent_pos": [(0, 0), ("a", 0)], "trees": GOOD_TREES}, r"agent_pos must be numbers"),
    (
        "lumberjacks_v1",
        {"agent_pos": [(0, 0), (1, 1)], "trees": np.full((3, 3), 3)},
        r"trees must be from 0 to 2, found 3",
    ),
    (
        "lumberjacks_v1",
        {"agent_pos": [(0, 0), (1, 1)], "tree": GOOD_TREES},
        r"unknown option 'tree'; did you mean 'trees'",
    ),
    ("traffic_junction_v0", {"pos": GOOD_CARS["pos"]}, "options with pos need 'on_road' too"),
    ("traffic_junction_v0", GOOD_CARS | {"on_road": [2, 0]}, "on_road must be from 0 to 1, found 2"),
    (
        "traffic_junction_v0",
        GOOD_CARS | {"route": [0, -1]},
        r"route must be 1, 2, 3, or -1 for none yet; car 0 of environment 0",
    ),
    ("traffic_junction_v0", GOOD_CARS | {"route": [-1, -1]}, r"on the road must have a route from 1 to 3; car 0"),
    ("traffic_junction_v0", GOOD_CARS | {"pos": [(0, 0), (0, 0)]}, r"must be in row or column 1 or 2; car 0"),
    ("traffic_junction_v0", GOOD_CARS | {"direction": [(1, 1), (0, 0)]}, r"must have one of the 4 directions; car 0"),
    ("traffic_junction_v0", GOOD_CARS | {"direction": [(0, 0), (0, 0)]}, r"must have one of the 4 directions; car 0"),
    ("traffic_junction_v0", GOOD_CARS | {"arrivals": [(1, 0, 0, 1)]}, r"at one of the gates .*, found \[1, 0, 0, 1\]"),
    ("traffic_junction_v0", GOOD_CARS | {"arrivals": [(1, 3, 2, -1)]}, r"found \[1, 3, 2, -1\]"),
    ("traffic_junction_v0", GOOD_CARS | {"arrivals": [(2, 3, 2, 1)]}, r"arrivals must be from -1 to 1, found 2"),
    ("traffic_junction_v0", GOOD_CARS | {"arrivals": [(-1, -1, -1, -1)] * 6}, r"arrivals must be numbers of shape"),
    ("traffic_junction_v0", GOOD_CARS | {"arrivals": [(1, 3, 2)]}, r"arrivals must be numbers of shape"),
    ("lumberjacks_v1", ["trees"], "options must be a dict, found list"),
    ("traffic_junction_v0", GOOD_CARS | {"arrivals": 3}, r"arrivals must be numbers of shape"),
]


@pytest.mark.parametrize(("name", "options", "message"), BAD_OPTIONS)
def test_bad_options_are_refused_in_one_line(name, options, message):
    vec = marl_gre_envs.make_vec(name, **(JACKS if name.startswith("lumber") else CARS))
    vec.reset(seed=0)
    before = vec.get_world()
    with pytest.raises(ValueError, match=message) as error:
        vec.reset(seed=5, options=options)
    assert "\n" not in str(error.value)
    same(before, vec.get_world())


def test_options_of_others_are_left_alone():
    vec = marl_gre_envs.make_vec("lumberjacks_v1")
    vec.reset(seed=0, options={"some wrapper's": 1})
    assert vec.world["seed"][0] == 0


def test_options_for_each_copy_or_for_all():
    vec = marl_gre_envs.make_vec("lumberjacks_v1", 2, **JACKS)
    vec.reset(options={"agent_pos": [(0, 0), (1, 1)], "trees": GOOD_TREES})
    assert vec.world["agent_pos"].tolist() == [[[0, 0], [1, 1]]] * 2
    both = [[(0, 0), (1, 1)], [(2, 2), (2, 1)]]
    vec.reset(options={"agent_pos": both, "trees": GOOD_TREES})
    assert vec.world["agent_pos"].tolist() == [[list(cell) for cell in cells] for cells in both]
    vec.reset()
    assert vec.world["agent_pos"].tolist() != [[list(cell) for cell in cells] for cells in both]


BAD_WORLDS = [
    (lambda w: w.pop("trees"), "the world lacks 'trees'"),
    (lambda w: w.update(tres=w["trees"]), "unknown field of the world: 'tres'; did you mean 'trees'"),
    (lambda w: w["step"].fill(101), "step must be from 0 to 100, found 101"),
    (lambda w: w["step"].fill(100), "step must be below 100 while an episode runs, found 100"),
    (lambda w: w["ended"].fill(3), "ended must be from 0 to 2, found 3"),
    (lambda w: w["episode_return"].fill(np.nan), "found nan"),
    (lambda w: w.update(trees=w["trees"][:, 1:]), r"trees must be numbers of shape \(2, 5, 5\)"),
]


@pytest.mark.parametrize(("spoil", "message"), BAD_WORLDS)
def test_bad_worlds_are_refused(spoil, message):
    vec = marl_gre_envs.make_vec("lumberjacks_v1", 2)
    vec.reset(seed=0)
    world = vec.get_world()
    before = vec.get_world()
    spoil(world)
    with pytest.raises(ValueError, match=message):
        vec.set_world(world)
    same(before, vec.get_world())


def test_an_ended_world_stays_ended():
    vec = make("lumberjacks_v1", 1, autoreset=False)
    vec.reset(seed=0)
    while not (vec.terminated | vec.truncated).any():
        vec.step(random_actions(vec, 1, illegal=False)[0])
    twin = make("lumberjacks_v1", 1)  # autoreset does not apply to an episode it did not play
    twin.set_world(vec.get_world())
    assert (twin.terminated[0], twin.truncated[0]) == (vec.terminated[0], vec.truncated[0])
    twin.step(np.zeros((1, twin.n_agents), int))
    same({"obs": twin.obs, "reward": twin.reward}, {"obs": vec.obs, "reward": np.zeros(1)})


@pytest.mark.parametrize("name", ["traffic_junction_v1", "smac_v0"])
def test_a_world_at_the_time_limit_must_have_ended(name):
    vec = marl_gre_envs.make_vec(name, autoreset=False, max_steps=2)
    vec.reset(seed=0)
    for _ in range(2):
        vec.step(np.zeros((1, vec.n_agents), int))
    world = vec.get_world()
    vec.set_world(world)
    assert vec.truncated[0]
    world["ended"][:] = 0
    with pytest.raises(ValueError, match="step must be below 2 while an episode runs, found 2"):
        vec.set_world(world)


BAD_KEYWORDS = [
    (
        "lumberjacks_v0",
        {"n_agent": 2},
        TypeError,
        "unknown keyword of lumberjacks_v0: 'n_agent'; did you mean 'n_agents'",
    ),
    ("lumberjacks_v0", {"n_agents": 0}, ValueError, "n_agents must be a whole number from 1 to 25, found 0"),
    ("lumberjacks_v0", {"n_agents": 2.0}, ValueError, "n_agents must be a whole number"),
    ("lumberjacks_v0", {"n_agents": True}, ValueError, "n_agents must be a whole number"),
    ("lumberjacks_v0", {"n_trees": 24}, ValueError, "n_trees must be a whole number from 0 to 23"),
    ("lumberjacks_v0", {"grid_shape": 5}, ValueError, "grid_shape must be two whole numbers"),
    ("lumberjacks_v0", {"grid_shape": (5, 128)}, ValueError, r"grid_shape\[1\] must be a whole number from 1 to 127"),
    ("lumberjacks_v0", {"grid_shape": "55"}, ValueError, "grid_shape must be two whole numbers"),
    ("lumberjacks_v0", {"agent_view": (5, 1)}, ValueError, r"agent_view\[0\] must be a whole number from 0 to 4"),
    ("lumberjacks_v1", {"agent_view": (6, 1)}, ValueError, r"agent_view\[0\] must be a whole number from 0 to 5"),
    ("lumberjacks_v0", {"step_cost": np.nan}, ValueError, "step_cost must be a finite number"),
    ("lumberjacks_v0", {"step_cost": "1"}, ValueError, "step_cost must be a finite number"),
    ("lumberjacks_v0", {"max_steps": 0}, ValueError, "max_steps must be a whole number from 1 to 32767"),
    ("lumberjacks_v0", {"full_observable": 1}, ValueError, "full_observable must be true or false"),
    ("lumberjacks_v0", {"team_reward": "avg"}, ValueError, "unknown team_reward 'avg'.*[Aa]llowed: sum, mean"),
    ("lumberjacks_v0", {"border": "close"}, ValueError, "unknown border 'close'.*[Aa]llowed: open, clipped"),
    ("lumberjacks_v0", {"border": np.array(["open", "open"])}, ValueError, "unknown border array"),
    ("lumberjacks_v0", {"step_cost": 10**400}, ValueError, "step_cost must be a finite number, found 1000"),
    ("lumberjacks_v0", {"grid_shape": np.array(5)}, ValueError, "grid_shape must be two whole numbers"),
    ("lumberjacks_v0", {"grid_shape": {5, 4}}, ValueError, "grid_shape must be two whole numbers"),  # in which order?
    ("lumberjacks_v0", {"n_agents": np.ones((2, 2))}, ValueError, r"found array\(\[\[1., 1.\], \[1., 1.\]\]\)"),
    ("lumberjacks_v0", {"strict": None}, ValueError, "strict must be true or false"),
    ("lumberjacks_v0", {"num_envs": 0}, ValueError, "num_envs must be a whole number from 1"),
    ("lumberjacks_v0", {"autoreset": 1}, ValueError, "autoreset must be true or false"),
    ("lumberjacks_v0", {"core": 1}, TypeError, "unknown keyword of lumberjacks_v0: 'core'"),
    ("smac_v0", {"map_name": ["3m"]}, ValueError, r"unknown map_name \['3m'\]"),
    ("smac_v0", {"push_weights": 3}, ValueError, r"push_weights must be three numbers \(.*\), found 3"),
    ("smac_v0", {"push_weights": (1, 2)}, ValueError, r"push_weights must be three numbers \(.*\), found \(1, 2\)"),
    ("smac_v0", {"push_weights": np.array(3.0)}, ValueError, r"push_weights must be three numbers"),
    # 8 * (10 + 45) for the enemies of 8m
    ("smac_v0", {"reward_win": -440}, ValueError, "make the greatest return 0; with reward_scale it must be greater"),
    ("traffic_junction_v0", {"n_max": 0}, ValueError, "n_max must be a whole number from 1 to 127"),
    ("traffic_junction_v0", {"grid_shape": (14, 15)}, ValueError, r"grid_shape must be square, found \(14, 15\)"),
    (
        "traffic_junction_v0",
        {"grid_shape": (3, 3)},
        ValueError,
        r"grid_shape\[0\] must be a whole number from 4 to 127",
    ),
    ("traffic_junction_v0", {"arrive_prob": 1.5}, ValueError, "arrive_prob must lie from 0 to 1, found 1.5"),
    ("traffic_junction_v0", {"collision": "overlapp"}, ValueError, "did you mean 'overlap'"),
    ("traffic_junction_v1", {"arrivals": "per gate"}, ValueError, "did you mean 'per_gate'"),
    ("traffic_junction_v1", {"off_road": 0}, ValueError, "unknown off_road 0"),
]


@pytest.mark.parametrize(("name", "kwargs", "kind", "message"), BAD_KEYWORDS)
def test_bad_keywords_are_refused_in_one_line(name, kwargs, kind, message):
    with pytest.raises(kind, match=message) as error:
        marl_gre_envs.make_vec(name, **kwargs)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("seed", [-1, 1.5, "3", [1, 2, 3], [1, -1], True, [0.5, 1], 2**63])
def test_bad_seeds_are_refused(seed):
    vec = marl_gre_envs.make_vec("lumberjacks_v1", 2)
    with pytest.raises(ValueError, match="seed"):
        vec.reset(seed=seed)


def test_names(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="unknown environment 'lumberjack_v0'; did you mean 'lumberjacks_v0'"):
        marl_gre_envs.make_vec("lumberjack_v0")
    with pytest.raises(ValueError, match="[Aa]llowed: lumberjacks_v0, lumberjacks_v1, traffic_junction_v0"):
        marl_gre_envs.make("smack")
    with pytest.raises(ValueError, match=r"unknown environment \['smac_v0'\]"):
        marl_gre_envs.make(["smac_v0"])
    with pytest.raises(ValueError, match="module 'no_such_module' cannot be imported"):
        marl_gre_envs.make("no_such_module:parallel_env")
    (tmp_path / "broken_module.py").write_text("def factory(:")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ValueError, match="module 'broken_module' cannot be imported: invalid syntax"):
        marl_gre_envs.make("broken_module:factory")
    (tmp_path / "failing_module.py").write_text(r"raise RuntimeError('two\nlines')")
    with pytest.raises(ValueError, match=r"module 'failing_module' cannot be imported: two lines\.$"):
        marl_gre_envs.make("failing_module:factory")
    with pytest.raises(ValueError, match="unknown factory in module marl_gre_envs.*: 'paralel_env'; did you mean"):
        marl_gre_envs.make("marl_gre_envs.lumberjacks_v0:paralel_env")
    assert marl_gre_envs.results_version("lumberjacks_v0") == 1
    assert marl_gre_envs.results_version("math:sin") == 0


def play(vec, steps):
    vec.reset(seed=0)
    for actions in random_actions(vec, steps):
        vec.step(actions)
        assert np.isfinite(vec.obs).all()
        assert (vec.obs >= 0).all()
        assert (vec.obs <= 1).all()
        assert np.isfinite(vec.reward).all()
        obs, state, mask = vec.observe(vec.world)
        np.testing.assert_array_equal(obs, vec.obs)
        np.testing.assert_array_equal(state, vec.state)
        np.testing.assert_array_equal(mask, vec.action_mask)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_lumberjacks_corners(data):
    clipped = data.draw(st.booleans())
    rows, columns = data.draw(st.integers(1, 6)), data.draw(st.integers(1, 6))
    n_agents = data.draw(st.integers(1, min(4, rows * columns)))
    spare = 1 if clipped else 0
    vec = marl_gre_envs.make_vec(
        "lumberjacks_v0" if clipped else "lumberjacks_v1",
        data.draw(st.integers(1, 3)),
        grid_shape=(rows, columns),
        n_agents=n_agents,
        n_trees=data.draw(st.integers(0, rows * columns - n_agents)),
        agent_view=(data.draw(st.integers(0, rows - spare)), data.draw(st.integers(0, columns - spare))),
        full_observable=data.draw(st.booleans()),
        max_steps=data.draw(st.integers(1, 10)),
    )
    play(vec, 25)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_traffic_junction_corners(data):
    size = data.draw(st.integers(4, 9))
    vec = marl_gre_envs.make_vec(
        data.draw(st.sampled_from(["traffic_junction_v0", "traffic_junction_v1"])),
        data.draw(st.integers(1, 3)),
        grid_shape=(size, size),
        n_max=data.draw(st.integers(1, 12)),
        arrive_prob=data.draw(st.sampled_from([0, 0.3, 1])),
        collision=data.draw(st.sampled_from(["block", "overlap"])),
        arrivals=data.draw(st.sampled_from(["one", "per_gate"])),
        off_road=data.draw(st.sampled_from(["observe", "zero"])),
        full_observable=data.draw(st.booleans()),
        max_steps=data.draw(st.integers(1, 30)),
    )
    play(vec, 40)
    world = vec.world
    if vec.collision == "block":  # nobody shares a cell
        for e in range(vec.num_envs):
            cells = world["pos"][e][world["on_road"][e] & ~world["finished"][e]].tolist()
            assert len({tuple(cell) for cell in cells}) == len(cells)


def test_one_cell_is_enough():
    # One agent, no tree: the first step finds no tree standing.
    for name in ("lumberjacks_v0", "lumberjacks_v1"):
        vec = marl_gre_envs.make_vec(name, grid_shape=(1, 1), n_agents=1, n_trees=0, agent_view=(0, 0), autoreset=False)
        vec.reset(seed=0)
        assert vec.obs[0, 0].tolist() == [0, 0, 0, 0, 1, 0]  # coordinates 0, one agent of one here, no tree
        vec.step([[1]])
        assert vec.terminated[0]
        assert vec.reward[0] == -1


@pytest.mark.parametrize("name", ["lumberjacks_v1", "traffic_junction_v1", "smac_v0", "corridor:parallel_env"])
@pytest.mark.parametrize("index", [2, -1, "0"])
def test_pictures_of_no_environment_are_refused(name, index):
    vec = marl_gre_envs.make_vec(name, 2)
    vec.reset(seed=0)
    with pytest.raises(ValueError, match=f"index must be a whole number from 0 to 1, found {index!r}"):
        vec.render(index)


def test_context_manager_and_close():
    with marl_gre_envs.make_vec("lumberjacks_v1") as vec:
        vec.close()
    vec.close()


def test_arrivals_of_any_number_type():
    for dtype in (np.uint8, np.int64, np.float32):
        vec = marl_gre_envs.make_vec("traffic_junction_v0", **CARS)
        vec.reset(options=GOOD_CARS | {"arrivals": np.array([(1, 3, 2, 1)], dtype)})
        vec.step([[1, 1]])
        assert vec.world["pos"][0].tolist() == [[2, 0], [3, 2]]
