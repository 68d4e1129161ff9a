"""The SMAC maps and units as data: SMAC's own table of sizes, spawn arrangement, terrains, and the unit table."""

import numpy as np
import pytest

from marl_gre_envs.smac import units
from marl_gre_envs.smac.maps import MAPS, SIZE, TERRAINS, fits, ground_of, map_named, ring_layout
from marl_gre_envs.smac.rewards import Rewards, scale_of
from marl_gre_envs.smac.units import TYPE_ID, UNIT_TABLE, UNITS

# SMAC's map_param_registry and, for pool and greatest reward, its reward code run on every map:
# map: agents, enemies, limit, races, map type, actions, enemy hp + shields, greatest reward.
TABLE = {
    "3s_vs_5z": (3, 5, 250, "PP", "stalkers", 11, 750, 1000),
    "3s5z": (8, 8, 150, "PP", "stalkers_and_zealots", 14, 1230, 1510),
    "27m_vs_30m": (27, 30, 180, "TT", "marines", 36, 1350, 1850),
    "2s3z": (5, 5, 120, "PP", "stalkers_and_zealots", 11, 770, 1020),
    "5m_vs_6m": (5, 6, 70, "TT", "marines", 12, 270, 530),
    "10m_vs_11m": (10, 11, 150, "TT", "marines", 17, 495, 805),
    "bane_vs_bane": (24, 24, 200, "ZZ", "bane", 30, 820, 1260),
    "MMM2": (10, 12, 180, "TT", "MMM", 18, 885, 1205),
    "3m": (3, 3, 60, "TT", "marines", 9, 135, 365),
    "8m": (8, 8, 120, "TT", "marines", 14, 360, 640),
    "25m": (25, 25, 150, "TT", "marines", 31, 1125, 1575),
    "8m_vs_9m": (8, 9, 120, "TT", "marines", 15, 405, 695),
    "MMM": (10, 10, 150, "TT", "MMM", 16, 715, 1015),
    "3s5z_vs_3s6z": (8, 9, 170, "PP", "stalkers_and_zealots", 15, 1380, 1670),
    "3s_vs_3z": (3, 3, 150, "PP", "stalkers", 9, 450, 680),
    "3s_vs_4z": (3, 4, 200, "PP", "stalkers", 10, 600, 840),
    "1c3s5z": (9, 9, 180, "PP", "colossi_stalkers_zealots", 15, 1580, 1870),
    "2m_vs_1z": (2, 1, 150, "TP", "marines", 7, 150, 360),
    "corridor": (6, 24, 400, "PZ", "zealots", 30, 840, 1280),
    "6h_vs_8z": (6, 8, 150, "ZP", "hydralisks", 14, 1200, 1480),
    "2s_vs_1sc": (2, 1, 300, "PZ", "stalkers", 7, 300, 510),
    "so_many_baneling": (7, 32, 100, "PZ", "zealots", 38, 960, 1480),
    "2c_vs_64zg": (2, 64, 400, "PZ", "colossus", 70, 2240, 3080),
}


def test_there_are_smacs_23_maps():
    assert set(MAPS) == set(TABLE)
    assert all(MAPS[name].name == name for name in MAPS)


@pytest.mark.parametrize("name", TABLE)
def test_sizes_limits_and_greatest_reward_are_smacs(name):
    m = MAPS[name]
    found = (
        m.n_agents,
        m.n_enemies,
        m.episode_limit,
        m.ally_race + m.enemy_race,
        m.map_type,
        m.n_actions,
        m.enemy_points,
        scale_of(Rewards(), m.n_enemies, m.enemy_points) * 20,
    )
    assert found == TABLE[name]


def test_agents_are_numbered_by_kind_then_place():
    # SMAC sorts by StarCraft's ids of its own unit copies, then x, then y.
    assert MAPS["MMM2"].ally_types == ("marauder",) * 2 + ("marine",) * 7 + ("medivac",)
    assert MAPS["bane_vs_bane"].ally_types == ("baneling",) * 4 + ("zergling",) * 20
    assert MAPS["3s5z"].ally_types == ("stalker",) * 3 + ("zealot",) * 5
    assert MAPS["1c3s5z"].ally_types == ("colossus",) + ("stalker",) * 3 + ("zealot",) * 5
    assert MAPS["2m_vs_1z"].ally_creation == (0, 1)
    for m in MAPS.values():
        keys = [(TYPE_ID[name], *place) for name, place in zip(m.ally_types, m.starts.tolist(), strict=False)]
        assert keys == sorted(keys), m.name


