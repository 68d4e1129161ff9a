"""SMAC's interface: sizes, recorded outputs of SMAC's own code, worked examples, boundaries, every flag."""

import json
from pathlib import Path

import numpy as np
import pytest

from marl_gre_envs.smac.interface import FIELDS, Flags, Interface, make_flags
from marl_gre_envs.smac.maps import ENEMY_TYPE_BITS, MAPS, TERRAINS, TYPE_BITS
from marl_gre_envs.smac.rewards import Rewards, battle_reward_of, make_rewards, scale_of, step_reward
from marl_gre_envs.smac.units import TYPE_ID, UNITS

DATA = Path(__file__).parent / "data"
RECORDED = ["2s3z", "3s_vs_5z", "10m_vs_11m", "MMM2"]
DEFAULTS = Rewards()
TOLERANCE = 2e-6  # float32 outputs of float64 arithmetic

# SMAC's get_obs_size and get_state_size (with and without state_last_action), read from its own code.
SIZES = {
    "3s_vs_5z": (48, 68, 35),
    "3s5z": (128, 216, 104),
    "27m_vs_30m": (285, 1170, 198),
    "2s3z": (80, 120, 65),
    "5m_vs_6m": (55, 98, 38),
    "10m_vs_11m": (105, 243, 73),
    "bane_vs_bane": (336, 984, 264),
    "MMM2": (176, 322, 142),
    "3m": (30, 48, 21),
    "8m": (80, 168, 56),
    "25m": (250, 950, 175),
    "8m_vs_9m": (85, 179, 59),
    "MMM": (160, 290, 130),
    "3s5z_vs_3s6z": (136, 230, 110),
    "3s_vs_3z": (36, 54, 27),
    "3s_vs_4z": (42, 61, 31),
    "1c3s5z": (162, 270, 135),
    "2m_vs_1z": (16, 26, 12),
    "corridor": (156, 282, 102),
    "6h_vs_8z": (78, 140, 56),
    "2s_vs_1sc": (17, 27, 13),
    "so_many_baneling": (202, 397, 131),
    "2c_vs_64zg": (332, 342, 202),
}


def battle_reward(prev_ally, prev_enemy, ally, enemy, rewards=DEFAULTS):
    """Return the reward of a step of fighting from units [..., A, 8] and [..., N, 8] before and after it, [...]."""
    before, after = (np.concatenate(units, -2, dtype=np.float64) for units in ((prev_ally, prev_enemy), (ally, enemy)))
    worth = np.empty(before.shape[:-2])
    for at in np.ndindex(worth.shape):
        numbers = (units[at][:, FIELDS.index(name)].copy() for units in (before, after) for name in ("hp", "shield"))
        worth[at] = battle_reward_of(*numbers, np.shape(ally)[-2], rewards)
    return worth


def interface(name, **flags):
    return Interface(MAPS[name], flags=make_flags(**flags))


def recorded(name):
    """The interface on the ground of the recordings, the maps' flags; the game's own has two rows more."""
    face = interface(name)
    if MAPS[name].terrain == "band":
        face.layout = face.layout._replace(pathable=TERRAINS["band"])
    return face


def unit(name, x, y, hp=None, shield=None, cooldown=0.0, energy=0.0):
    kind = UNITS[name]
    hp = kind.hp if hp is None else hp
    return [x, y, hp, kind.hp, kind.shield if shield is None else shield, kind.shield, cooldown, energy]


def world(name, ally=None, enemy=None):
    """All units of a map far from each other, except those placed: {index: (x, y)}."""
    m = MAPS[name]
    allies = [unit(kind, *(ally or {}).get(i, (1.5, 9.5))) for i, kind in enumerate(m.ally_types)]
    enemies = [unit(kind, *(enemy or {}).get(i, (30.5, 22.5))) for i, kind in enumerate(m.enemy_types)]
    return np.array(allies), np.array(enemies), np.full(m.n_agents, -1)


@pytest.mark.parametrize("name", SIZES)
def test_sizes_are_smacs(name):
    face, bare = interface(name), interface(name, state_last_action=False)
    assert (face.obs_dim, face.state_dim, bare.state_dim) == SIZES[name]
    assert face.n_actions == len(face.action_names) == 6 + MAPS[name].n_enemies


