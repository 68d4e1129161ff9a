"""Random scenarios: sizes, the two distributions, numbering, determinism, given worlds, play."""

import numpy as np
import pytest

from helpers import random_actions, unit_row
from marl_gre.testing import check_env
from marl_gre_envs import smac_v0
from marl_gre_envs.smac.maps import SCENARIOS
from marl_gre_envs.smac.scenarios import _team
from marl_gre_envs.smac.units import FLIES, MEDIVAC, RADIUS, TALL, TYPE_ID, TYPE_NAMES, UNIT_TABLE

RACES = {
    "protoss": {"stalker": 0.45, "zealot": 0.45, "colossus": 0.1},
    "terran": {"marine": 0.45, "marauder": 0.45, "medivac": 0.1},
    "zerg": {"zergling": 0.45, "baneling": 0.1, "hydralisk": 0.45},
}


def make(name, num_envs=1, **kwargs):
    return smac_v0.vector_env(num_envs, map_name=name, **kwargs)


def started(name, num_envs, seed=0, **kwargs):
    vec = make(name, num_envs, **kwargs)
    vec.reset(seed=seed)
    return vec


def test_smacv2s_sizes():
    found = {name: (s.n_agents, s.n_enemies, s.episode_limit) for name, s in SCENARIOS.items()}
    sizes = [(5, 5), (10, 10), (10, 11), (20, 20), (20, 23)]
    assert found == {f"{race}_{a}_vs_{e}": (a, e, 200) for race in RACES for a, e in sizes}


# SMACv2's rows have 3 type bits and its agents see their own place: 4 moves + N (5 + shield + 3) + (A - 1) (5 + shield
# + 3) + own (1 + shield + 3 + 2); state A (4 + shield + 3) + N (3 + shield + 3) + A (6 + N).
@pytest.mark.parametrize(
    ("name", "obs", "state"),
    [
        ("terran_5_vs_5", 4 + 5 * 8 + 4 * 8 + 6, 5 * 7 + 5 * 6 + 5 * 11),
        ("protoss_5_vs_5", 4 + 5 * 9 + 4 * 9 + 7, 5 * 8 + 5 * 7 + 5 * 11),
        ("zerg_10_vs_11", 4 + 11 * 8 + 9 * 8 + 6, 10 * 7 + 11 * 6 + 10 * 17),
        ("protoss_20_vs_23", 4 + 23 * 9 + 19 * 9 + 7, 20 * 8 + 23 * 7 + 20 * 29),
    ],
)
def test_dimensions(name, obs, state):
    vec = make(name)
    assert (vec.obs_dim, vec.state_dim, vec.n_actions) == (obs, state, 6 + vec.n_enemies)


@pytest.mark.parametrize("race", RACES)
def test_kinds_follow_the_weights(race):
    vec = started(f"{race}_10_vs_11", 2000)
    kinds = vec.world["unit_type"]
    draws = kinds[:, :10].size
    for name, weight in RACES[race].items():
        share = (kinds[:, :10] == TYPE_ID[name]).mean()
        # Five standard deviations of a share of 20,000 independent draws, at most 0.018.
        assert share == pytest.approx(weight, abs=5 * np.sqrt(weight * (1 - weight) / draws)), name
    # The enemies have the same team, in any order, and one unit more, which is never a helper.
    np.testing.assert_array_equal(np.sort(kinds[:, 10:20]), np.sort(kinds[:, :10]))
    helpers = {"terran": "medivac", "zerg": "baneling"}.get(race)
    assert (TYPE_NAMES.index(helpers) in kinds[:, 20]) is False if helpers else len(np.unique(kinds[:, 20])) == 3


def test_helpers_alone_are_no_team():
    out = np.zeros(2, np.int8)
    for key in range(200):
        # 0.81 of all draws are two helpers.
        _team(np.uint64(key), 20, np.array([7, 8], np.int8), np.array([0.1, 1.0]), np.array([False, True]), out)
        assert 7 in out


@pytest.mark.parametrize("name", ["terran_5_vs_5", "protoss_20_vs_23", "zerg_20_vs_23"])
@pytest.mark.parametrize("start_positions", ["reflect", "surrounded"])
def test_everybody_has_room(name, start_positions):
    vec = started(name, 200, start_positions=start_positions)
    kinds, pos = vec.world["unit_type"], vec.world["pos"]
    radius, plane = UNIT_TABLE[kinds, RADIUS], UNIT_TABLE[kinds, FLIES] + 2 * UNIT_TABLE[kinds, TALL]
    assert ((pos >= radius[..., None]) & (pos <= 32 - radius[..., None])).all()
    apart = np.sqrt(((pos[:, :, None] - pos[:, None]) ** 2).sum(-1))
    together = plane[:, :, None] == plane[:, None]
    together &= ~np.eye(kinds.shape[1], dtype=bool)
    assert (apart >= radius[:, :, None] + radius[:, None] - 1e-9)[together].all()


