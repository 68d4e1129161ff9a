"""smac_v0 from outside: ids, PettingZoo, Gymnasium, infos, dead agents, ends, options and their mistakes, pictures."""

import functools
import warnings

import gymnasium
import numpy as np
import pettingzoo
import pytest

import marl_gre_envs
from helpers import pixels, unit_row
from marl_gre.testing import check_env
from marl_gre_envs import smac_v0
from marl_gre_envs.parallel import MaskInObservation
from marl_gre_envs.smac import rendering
from marl_gre_envs.smac.maps import MAPS, SCENARIOS

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # pettingzoo.test imports PettingZoo's old modules
    from pettingzoo.test import api_test, parallel_api_test, parallel_seed_test, state_test


def make(name, **kwargs):
    return smac_v0.parallel_env(map_name=name, **kwargs)


def last_enemy(hp=1.0, dead_agents=()):
    """A world of 3m: one enemy with hp left, at distance 2 of the three agents, and maybe dead agents."""
    ally = [unit_row("marine", 10, 15 + i, 0.0 if i in dead_agents else None) for i in range(3)]
    enemy = [unit_row("marine", 12, 16, hp), unit_row("marine", 20, 16, 0.0), unit_row("marine", 21, 16, 0.0)]
    return {"ally": ally, "enemy": enemy}


def legal(infos, rng):
    return {agent: rng.choice(np.flatnonzero(info["action_mask"])) for agent, info in infos.items()}


# Not all zeros is meant: the dead observe nothing.
zeros_allowed = pytest.mark.filterwarnings("ignore:Observation numpy array is all zeros")


@pytest.mark.parametrize("name", [*MAPS, *SCENARIOS])
def test_every_map_has_its_ids(name):
    for form in ("parallel", "aec"):
        spec = pettingzoo.spec(form, f"smac/{name}_v0")
        assert (spec.kwargs, spec.entry_point.partition(":")[0]) == ({"map_name": name}, "marl_gre_envs.smac_v0")
    spec = gymnasium.spec(f"smac/{name}-v0")
    assert spec.kwargs == {"name": "smac_v0", "map_name": name}


def test_ids_make_their_map():
    assert pettingzoo.make("parallel", "smac/3s_vs_5z_v0").core.map_name == "3s_vs_5z"
    assert len(pettingzoo.make("aec", "smac/MMM2_v0").possible_agents) == 10
    assert gymnasium.make("smac/2s3z-v0", obs_last_action=True).unwrapped.core.obs_dim == 80 + 4 * 11
    assert marl_gre_envs.make_vec("smac_v0", 4, map_name="3m").obs.shape == (4, 3, 30)
    assert marl_gre_envs.results_version("smac_v0") == smac_v0.RESULTS_VERSION


@zeros_allowed
@pytest.mark.parametrize("name", ["3s_vs_5z", "MMM", "terran_5_vs_5"])
def test_pettingzoo_api(name, capsys):
    parallel_api_test(make(name), num_cycles=150)
    parallel_api_test(MaskInObservation(make(name)), num_cycles=50)
    api_test(smac_v0.env(map_name=name), num_cycles=50)
    parallel_seed_test(functools.partial(make, name), num_cycles=100)
    state_test(smac_v0.env(map_name=name), make(name))


@pytest.mark.parametrize("name", ["2s3z", "bane_vs_bane", "corridor"])
def test_check_env(name):
    # A random team of corridor may meet the enemies late, but never lasts 400 steps.
    check_env(functools.partial(make, name), ends=("terminated",), seeds=2, episodes=2)


def test_names():
    env = make("MMM2")
    assert env.possible_agents == [f"agent_{i}" for i in range(10)]
    assert env.core.action_names == ["no-op", "stop", "north", "south", "east", "west"] + [
        f"attack_{k}" for k in range(12)
    ]
    assert env.metadata["name"] == "smac_v0"


def test_info_and_spaces():
    env = make("3m", max_steps=30)
    obs, infos = env.reset(seed=0)
    rng = np.random.default_rng(0)
    keys = {"action_mask", "agent_reward", "agent_done", "illegal_actions", "dead_allies", "dead_enemies"}
    keys |= {"battle_won", "episode_limit"}
    while env.agents:
        for i, (agent, info) in enumerate(infos.items()):
            assert set(info) == keys
            np.testing.assert_array_equal(info["action_mask"], env.core.action_mask[0, i])
            assert env.observation_space(agent).contains(obs[agent])
        assert env.state_space.contains(env.state())
        obs, rewards, terminations, truncations, infos = env.step(legal(infos, rng))
        # One reward for all, and each agent's own is the same.
        assert set(rewards.values()) == {info["agent_reward"] for info in infos.values()}
        assert len(set(rewards.values())) == len(set(terminations.values())) == len(set(truncations.values())) == 1