@pytest.mark.parametrize("name", RECORDED)
def test_recorded_outputs_of_smac(name):
    data = np.load(DATA / f"smac_interface_{name}.npz")
    config = json.loads(str(data["config"]))
    m = MAPS[name]
    assert tuple(config["fields"]) == FIELDS
    assert (tuple(config["agents"]), tuple(config["enemies"])) == (m.ally_types, m.enemy_types)
    assert (config["episode_limit"], config["max_reward"]) == (
        m.episode_limit,
        20 * scale_of(Rewards(), m.n_enemies, m.enemy_points),
    )
    obs, state, mask = recorded(name).observe(data["ally"], data["enemy"], data["last_actions"])
    np.testing.assert_array_equal(mask, data["avail"])
    np.testing.assert_allclose(obs, data["obs"], rtol=0, atol=TOLERANCE)
    np.testing.assert_allclose(state, data["state"], rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("name", RECORDED)
def test_recorded_rewards_of_smac(name):
    data = np.load(DATA / f"smac_interface_{name}.npz")
    found = battle_reward(data["prev_ally"], data["prev_enemy"], data["ally"], data["enemy"])
    np.testing.assert_allclose(found, data["reward_battle"], rtol=1e-12, atol=1e-9)


def entries(text):
    """Read "index:value index:value" with all other entries 0."""
    pairs = [pair.split(":") for pair in text.split()]
    return {int(index): float(value) for index, value in pairs}


def assert_entries(found, text):
    expected = np.zeros(len(found))
    for index, value in entries(text).items():
        expected[index] = value
    np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE)


def masks(text):
    return np.array([[int(bit) for bit in row] for row in text.split()])


def test_worked_example_2s3z():
    """Outputs of SMAC's own code: agents at (8 + 1.25i, 14 + 0.75i), enemies at (15 - 0.5i, 15 + 1.5i)."""
    kinds = ["stalker"] * 2 + ["zealot"] * 3
    full = [(UNITS[k].hp, UNITS[k].shield) for k in kinds]
    ally = [
        unit(k, 8 + 1.25 * i, 14 + 0.75 * i, full[i][0] - 7 * i, full[i][1] - 9 * i, 3 * i) for i, k in enumerate(kinds)
    ]
    enemy = [unit(k, 15 - 0.5 * i, 15 + 1.5 * i, full[i][0] - 5 * i, full[i][1] - 6 * i) for i, k in enumerate(kinds)]
    ally[3][2] = enemy[1][2] = 0.0  # dead
    obs, state, mask = interface("2s3z").observe(np.array(ally), np.array(enemy), np.array([6, 1, 4, 0, 10]))
    np.testing.assert_array_equal(mask, masks("01111100000 01111110100 01111110110 10000000000 01111110111"))
    assert_entries(
        obs[0],
        "0:1 1:1 2:1 3:1 5:0.785674 6:0.777778 7:0.111111 8:1 9:1 11:1 21:0.801234 22:0.666667 23:0.444444 24:0.9 "
        "25:0.76 26:1 29:0.864242 30:0.611111 31:0.611111 32:0.85 33:0.64 34:1 37:0.955814 38:0.555556 39:0.777778 "
        "40:0.8 41:0.52 42:1 44:1 45:0.161971 46:0.138889 47:0.0833333 48:0.9125 49:0.8875 50:1 52:1 53:0.323942 "
        "54:0.277778 55:0.166667 56:0.86 57:0.64 59:1 68:1 69:0.647884 70:0.555556 71:0.333333 72:0.72 73:0.28 75:1 "
        "76:1 77:1 78:1",
    )
    assert_entries(
        obs[2],
        "0:1 1:1 2:1 3:1 4:1 5:0.503077 6:0.5 7:-0.0555556 8:1 9:1 11:1 20:1 21:0.477907 22:0.388889 23:0.277778 "
        "24:0.9 25:0.76 26:1 28:1 29:0.555556 30:0.333333 31:0.444444 32:0.85 33:0.64 34:1 37:0.67128 38:0.277778 "
        "39:0.611111 40:0.8 41:0.52 42:1 44:1 45:0.323942 46:-0.277778 47:-0.166667 48:1 49:1 50:1 52:1 53:0.161971 "
        "54:-0.138889 55:-0.0833333 56:0.9125 57:0.8875 58:1 68:1 69:0.323942 70:0.277778 71:0.166667 72:0.72 73:0.28 "
        "75:1 76:0.86 77:0.64 79:1",
    )
    assert not obs[3].any()
    assert_entries(
        state,
        "0:1 2:-0.25 3:-0.0625 4:1 5:1 7:0.9125 8:0.0857143 9:-0.210938 10:-0.0390625 11:0.8875 12:1 14:0.86 "
        "15:0.272727 16:-0.171875 17:-0.015625 18:0.64 20:1 28:0.72 29:0.545455 30:-0.09375 31:0.03125 32:0.28 34:1 "
        "35:1 36:-0.03125 37:-0.03125 38:1 40:1 47:0.9 48:-0.0625 49:0.0625 50:0.76 51:1 53:0.85 54:-0.078125 "
        "55:0.109375 56:0.64 57:1 59:0.8 60:-0.09375 61:0.15625 62:0.52 63:1 71:1 77:1 91:1 98:1 119:1",
    )