def test_reflect_is_a_mirror_image():
    vec = started("zerg_5_vs_5", 300, start_positions="reflect")
    kinds, pos = vec.world["unit_type"], vec.world["pos"]
    # Agents start in x 0..15, enemies in 17..32; only pushing apart moves anybody across.
    assert (pos[:, :5, 0] <= 15).mean() > 0.99
    assert (pos[:, 5:, 0] >= 17).mean() > 0.99
    exact = 0
    for types, places in zip(kinds, pos, strict=True):
        mirrored = np.c_[types[:5], 32 - places[:5, 0], places[:5, 1]]
        enemies = np.c_[types[5:], places[5:]]
        order = [np.lexsort(rows.T.round(9)) for rows in (mirrored, enemies)]
        exact += np.allclose(mirrored[order[0]], enemies[order[1]], atol=1e-9)
    # Both sides are pushed apart alike; only in the middle, between the sides, the order of the pairs matters.
    assert exact >= 290
    # All of the ground is used.
    assert pos[:, :5, 0].min() < 1 < 14 < pos[:, :5, 0].max()
    assert pos[:, :5, 1].min() < 1 < 31 < pos[:, :5, 1].max()


def test_more_enemies_come_from_the_east():
    pos = started("zerg_10_vs_11", 300, start_positions="reflect").world["pos"]
    assert (pos[:, -1, 0] > 15).all()


def test_surrounded():
    vec = started("zerg_10_vs_10", 300, start_positions="surrounded")
    pos = vec.world["pos"]
    # Ten agents on a grid of four columns 1.05 apart: within 1.6 of the middle, or pushed a little by close enemies.
    assert np.abs(np.median(pos[:, :10], axis=0) - 16).max() < 2
    assert np.abs(pos[:, :10] - 16).max() < 6
    # Enemies stand near a diagonal: a group is up to 3.2 wide.
    off = np.abs(np.abs(pos[:, 10:, 0] - 16) - np.abs(pos[:, 10:, 1] - 16))
    assert np.quantile(off, 0.95) < 4
    # One to four groups: the number of quarters with enemies takes all values, each about as often.
    quarters = 2 * (pos[:, 10:, 0] > 16) + (pos[:, 10:, 1] > 16)
    counts = np.bincount([len(set(row)) for row in quarters.tolist()], minlength=5)
    assert counts[0] == 0
    assert (counts[1:] > 40).all()


def test_both_distributions_by_default():
    pos = started("zerg_5_vs_5", 1000).world["pos"]
    # In "surrounded" the mean of the agents is the middle; in "reflect" it is in the west.
    surrounded = np.abs(pos[:, :5].mean(1) - 16).max(-1) < 1
    # 0.5 +- 5 standard deviations of 1000 draws (0.079), and a few wrongly classified.
    assert 0.4 < surrounded.mean() < 0.6


@pytest.mark.parametrize("race", RACES)
def test_agents_are_numbered_by_kind_then_place(race):
    # SMACv2 sorts by its own ids of kinds, which are in alphabetical order.
    vec = started(f"{race}_10_vs_10", 50)
    for types, pos in zip(vec.world["unit_type"], vec.world["pos"], strict=True):
        keys = [(TYPE_NAMES[kind], *place) for kind, place in zip(types[:10], pos[:10].tolist(), strict=True)]
        assert keys == sorted(keys)


def test_enemies_go_where_the_agents_were():
    vec = started("terran_5_vs_5", 20)
    np.testing.assert_allclose(vec.world["attack_point"], vec.world["pos"][:, :5].mean(1), rtol=1e-12)


def test_observations_show_the_drawn_kinds():
    vec = started("zerg_5_vs_5", 30)
    # Own features end with the kind: zergling, hydralisk, baneling (SMACv2's order).
    expected = [
        [("zergling", "hydralisk", "baneling").index(TYPE_NAMES[kind]) for kind in row[:5]]
        for row in vec.world["unit_type"]
    ]
    np.testing.assert_array_equal(vec.obs[..., -3:].argmax(-1), expected)
    np.testing.assert_array_equal(vec.obs[..., -3:].sum(-1), 1)
    # Before it the own place, x / 32 and y / 32.
    np.testing.assert_allclose(vec.obs[..., -5:-3], vec.world["pos"][:, :5] / 32, atol=1e-6)