def test_the_dead_stay_and_wait():
    env = make("3m")
    obs, infos = env.reset(seed=0, options=last_enemy(45.0, dead_agents=(1,)))
    assert env.agents == ["agent_0", "agent_1", "agent_2"]
    assert infos["agent_1"]["action_mask"].tolist() == [1] + [0] * 8
    assert not obs["agent_1"].any()
    assert infos["agent_0"]["action_mask"].tolist() == [0, 1, 1, 1, 1, 1, 1, 0, 0]
    # An illegal action of the dead becomes no-op, of the living stop.
    _, _, _, _, infos = env.step({"agent_0": 0, "agent_1": 1, "agent_2": 8})
    assert infos["agent_0"]["illegal_actions"] == 3
    assert [info["agent_done"] for info in infos.values()] == [False, True, False]
    assert env.core.world["last_actions"][0].tolist() == [1, 0, 1]
    assert env.agents


def test_victory():
    env = make("3m")
    env.reset(seed=0, options=last_enemy())
    _, rewards, terminations, truncations, infos = env.step(dict.fromkeys(env.agents, 6))
    assert (terminations["agent_0"], truncations["agent_0"]) == (True, False)
    assert infos["agent_0"]["battle_won"] is True
    assert infos["agent_0"]["dead_enemies"] == 3
    # 1 hp, 10 for the kill and 200 for the victory; 365 / 20 is SMAC's scale of 3m.
    assert rewards["agent_0"] == pytest.approx((1 + 10 + 200) / 18.25)
    assert not env.agents


def test_time_limit():
    env = make("3m", max_cycles=2)
    env.reset(seed=0)
    for last in (False, True):
        _, _, terminations, truncations, infos = env.step(dict.fromkeys(env.agents, 1))
        assert infos["agent_0"]["episode_limit"] is last
        assert (terminations["agent_0"], truncations["agent_0"]) == (False, last)
        assert infos["agent_0"]["battle_won"] is False


def test_gymnasium_joint_form_shares_the_reward():
    env = gymnasium.make("smac/3m-v0")
    obs, info = env.reset(seed=0, options=last_enemy())
    assert env.observation_space.contains(obs)
    assert info["action_mask"].shape == (3, 9)
    _, rewards, terminated, truncated, info = env.step((6, 6, 6))
    # Trainers that add the list up get SMAC's reward.
    assert sum(rewards) == pytest.approx(info["team_reward"]) == pytest.approx(211 / 18.25)
    assert (terminated, truncated) == (True, False)


def test_options_reach_the_env():
    flags = {"obs_last_action": True, "obs_pathing_grid": True, "obs_terrain_height": True}
    env = make("3m", **flags, obs_timestep_number=True, state_timestep_number=True)
    # 30 and 8 + 9 cells, 2 x 9 last actions, the time; 48 and the time.
    assert (env.core.obs_dim, env.core.state_dim) == (30 + 17 + 18 + 1, 49)
    env = make("3m", obs_instead_of_state=True)
    env.reset(seed=0)
    np.testing.assert_array_equal(env.state(), env.core.obs.ravel())
    env = make("3m", reward_scale=False, reward_win=7, reward_death_value=3)
    env.reset(seed=0, options=last_enemy())
    assert env.step(dict.fromkeys(env.agents, 6))[1]["agent_0"] == 1 + 3 + 7
    env = make("3m", reward_sparse=True)
    env.reset(seed=0, options=last_enemy())
    assert env.step(dict.fromkeys(env.agents, 6))[1]["agent_0"] == 1


def test_copies_pick_up_where_the_single_env_is():
    """The batched face and the single one, with and without a given world."""
    for options in (None, last_enemy(45.0)):
        vec, env = smac_v0.vector_env(3, map_name="3m"), make("3m")
        vec.reset(seed=4, options=options)
        _, infos = env.reset(seed=6, options=options)
        rng = np.random.default_rng(0)
        for _ in range(10):
            actions = legal(infos, rng)
            vec.step(np.tile(list(actions.values()), (3, 1)))
            obs, rewards, _, _, infos = env.step(actions)
            if not env.agents:
                break
            np.testing.assert_array_equal(vec.obs[2], list(obs.values()))
            assert vec.reward[2] == rewards["agent_0"]