def test_worked_example_mmm2():
    """Outputs of SMAC's own code: agents at (7 + 0.8i, 15 + 0.25i), enemies at (16 + 0.4i, 17 - 0.3i)."""
    m = MAPS["MMM2"]
    ally = [unit(k, 7 + 0.8 * i, 15 + 0.25 * i, UNITS[k].hp - 3 * i, 0, i, 61.5) for i, k in enumerate(m.ally_types)]
    enemy = [unit(k, 16 + 0.4 * i, 17 - 0.3 * i, UNITS[k].hp - 2 * i) for i, k in enumerate(m.enemy_types)]
    ally[5][2] = enemy[4][2] = 0.0
    last = np.array([1, 2, 3, 4, 5, 0, 7, 8, 9, 10])
    obs, state, mask = interface("MMM2").observe(np.array(ally), np.array(enemy), last)
    rows = "011111000000000000 " * 4 + "011111100000000000 100000000000000000 011111111100000000 "
    rows += "011111111101000000 011111111101110000 011111001110111000"
    np.testing.assert_array_equal(mask, masks(rows))
    assert_entries(
        obs[0],
        "0:1 1:1 2:1 3:1 100:1 101:0.0931281 102:0.0888889 103:0.0277778 104:0.976 105:1 108:1 109:0.186256 "
        "110:0.177778 111:0.0555556 112:0.866667 114:1 116:1 117:0.279384 118:0.266667 119:0.0833333 120:0.8 122:1 "
        "124:1 125:0.372512 126:0.355556 127:0.111111 128:0.733333 130:1 140:1 141:0.558769 142:0.533333 143:0.166667 "
        "144:0.6 146:1 148:1 149:0.651897 150:0.622222 151:0.194444 152:0.533333 154:1 156:1 157:0.745025 158:0.711111 "
        "159:0.222222 160:0.466667 162:1 164:1 165:0.838153 166:0.8 167:0.25 168:0.82 171:1 172:1 173:1",
    )
    # 20:1, 28:1, ...: the Medivac's heal bits stand in the enemies' rows.
    assert_entries(
        obs[9],
        "0:1 1:1 2:1 3:1 5:0.20192 6:0.2 7:-0.0277778 8:1 10:1 13:0.251968 14:0.244444 15:-0.0611111 16:0.955556 18:1 "
        "20:1 21:0.303935 22:0.288889 23:-0.0944444 24:0.911111 26:1 28:1 29:0.356985 30:0.333333 31:-0.127778 "
        "32:0.866667 34:1 45:0.464844 46:0.422222 47:-0.194444 48:0.777778 50:1 52:1 53:0.519288 54:0.466667 "
        "55:-0.227778 56:0.733333 58:1 60:1 61:0.573946 62:0.511111 63:-0.261111 64:0.688889 66:1 68:1 69:0.62876 "
        "70:0.555556 71:-0.294444 72:0.872 73:1 77:0.683695 78:0.6 79:-0.327778 80:0.856 81:1 85:0.738722 86:0.644444 "
        "87:-0.361111 88:0.84 89:1 93:0.793823 94:0.688889 95:-0.394444 96:0.853333 99:1 100:1 101:0.838153 102:-0.8 "
        "103:-0.25 104:1 105:1 108:1 109:0.745025 110:-0.711111 111:-0.222222 112:0.976 113:1 116:1 117:0.651897 "
        "118:-0.622222 119:-0.194444 120:0.866667 122:1 124:1 125:0.558769 126:-0.533333 127:-0.166667 128:0.8 130:1 "
        "132:1 133:0.46564 134:-0.444444 135:-0.138889 136:0.733333 138:1 148:1 149:0.279384 150:-0.266667 "
        "151:-0.0833333 152:0.6 154:1 156:1 157:0.186256 158:-0.177778 159:-0.0555556 160:0.533333 162:1 164:1 "
        "165:0.0931281 166:-0.0888889 167:-0.0277778 168:0.466667 170:1 172:0.82 175:1",
    )
    assert_entries(
        state[:118],
        "0:1 2:-0.28125 3:-0.03125 4:1 7:0.976 8:0.04 9:-0.25625 10:-0.0234375 11:1 14:0.866667 15:0.133333 "
        "16:-0.23125 17:-0.015625 19:1 21:0.8 22:0.2 23:-0.20625 24:-0.0078125 26:1 28:0.733333 29:0.266667 "
        "30:-0.18125 33:1 42:0.6 43:0.4 44:-0.13125 45:0.015625 47:1 49:0.533333 50:0.466667 51:-0.10625 52:0.0234375 "
        "54:1 56:0.466667 57:0.533333 58:-0.08125 59:0.03125 61:1 63:0.82 64:0.3075 65:-0.05625 66:0.0390625 69:1 "
        "70:1 72:0.03125 74:1 76:0.955556 77:0.0125 78:0.021875 80:1 82:0.911111 83:0.025 84:0.0125 86:1 88:0.866667 "
        "89:0.0375 90:0.003125 92:1 100:0.777778 101:0.0625 102:-0.015625 104:1 106:0.733333 107:0.075 108:-0.025 "
        "110:1 112:0.688889 113:0.0875 114:-0.034375 116:1",
    )
    assert len(state) == 322
    assert state.sum(dtype=np.float64) == pytest.approx(47.53567, abs=2e-5)