def test_an_episode_is_a_function_of_seed_and_number():
    vec, single = make("protoss_5_vs_5", 7), make("protoss_5_vs_5")
    vec.reset(seed=10)
    single.reset(seed=13)
    first = single.world["unit_type"].copy(), single.world["pos"].copy()
    rng = np.random.default_rng(0)
    for _ in range(210):  # past the time limit of 200
        for name in vec.world:
            np.testing.assert_array_equal(vec.world[name][3], single.world[name][0], err_msg=name)
        np.testing.assert_array_equal(vec.obs[3], single.obs[0])
        actions = random_actions(vec, rng)
        vec.step(actions)
        single.step(actions[3:4])
    # The next episode has other places; the same seed the first one's again.
    assert single.world["episode"][0] > 0
    assert (single.world["pos"] != first[1]).any()
    single.reset(seed=13)
    np.testing.assert_array_equal(single.world["unit_type"], first[0])
    np.testing.assert_array_equal(single.world["pos"], first[1])


def test_world_round_trip_in_mid_episode():
    vec, twin = make("terran_10_vs_11", 3), make("terran_10_vs_11", 3)
    vec.reset(seed=5)
    rng = np.random.default_rng(1)
    for _ in range(15):
        vec.step(random_actions(vec, rng))
    twin.set_world(vec.get_world())
    for _ in range(30):
        np.testing.assert_array_equal(vec.obs, twin.obs)
        actions = random_actions(vec, rng)
        vec.step(actions)
        twin.step(actions)
        np.testing.assert_array_equal(vec.reward, twin.reward)
    world = vec.get_world()
    world["unit_type"][0, 0] = TYPE_ID["zealot"]
    with pytest.raises(ValueError, match="unit_type must be from 3 to 5, found 2"):
        twin.set_world(world)


def given(allies, enemies):
    return {
        "ally": [unit_row(name, 10, 5 + 2 * i, shield=0) for i, name in enumerate(allies)],
        "enemy": [unit_row(name, 13, 5 + 2 * i, hp, shield=0) for i, (name, hp) in enumerate(enemies)],
    }


def test_given_worlds_tell_the_kinds():
    vec = make("terran_5_vs_5")
    allies = ["medivac", "marine", "marauder", "marine", "marine"]
    vec.reset(options=given(allies, [("medivac", 10), ("marine", 5), ("marauder", 0), ("marine", 0), ("marine", 0)]))
    assert [TYPE_NAMES[kind] for kind in vec.world["unit_type"][0]] == [
        *allies,
        "medivac",
        "marine",
        "marauder",
        "marine",
        "marine",
    ]
    np.testing.assert_allclose(vec.world["attack_point"][0], [10, 9])
    # The Medivac may heal those within 4: agents 1 and 2 at distances 2 and 4.
    assert np.flatnonzero(vec.action_mask[0, 0]).tolist() == [1, 2, 3, 4, 5, 7, 8]


def test_a_side_of_medivacs_has_lost():
    enemies = [("medivac", 100), ("medivac", 100), ("marine", 1), ("marine", 0), ("marine", 0)]
    vec = make("terran_5_vs_5", autoreset=False)
    vec.reset(options=given(["marine"] * 5, enemies))
    assert MEDIVAC in vec.world["unit_type"][0, 5:]
    vec.step([[8, 8, 8, 1, 1]])
    assert vec.terminated[0]
    assert vec.info["battle_won"][0]
    # 1 hp, 10 and 200, over the greatest return with average enemies: 5 * (0.45 * 45 + 0.45 * 125 + 0.1 * 150) points.
    assert vec.reward[0] == pytest.approx(211 / ((5 * 10 + 200 + 5 * 91.5) / 20))


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        (3, 46, "ally: no unit of marine, marauder, medivac has hp_max 46"),
        (2, 46, "ally: hp must be from 0 to 45, found 46"),
        (7, 1, "ally: energy must be from 0 to 0, found 1"),
        (0, 33, "ally must be from 0.0 to 32.0, found 33"),
    ],
)
def test_given_worlds_are_checked(column, value, message):
    vec = make("terran_5_vs_5")
    options = given(["marine"] * 5, [("marine", 45)] * 5)
    options["ally"][1][column] = value
    with pytest.raises(ValueError, match=message):
        vec.reset(options=options)


def test_rewards_never_pay_for_regeneration():
    # SMACv2 pays max(sum, 0): here an enemy's recovering shield alone is worth nothing.
    vec = make("protoss_5_vs_5")
    world = {
        "ally": [unit_row("zealot", 2, 2 + 2 * i, shield=0) for i in range(5)],
        "enemy": [unit_row("stalker", 30, 30, shield=0)] * 5,
    }
    for rows in world.values():
        for one in rows:
            one[4] = 0.0
    for i, one in enumerate(world["enemy"]):
        world["enemy"][i] = [one[0], one[1] - 2 * i, *one[2:]]
    vec.reset(options=world)
    for _ in range(3):
        vec.step([[1] * 5])
    assert (vec.world["shield"][0, 5:] > 0).all()
    assert vec.world["episode_return"][0] == 0


def test_check_env():
    check_env(lambda: smac_v0.parallel_env(map_name="terran_10_vs_11"), ends=("terminated",), seeds=2, episodes=2)