def test_enemies_are_numbered_as_created():
    assert MAPS["MMM2"].enemy_types == ("marine",) * 8 + ("marauder",) * 3 + ("medivac",)
    assert MAPS["bane_vs_bane"].enemy_types == ("zergling",) * 20 + ("baneling",) * 4
    assert (
        MAPS["bane_vs_bane"].unit_type.tolist()
        == [TYPE_ID["baneling"]] * 4 + [TYPE_ID["zergling"]] * 40 + [TYPE_ID["baneling"]] * 4
    )


def test_rings_are_the_games():
    # Recorded starts of 8m, in creation order: contact is 0.75 - 1/16 + 0.001 = 0.6885, the lattice 0.75.
    expected = [
        (9, 16),
        (9, 15.3115),
        (9.6885, 16),
        (9, 16.6885),
        (8.3115, 16),
        (9.75, 15.25),
        (9.75, 16.75),
        (8.25, 16.75),
    ]
    np.testing.assert_allclose(ring_layout((("marine", 8),), (9, 16)), expected, atol=1e-4)
    # The Zealots of corridor, and the Colossi of 2c_vs_64zg.
    zealots = [(0, 0), (0, -0.9385), (0.9385, 0), (0, 0.9385), (-0.9385, 0), (1, -1)]
    np.testing.assert_allclose(ring_layout((("zealot", 6),)), zealots, atol=1e-4)
    np.testing.assert_allclose(ring_layout((("colossus", 2),)), [(0, 0), (0, -1.9385)], atol=1e-4)


def test_zerglings_start_where_the_game_puts_them():
    # Cells of the 64, in creation order, as recorded: rings cut off by the cliff at y = 12.
    cells = """16,9 16,8 16,9 16,9 15,9 16,8 16,9 15,9 15,8 16,7 17,9 16,10 14,9 16,7 17,9 15,10 14,8 17,8
    16,10 14,9 15,7 17,7 17,10 14,10 14,7 16,6 18,9 16,11 13,9 16,6 18,9 15,11 13,8 18,8 16,11 13,9
    15,6 17,6 18,10 14,11 13,7 18,7 17,11 13,10 14,6 16,6 19,9 13,9 16,6 19,9 13,8 19,8 13,9 15,6
    18,6 18,11 13,11 13,6 17,6 19,10 13,7 19,7 13,10 14,6"""
    expected = [tuple(map(int, cell.split(","))) for cell in cells.split()]
    found = [tuple(place.astype(int).tolist()) for place in MAPS["2c_vs_64zg"].starts[2:]]
    assert found == expected


@pytest.mark.parametrize("name", TABLE)
def test_everybody_starts_on_the_ground_without_overlap(name):
    m = MAPS[name]
    table = UNIT_TABLE[m.unit_type]
    radius, inner, plane = (
        table[:, units.RADIUS],
        table[:, units.INNER_RADIUS],
        table[:, units.FLIES] + 2 * table[:, units.TALL],
    )
    assert m.starts.shape == (m.n_agents + m.n_enemies, 2)
    assert fits(ground_of(m.terrain), m.starts, inner - units.CLOSER).all()
    apart = np.sqrt(((m.starts[:, None] - m.starts) ** 2).sum(-1))
    np.fill_diagonal(apart, np.inf)
    apart[plane[:, None] != plane] = np.inf
    assert (apart >= radius[:, None] + radius - units.CLOSER - 2e-3).all()  # as exact as recorded places are


def test_both_sides_stand_alike():
    m = MAPS["8m"]
    np.testing.assert_allclose(np.sort(m.starts[:8], 0) + np.array([14, 0]), np.sort(m.starts[8:], 0))


@pytest.mark.parametrize("name", TABLE)
def test_groups_stand_around_their_points(name):
    m = MAPS[name]
    made = [p for i in np.argsort(m.ally_creation) for p in [m.starts[i]]] + list(m.starts[m.n_agents :])
    at = 0
    for group in m.allies + m.enemies:
        places = np.array(made[at : at + len(group.types)])
        at += len(group.types)
        centre = (places.min(0) + places.max(0)) / 2
        # A last row that is not full, gaps and walls move the middle of the group by less than 1.5.
        assert np.abs(centre - group.point).max() < 1.5, (group, centre)


# Cells counted from the maps' cell flags; rows x columns where the shape is a rectangle.
CELLS = {"open": 32 * 32, "band": 16 * 32, "octagon": 352, "arena_6h": 2 * 10 + 8 * 14 + 2 * 10}
CELLS |= {"pentagon": 12 * 12 + 2 * 8 + 2 * 4}


@pytest.mark.parametrize("name", CELLS)
def test_terrain_sizes(name):
    assert TERRAINS[name].sum() == CELLS[name]