@pytest.mark.parametrize(("distance", "legal"), [(5.9, 1), (6.0, 1), (6.0001, 0)])
def test_attacks_reach_six(distance, legal):
    ally, enemy, last = world("3m", {0: (10.0, 16.0)}, {1: (10.0 + distance, 16.0)})
    _, _, mask = interface("3m").observe(ally, enemy, last)
    assert mask[0].tolist() == [0, 1, 1, 1, 1, 1, 0, legal, 0]
    enemy[1, FIELDS.index("hp")] = 0
    assert interface("3m").observe(ally, enemy, last)[2][0, 7] == 0


@pytest.mark.parametrize(("distance", "visible"), [(8.9999, True), (9.0, False)])
def test_sight_ends_before_nine(distance, visible):
    # One agent and one enemy, both `distance` away from agent 0 of 3m; rows of 5: [.., distance, dx, dy, hp].
    ally, enemy, last = world("3m", {0: (10.0, 12.0), 2: (10.0, 12.0 + distance)}, {1: (10.0 + distance, 12.0)})
    obs, _, _ = interface("3m").observe(ally, enemy, last)
    # 4 moves, 3 enemies, then agents 1 and 2; agent 1 stands at (1.5, 9.5), 8.86 away.
    row = obs[0, 4 + 5 : 4 + 10]
    expected = [0, distance / 9, distance / 9, 0, 1] if visible else [0] * 5
    np.testing.assert_allclose(row, expected, atol=TOLERANCE)
    row = obs[0, 4 + 15 + 5 : 4 + 15 + 10]
    np.testing.assert_allclose(row, [1, distance / 9, 0, distance / 9, 1] if visible else [0] * 5, atol=TOLERANCE)


@pytest.mark.parametrize(
    ("place", "moves"),
    [  # north, south, east, west; a move is legal if the cell 1 away can be walked. In the game (1,000 episodes of 3m)
        # a move south is illegal in the 968 cases where this cell is in row 6, and in no other.
        ((16.0, 16.0), (1, 1, 1, 1)),
        ((16.0, 8.0), (1, 1, 1, 1)),
        ((16.0, 7.99), (1, 0, 1, 1)),  # int(6.99) = 6
        ((16.0, 23.99), (1, 1, 1, 1)),  # int(24.99) = 24
        ((16.0, 24.0), (0, 1, 1, 1)),  # 25
        ((30.99, 16.0), (1, 1, 1, 1)),  # int(31.99) = 31
        ((31.0, 16.0), (1, 1, 0, 1)),
        ((1.0, 16.0), (1, 1, 1, 1)),
        ((0.99, 16.0), (1, 1, 1, 1)),  # int(-0.01) = 0: SMAC rounds towards 0
        ((0.0, 16.0), (1, 1, 1, 0)),  # int(-1.0) = -1
    ],
)
def test_moves_at_the_border(place, moves):
    obs, _, mask = interface("3m").observe(*world("3m", {1: place}))
    assert tuple(mask[1, 2:6]) == moves
    assert tuple(obs[1, :4]) == moves


def test_moves_follow_move_amount():
    # Half of 6 is 3: from y = 9.5 the cell to the south is 6, outside the band.
    face = Interface(MAPS["3m"], move_amount=6)
    assert face.observe(*world("3m", {0: (16.0, 9.5)}))[2][0, 2:6].tolist() == [1, 0, 1, 1]