@pytest.mark.parametrize(
    ("kwargs", "error", "message"),
    [
        ({"map_name": "3s5s"}, ValueError, "unknown map_name '3s5s'; did you mean '3s5z'"),
        ({"map_name": "teran_5_vs_5"}, ValueError, "did you mean 'terran_5_vs_5'"),
        ({"map_name": 3}, ValueError, "unknown map_name 3"),
        ({"backend": "embeded"}, ValueError, "unknown backend 'embeded'; did you mean 'embedded'"),
        ({"obs_last_actions": True}, TypeError, "unknown keyword of smac_v0: 'obs_last_actions'; did you mean 'obs_la"),
        ({"difficulty": "7"}, ValueError, "difficulty is an option of backend='starcraft'"),
        ({"backend": "starcraft", "missiles": False}, ValueError, "missiles is an option of backend='embedded'"),
        ({"backend": "starcraft", "max_cycles": 9}, ValueError, "max_steps is an option of backend='embedded'"),
        ({"start_positions": "reflect"}, ValueError, "start_positions is an option of scenarios; 8m always"),
        ({"map_name": "zerg_5_vs_5", "start_positions": "reflekt"}, ValueError, "did you mean 'reflect'"),
        ({"spawn_layout": "jitter"}, ValueError, "unknown spawn_layout 'jitter'; did you mean 'rings_jitter'"),
        ({"obs_instead_of_state": True, "state_timestep_number": True}, ValueError, "use obs_timestep_number"),
        ({"reward_clamp": True, "reward_only_positive": False}, ValueError, "reward_clamp replaces"),
        ({"reward_scale_rate": -1}, ValueError, "reward_scale_rate must be greater than 0"),
        ({"max_steps": 0}, ValueError, "max_steps must be a whole number from 1"),
        ({"obs_all_health": "yes"}, ValueError, "obs_all_health must be true or false"),
    ],
)
def test_mistakes_are_one_line(kwargs, error, message):
    with pytest.raises(error, match=message) as caught:
        smac_v0.parallel_env(**kwargs)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ally": np.zeros((2, 8))}, r"ally must be numbers of shape \(1, 3, 8\), found .* \(1, 2, 8\)"),
        ({"enemy": [unit_row("marine", 12, 16, np.nan)] * 3}, "enemy must be from 0"),
        ({"enemy": [unit_row("marine", 33, 16)] * 3}, r"enemy must be from 0.0 to 32.0, found 33.0 at \[0, 0, 0\]"),
        ({"ally": [unit_row("marine", 12, 16, 46.0)] * 3}, "ally must be from 0.0 to 45.0, found 46.0"),
        ({"last_actions": [9, 1, 1]}, "last_actions must be from -1 to 8, found 9"),
        ({"ally": None}, "ally must be numbers"),
    ],
)
def test_given_worlds_are_checked(change, message):
    env = make("3m")
    env.reset(seed=0)
    before = env.core.get_world()
    with pytest.raises(ValueError, match=message):
        env.reset(seed=0, options=last_enemy() | change)
    for name, value in before.items():
        np.testing.assert_array_equal(value, env.core.world[name])


def test_starcraft_stands_behind_the_same_face():
    env = smac_v0.parallel_env(map_name="3m", backend="starcraft", env_class="fake_smac:StarCraft2Env")
    try:
        assert env.core.backend == "starcraft"
        _, infos = env.reset(seed=0)
        rng = np.random.default_rng(0)
        for _ in range(3):
            _, rewards, _, _, infos = env.step(legal(infos, rng))
            assert len(set(rewards.values())) == 1
        assert env.state_space.contains(env.state())
    finally:
        env.close()
    with pytest.raises(RuntimeError, match="closed: make it anew"):
        env.reset()


def test_pictures_show_both_sides_and_their_bars():
    env = make("2s3z", render_mode="rgb_array")
    env.reset(seed=0)
    picture = env.render()
    assert (picture.dtype, picture.shape) == (np.uint8, (728, 960, 3))
    for color in (rendering.AGENT, rendering.ENEMY, rendering.HP_HIGH, rendering.SHIELD_BAR, rendering.WALL):
        assert pixels(picture, color) > 100, color
    # A circle of an agent's sight, only if asked for.
    chosen = env.core.render(0, agent=1)
    assert chosen.shape == picture.shape
    assert pixels(chosen, rendering.SIGHT) > pixels(picture, rendering.SIGHT) + 100
    with pytest.raises(ValueError, match="agent must be a whole number from 0 to 4, found 5"):
        env.core.render(0, agent=5)


def test_pictures_show_what_happens():
    env = make("3m")
    options = last_enemy(45.0, dead_agents=(1,))
    env.reset(seed=0, options=options)
    before = env.core.render()
    assert pixels(before, rendering.DEAD) > 20
    assert pixels(before, rendering.AGENT_LINE) == 0
    env.step({"agent_0": 6, "agent_1": 0, "agent_2": 1})
    after = env.core.render()
    # Agent 0 attacks, the enemy has lost hp.
    assert pixels(after, rendering.AGENT_LINE) > 20
    assert pixels(after, rendering.EMPTY) > pixels(before, rendering.EMPTY)


@pytest.mark.parametrize("name", ["MMM", "2c_vs_64zg", "2s_vs_1sc", "so_many_baneling", "zerg_20_vs_23"])
def test_every_kind_can_be_drawn(name):
    vec = smac_v0.vector_env(1, map_name=name)
    vec.reset(seed=0)
    assert max(vec.render(0, agent=0).shape[:2]) <= 1100