def _reachable(pathable, start):
    found, todo = {start}, [start]
    while todo:
        x, y = todo.pop()
        for cell in ((x + 1, y), (x - 1, y), (x, y + 1), (x, y - 1)):
            if min(cell) >= 0 and max(cell) < SIZE and pathable[cell] and cell not in found:
                found.add(cell)
                todo.append(cell)
    return found


def test_ground_is_a_cell_wider_than_the_flags_but_for_cliffs():
    # Marines of the recordings stop at y = 7.3125 and 24.6875: walls at 7 and 25, less radius 0.375 - 1/16.
    assert np.flatnonzero(ground_of("band").any(0)).tolist() == list(range(7, 25))
    # SMAClite's own grids of these two maps have as many cells (https://github.com/uoe-agents/smaclite).
    assert ground_of("octagon").sum() == 424
    assert ground_of("pentagon").sum() == 220
    assert not ground_of("ravine")[16, 12:14].any()


@pytest.mark.parametrize("name", TERRAINS)
def test_all_ground_is_connected(name):
    pathable = TERRAINS[name]
    assert pathable.shape == (SIZE, SIZE)
    cells = {(int(x), int(y)) for x, y in np.argwhere(pathable)}
    assert _reachable(pathable, min(cells)) == cells


def test_fits_sees_walls_and_borders():
    band, radius = TERRAINS["band"], np.array(0.5)
    # The band begins at y = 8 and ends at y = 24; the world ends at x = 0 and 32.
    for place, inside in (((5, 8.5), True), ((5, 8.49), False), ((5, 23.5), True), ((5, 23.51), False)):
        assert fits(band, np.array(place, float), radius) == inside
    assert fits(band, np.array([0.5, 16.0]), radius)
    assert not fits(band, np.array([0.49, 16.0]), radius)
    assert not fits(TERRAINS["open"], np.array([31.6, 16.0]), radius)


def test_unknown_map_names_the_nearest():
    with pytest.raises(ValueError, match="unknown map_name '3s5zz'; did you mean '3s5z'"):
        map_named("3s5zz")


def test_unit_table_is_the_units_in_order():
    assert list(TYPE_ID) == list(UNITS)
    assert UNIT_TABLE.shape == (10, units.HEAL_LEAST_ENERGY + 1)
    for name, unit in UNITS.items():
        row = UNIT_TABLE[TYPE_ID[name]]
        assert (row[units.HP], row[units.SHIELD], row[units.ARMOR]) == (unit.hp, unit.shield, unit.armor)
        assert row[units.HAS_WEAPON] == (unit.weapon is not None)
        if unit.weapon:
            assert (row[units.DAMAGE], row[units.PERIOD]) == (unit.weapon.damage, unit.weapon.period)
            assert (row[units.RANGE], row[units.MISSILE_SPEED]) == (unit.weapon.range, unit.weapon.missile_speed)


# name: distance per step of 8 loops, hp, shield, loops between attacks; from the game's data in seconds, 16 loops each.
FIGURES = {
    "marine": (1.125, 45, 0, 13.7728),
    "marauder": (1.125, 125, 0, 24),
    "stalker": (1.47655, 80, 80, 29.92),
    "zealot": (1.125, 100, 50, 19.2),
    "colossus": (1.125, 200, 150, 24),
    "zergling": (1.47655, 35, 0, 11.136),
    "baneling": (1.25, 30, 0, 13.328),
    "hydralisk": (1.125, 80, 0, 13.28),
    "spine_crawler": (0, 300, 0, 29.6),
    "medivac": (1.25, 150, 0, None),
}


@pytest.mark.parametrize("name", FIGURES)
def test_units_in_game_loops(name):
    unit = UNITS[name]
    distance, hp, shield, period = FIGURES[name]
    assert unit.speed * units.LOOPS_PER_STEP == pytest.approx(distance)
    assert (unit.hp, unit.shield) == (hp, shield)
    assert (unit.weapon.period if unit.weapon else None) == pytest.approx(period)


def test_rates_per_loop():
    assert units.SHIELD_REGEN == 0.125
    assert units.SHIELD_DELAY == 160
    assert (units.DELAY_LOW, units.DELAY_HIGH) == (-1, 2)
    medivac = UNITS["medivac"]
    # 9 hp a second cost 0.33 energy each: 4.5 hp and 1.485 energy per step; 0.5625 energy a second come back.
    assert medivac.heal.rate * 8 == 4.5
    assert medivac.heal.rate * medivac.heal.cost * 8 == pytest.approx(1.485)
    assert medivac.energy_regen * 8 == 0.28125
    assert UNITS["zergling"].life_regen == pytest.approx(0.2734 / 16)