def test_the_dead_do_nothing_and_see_nothing():
    ally, enemy, last = world("2s3z", {0: (10, 10), 1: (11, 10)}, {0: (12, 10)})
    ally[0, FIELDS.index("hp")] = 0
    obs, state, mask = interface("2s3z").observe(ally, enemy, last)
    assert mask[0].tolist() == [1] + [0] * 10
    assert not obs[0].any()
    assert not state[:7].any()  # its row of the state: hp, cooldown, x, y, shield, two kinds
    # The other four still have each other: agent 1 sees no agent 0 (first of the ally rows, 4 + 5 * 8 entries on).
    assert not obs[1, 44:52].any()
    assert obs[1, 4 + 0] == 1  # and may attack enemy 0 at distance 1


def test_medivacs_heal_whom_they_can_reach():
    # The Medivac (agent 9) at (16, 16): agent 0 at distance 6, agent 1 beyond, agent 2 dead next to it, full health is
    # no obstacle; enemy 3 right there cannot be attacked. Bits 6.. are agents, the Medivac itself never.
    places = {9: (16, 16), 0: (10, 16), 1: (9.9, 16), 2: (16, 15), 8: (17, 16)}
    ally, enemy, last = world("MMM2", places, {3: (16, 17)})
    ally[2, FIELDS.index("hp")] = 0
    _, _, mask = interface("MMM2").observe(ally, enemy, last)
    assert np.flatnonzero(mask[9]).tolist() == [1, 2, 3, 4, 5, 6 + 0, 6 + 8]


def test_medivac_energy_stands_for_the_cooldown():
    ally, enemy, last = world("MMM2")
    ally[9, FIELDS.index("energy")] = 150
    ally[0:9, FIELDS.index("cooldown")] = 5
    _, state, _ = interface("MMM2").observe(ally, enemy, last)
    # Rows of 7; SMAC's constants: Marauder 25, Marine 15, Medivac 200.
    np.testing.assert_allclose(state[1:70:7], [5 / 25] * 2 + [5 / 15] * 7 + [150 / 200], atol=TOLERANCE)


def test_cooldowns_may_exceed_one():
    ally, enemy, last = world("6h_vs_8z")
    ally[0, FIELDS.index("cooldown")] = 15.28
    _, state, _ = interface("6h_vs_8z").observe(ally, enemy, last)
    assert state[1] == pytest.approx(1.528)


# Kinds by the place of their bit, read off SMAC's code: agents by rank of StarCraft's id of SMAC's own units, enemies
# by StarCraft's ids (Zealot 73, Stalker 74).
ORDERS = {
    "2s3z": (["stalker", "zealot"], ["zealot", "stalker"]),
    "1c3s5z": (["colossus", "stalker", "zealot"], ["colossus", "stalker", "zealot"]),
    "bane_vs_bane": (["baneling", "zergling"], ["baneling", "zergling"]),
    "MMM": (["marauder", "marine", "medivac"], ["marauder", "marine", "medivac"]),
}


@pytest.mark.parametrize("name", ORDERS)
def test_order_of_the_kinds(name):
    m, (ally_order, enemy_order) = MAPS[name], ORDERS[name]
    assert (list(TYPE_BITS[m.map_type]), list(ENEMY_TYPE_BITS[m.map_type])) == (ally_order, enemy_order)
    _, state, _ = interface(name, state_last_action=False).observe(*world(name))
    bits = len(ally_order)
    shields = m.ally_race == "P"
    allies, enemies = np.split(state, [m.n_agents * (4 + shields + bits)])
    found = allies.reshape(m.n_agents, -1)[:, -bits:]
    np.testing.assert_array_equal(found, [np.eye(bits)[ally_order.index(kind)] for kind in m.ally_types])
    found = enemies.reshape(m.n_enemies, -1)[:, -bits:]
    np.testing.assert_array_equal(found, [np.eye(bits)[enemy_order.index(kind)] for kind in m.enemy_types])


def test_without_health():
    # Rows shrink by hp and shield: 4 + 5 * (4 + 2) + 4 * (4 + 2) + own (1 + 1 + 2), or own 2 bits only.
    ally, enemy, last = world("2s3z", {0: (10, 10)}, {0: (12, 10)})
    face = interface("2s3z", obs_all_health=False)
    assert face.obs_dim == 4 + 30 + 24 + 4
    obs, _, _ = face.observe(ally, enemy, last)
    np.testing.assert_allclose(obs[0, 4:10], [1, 2 / 9, 2 / 9, 0, 0, 1], atol=TOLERANCE)
    np.testing.assert_allclose(obs[0, -4:], [1, 1, 1, 0])
    face = interface("2s3z", obs_all_health=False, obs_own_health=False)
    assert face.obs_dim == 4 + 30 + 24 + 2
    assert face.observe(ally, enemy, last)[0][0, -2:].tolist() == [1, 0]
    # As in SMAC, the health of all includes one's own.
    assert interface("2s3z", obs_own_health=False).obs_dim == 80


def test_last_actions_in_observations():
    # Rows of agents get 9 more: [1, distance, dx, dy, hp, nine actions]; 4 + 3 * 5 before them.
    ally, enemy, _ = world("3m", {0: (10, 10), 1: (12, 10), 2: (13, 10)})
    face = interface("3m", obs_last_action=True)
    assert face.obs_dim == 4 + 15 + 2 * 14 + 1
    obs, state, _ = face.observe(ally, enemy, np.array([6, 2, 0]))
    assert obs[0, 19 + 5 :][:9].tolist() == np.eye(9)[2].tolist()
    assert obs[0, 33 + 5 :][:9].tolist() == np.eye(9)[0].tolist()
    assert obs[1, 19 + 5 :][:9].tolist() == np.eye(9)[6].tolist()
    np.testing.assert_array_equal(state[-27:].reshape(3, 9), np.eye(9)[[6, 2, 0]])
    # Before the first step there is none; out of sight there is none either.
    obs, state, _ = face.observe(ally, enemy, np.full(3, -1))
    assert not obs[0, 24:33].any()
    assert not state[-27:].any()
    ally[1, 0] = 25
    assert not face.observe(ally, enemy, np.array([6, 2, 0]))[0][0, 19:33].any()


def test_ground_in_observations():
    # Agent in cell (16, 8) of the band y 7..24. Cells: N, S, E, W 4 away, NE, SW, SE, NW 2 away, and its own.
    ally, enemy, last = world("3m", {0: (16.5, 8.5)})
    plain = interface("3m").observe(ally, enemy, last)[0][0]
    both = interface("3m", obs_pathing_grid=True, obs_terrain_height=True)
    assert both.obs_dim == 30 + 8 + 9
    obs = both.observe(ally, enemy, last)[0][0]
    # y = 4 (S), 6 (SW, SE) are walls.
    assert obs[4:12].tolist() == [1, 0, 1, 1, 1, 0, 0, 1]
    assert obs[12:21].tolist() == [0.5] * 9
    np.testing.assert_array_equal(np.r_[obs[:4], obs[21:]], plain)
    only = interface("3m", obs_terrain_height=True).observe(ally, enemy, last)[0][0]
    np.testing.assert_array_equal(only, np.r_[obs[:4], obs[12:]])
    # Outside the map SMAC puts 1: from (1, 8) west is -3, north-west and south-west are -1.
    ally[0, :2] = 1.5, 8.5
    obs = both.observe(ally, enemy, last)[0][0]
    assert obs[4:12].tolist() == [1, 0, 1, 1, 1, 1, 0, 1]
    assert obs[12:21].tolist() == [0.5, 0.5, 0.5, 1, 0.5, 1, 0.5, 1, 0.5]


def test_time():
    ally, enemy, last = world("3m")
    ally[2, FIELDS.index("hp")] = 0
    face = interface("3m", obs_timestep_number=True, state_timestep_number=True)
    assert (face.obs_dim, face.state_dim) == (31, 49)
    plain = interface("3m").observe(ally, enemy, last)
    obs, state, _ = face.observe(ally, enemy, last, 15)
    # 15 of 60 steps; the dead get the time too, as in SMAC.
    np.testing.assert_array_equal(obs, np.c_[plain[0], np.full(3, 0.25)])
    np.testing.assert_array_equal(state, np.r_[plain[1], 0.25])


def test_observations_as_state():
    face = interface("3m", obs_instead_of_state=True)
    assert face.state_dim == 90
    obs, state, _ = face.observe(*world("3m"))
    np.testing.assert_array_equal(state, obs.ravel())


def test_smacv2_options():
    # Own place before the own kind: after hp and shield, x / 32 and y / 32.
    ally, enemy, last = world("2s3z", {0: (10, 16), 2: (10, 17)}, {0: (12.1, 16), 1: (19.5, 16)})
    face = interface("2s3z", obs_own_pos=True, use_unit_ranges=True)
    assert face.obs_dim == 82
    obs, _, mask = face.observe(ally, enemy, last)
    np.testing.assert_allclose(obs[0, -6:], [1, 1, 10 / 32, 0.5, 1, 0], atol=TOLERANCE)
    # A Stalker sees up to 10 and shoots up to 6; a Zealot sees up to 9 and strikes at 2 or less.
    np.testing.assert_allclose(obs[0, 12:16], [0, 0.95, 0.95, 0], atol=TOLERANCE)
    assert not obs[2, 12:20].any()
    assert (mask[0, 6], mask[2, 6]) == (1, 0)
    np.testing.assert_allclose(obs[2, 5], np.sqrt(2.1**2 + 1) / 9, atol=TOLERANCE)


def test_any_leading_axes():
    face = interface("2s3z", obs_last_action=True)
    data = np.load(DATA / "smac_interface_2s3z.npz")
    flat = face.observe(data["ally"], data["enemy"], data["last_actions"], 3)
    inputs = (data[name].reshape(2, 4, *data[name].shape[1:]) for name in ("ally", "enemy", "last_actions"))
    for folded, plain in zip(face.observe(*inputs, np.full((2, 4), 3)), flat, strict=True):
        np.testing.assert_array_equal(folded.reshape(plain.shape), plain)


def test_ranges_by_kind_are_smacv2s():
    # unit_sight_range and unit_shoot_range in smacv2/env/starcraft2/starcraft2.py of
    # https://github.com/oxwhirl/smacv2, commit 08f6550: sight, weapon; its configurations set min_attack_range to 2.
    theirs = {
        "stalker": (10, 6),
        "zealot": (9, 0.1),
        "colossus": (10, 7),
        "zergling": (8, 0.1),
        "baneling": (8, 0.25),
        "hydralisk": (9, 5),
        "marine": (9, 5),
        "marauder": (10, 6),
        "medivac": (11, 4),
    }
    layout = interface("3m", use_unit_ranges=True).layout
    for name, (sight, weapon) in theirs.items():
        kind = TYPE_ID[name]
        assert (layout.sight[kind], layout.shoot[kind]) == (sight, max(weapon, 2)), name
    fixed = interface("3m").layout
    assert (set(fixed.sight), set(fixed.shoot)) == ({9.0}, {6.0})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"last_actions": [13, 1, 1]}, r"last_actions must be from -1 to 8, found 13 at \[0\]"),
        ({"last_actions": [2**16, 1, 1]}, "last_actions must be from -1 to 8, found 65536"),
        ({"unit_type": [99] * 6}, r"unit_type must be from 0 to \d+, found 99 at \[0\]"),
        ({"ally": [[0.0] * 8, [0.0]]}, "ally must have rows of one length"),
        ({"ally": [["a"] * 8] * 3}, "ally must be numbers, found <U1"),
    ],
)
def test_what_kernels_would_use_as_an_index_is_checked(change, message):
    ally, enemy, last = world("3m")
    with pytest.raises(ValueError, match=message):
        interface("3m", obs_last_action=True).observe(**{"ally": ally, "enemy": enemy, "last_actions": last} | change)


def test_engine_form_is_the_same():
    """From float32 and only where asked."""
    face, data = recorded("MMM2"), np.load(DATA / "smac_interface_MMM2.npz")
    units = np.concatenate([data["ally"], data["enemy"]], 1)[..., [0, 1, 2, 4, 6, 7]]
    count = len(units)
    engine = {
        "unit_type": np.tile(MAPS["MMM2"].unit_type, (count, 1)),
        "seen": np.ascontiguousarray(units.astype(np.float32)),
        "last_actions": data["last_actions"].astype(np.int16),
        "step": np.zeros(count, np.int16),
    }
    outputs = face.buffers((count,))
    for output in outputs:
        output.fill(7)
    which = np.arange(count) % 2 == 0
    face.observe_into(engine, which, *outputs)
    for output, expected in zip(outputs, (data["obs"], data["state"], data["avail"]), strict=True):
        np.testing.assert_allclose(output[which], expected[which], rtol=0, atol=TOLERANCE)
        assert (output[~which] == 7).all()


def one_enemy_changes(d_shield=0.0, hp=100.0):
    before, after = np.array([unit("zealot", 1, 1, 100, 20)]), np.array([unit("zealot", 1, 1, hp, 20 + d_shield)])
    return before, after


def test_rewards_by_hand():
    idle = np.array([unit("marine", 1, 1)])
    before, after = one_enemy_changes(d_shield=10)
    # Only the enemy's shield came back: |-10| = 10, unless clamped.
    assert battle_reward(idle, before, idle, after) == 10
    assert battle_reward(idle, before, idle, after, Rewards(reward_clamp=True)) == 0
    assert battle_reward(idle, before, idle, after, Rewards(reward_only_positive=False)) == -10
    # A kill of 80 + 50 points and 10 damage elsewhere: 10 + 130 + 10.
    before = np.array([unit("zealot", 1, 1, 80, 50), unit("zealot", 1, 1, 100, 50)])
    after = np.array([unit("zealot", 1, 1, 0, 0), unit("zealot", 1, 1, 100, 40)])
    assert battle_reward(idle, before, idle, after) == 150
    # Counted once: nothing more for the dead one.
    assert battle_reward(idle, after, idle, after) == 0
    assert battle_reward(idle, before, idle, after, Rewards(reward_death_value=30)) == 170


def test_rewards_for_losses():
    before = np.array([unit("marine", 1, 1), unit("marine", 1, 1)])
    after = np.array([unit("marine", 1, 1, 0), unit("marine", 1, 1, 25)])
    enemy = np.array([unit("zealot", 1, 1)])
    assert battle_reward(before, enemy, after, enemy) == 0
    # Half of 45 + 20 points and of 10 for the death: -(32.5 + 5).
    assert battle_reward(before, enemy, after, enemy, Rewards(reward_only_positive=False)) == -37.5
    assert battle_reward(before, enemy, after, enemy, Rewards(reward_sparse=True)) == 0


@pytest.mark.parametrize(("name", "expected"), [("2s3z", 51), ("3s_vs_5z", 50), ("MMM2", 60.25), ("27m_vs_30m", 92.5)])
def test_victory_and_scale(name, expected):
    m, rewards = MAPS[name], Rewards()
    scale = scale_of(rewards, m.n_enemies, m.enemy_points)
    assert scale == expected
    assert step_reward(0.0, 1, scale, rewards) == pytest.approx(200 / expected)
    assert step_reward(0.0, 0, scale, rewards) == step_reward(0.0, -1, scale, rewards) == 0
    # All enemies killed without regeneration, and the victory: the greatest return, 20.
    everything = m.enemy_points + 10 * m.n_enemies
    assert step_reward(everything, 1, scale, rewards) == pytest.approx(20)


def test_other_reward_options():
    m = MAPS["3m"]
    sparse = make_rewards(reward_sparse=True, reward_win=-1000)  # the other options have no effect
    assert [step_reward(5.0, k, scale_of(sparse, 3, 135), sparse) for k in (1, 0, -1)] == [1, 0, -1]
    plain = make_rewards(reward_scale=False, reward_defeat=-7)
    assert step_reward(5.0, -1, scale_of(plain, 3, 135), plain) == -2
    # (3 * 20 + 100 + 135) / 10
    other = make_rewards(reward_death_value=20, reward_win=100, reward_scale_rate=10)
    assert scale_of(other, m.n_enemies, m.enemy_points) == 29.5


@pytest.mark.parametrize(
    ("make", "given", "message"),
    [
        (make_flags, {"obs_last_action": 1}, "obs_last_action must be true or false, found 1"),
        (
            make_flags,
            {"obs_instead_of_state": True, "state_timestep_number": True},
            "state_timestep_number has no place .* use obs_timestep_number",
        ),
        (make_rewards, {"reward_win": float("nan")}, "reward_win must be a finite number"),
        (make_rewards, {"reward_scale_rate": 0}, "reward_scale_rate must be greater than 0, found 0"),
        (make_rewards, {"reward_clamp": True, "reward_only_positive": False}, "reward_clamp .* set that to true"),
    ],
)
def test_options_that_cannot_be_used(make, given, message):
    with pytest.raises(ValueError, match=message) as error:
        make(**given)
    assert "\n" not in str(error.value)


def test_shapes_are_checked():
    ally, enemy, last = world("3m")
    face = interface("3m")
    with pytest.raises(ValueError, match=r"enemy must have shape \(3, 8\), found \(2, 8\)"):
        face.observe(ally, enemy[:2], last)
    with pytest.raises(ValueError, match=r"last_actions must have shape \(3,\), found \(4,\)"):
        face.observe(ally, enemy, np.zeros(4))


def test_smacs_defaults():
    assert Flags() == make_flags()
    assert [name for name, value in Flags()._asdict().items() if value] == [
        "obs_all_health",
        "obs_own_health",
        "state_last_action",
    ]
    assert tuple(make_rewards()) == (False, True, 10, 200, 0, 0.5, True, 20, False)
