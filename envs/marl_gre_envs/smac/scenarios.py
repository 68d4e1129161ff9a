"""Random battles like SMACv2's: the kinds of units and their starts are drawn for each episode.

Both sides get the same team, each unit's kind drawn with the scenario's weights; further enemies are drawn likewise.
The agents start anywhere in the west and the enemies as their mirror image ("reflect"), or all agents in the middle and
the enemies in one to four groups on the diagonals ("surrounded"). The numbers are those of SMACv2
(https://github.com/oxwhirl/smacv2); units that would overlap are pushed apart before the episode starts. Agents are
numbered by kind, then x, then y, as in SMACv2, enemies as they were drawn. The enemies attack-move to the centre of the
agents' starts; rewards are divided by what SMAC's greatest return would be for the average team.
"""

from typing import Any

import numpy as np

from marl_gre_envs import randomness
from marl_gre_envs.checks import choice
from marl_gre_envs.compiling import kernel
from marl_gre_envs.core import Field
from marl_gre_envs.smac.core import SMAC
from marl_gre_envs.smac.maps import SIZE, Scenario
from marl_gre_envs.smac.units import (
    FLIES,
    HP,
    MAX_COOLDOWN,
    MAX_ENERGY,
    RADIUS,
    SHIELD,
    TALL,
    TYPE_ID,
    TYPE_NAMES,
    UNIT_TABLE,
)
from marl_gre_envs.vector import World

TEAM, MORE, PLACES, MORE_PLACES, REFLECT, GROUPS, MEMBERS, DIAGONALS, ALONG = range(20, 29)  # purposes of random draws
START_POSITIONS = {"surrounded_and_reflect": None, "reflect": 1.0, "surrounded": 0.0}  # probability of "reflect"
MIDDLE = SIZE / 2
BORDER = 1.0  # no agent starts closer than this to the line in which "reflect" mirrors
OFFSET = 2.0  # no group of enemies starts closer than this to the middle, in x and in y
GAP = 0.05  # between units that are pushed apart
PASSES = 200  # over all pairs when pushing apart; 43 units need fewer


class SMACScenario(SMAC):
    """E parallel battles of one scenario of maps.SCENARIOS; keywords are SMAC's and start_positions.

    Its battles begin like the first of a game (fresh_game), since enemies cannot have walked from random starts. A
    world given to reset() identifies each unit's kind by its hp_max and shield_max.
    """

    def __init__(self, num_envs: int = 1, *, start_positions: str = "surrounded_and_reflect", **kwargs: Any):
        """Make the environments; call reset() next.

        Args:
            num_envs: number of parallel environments.
            start_positions: "surrounded_and_reflect" (either, with equal probability), "reflect" or "surrounded".
            kwargs: see SMAC.

        Raises:
            ValueError: a value is not allowed.
        """
        self.start_positions = choice("start_positions", start_positions, tuple(START_POSITIONS))
        super().__init__(num_envs, **{"fresh_game": True, **kwargs})

    map: Scenario

    @property
    def state_bounds(self) -> tuple[float, float]:
        """Lower and upper bound of the numbers in a state."""
        low, high = super().state_bounds
        mine, least = UNIT_TABLE[self.map.unit_type[0], MAX_COOLDOWN], UNIT_TABLE[self._kinds, MAX_COOLDOWN].min()
        return low, high * mine / least

    @property
    def _kinds(self) -> np.ndarray:
        return np.array([TYPE_ID[name] for name in self.map.kinds], np.int8)

    def _engine_fields(self) -> dict[str, Field]:
        kinds, units = self._kinds, self.n_agents + self.n_enemies
        return super()._engine_fields() | {"unit_type": Field((units,), np.int8, kinds.min(), kinds.max())}

    def _option_fields(self) -> dict[str, Field]:
        fields, most = super()._option_fields(), UNIT_TABLE[self._kinds].max(0)
        for name in self.given:
            high = np.array(fields[name].high)
            high[:, 2:6] = most[[HP, HP, SHIELD, SHIELD]]
            high[:, 7] = most[MAX_ENERGY]
            fields[name] = fields[name]._replace(low=0.0, high=high)
        return fields

    def _check_world(self, world: World) -> None:
        if "unit_type" in world and not (known := np.isin(world["unit_type"], self._kinds)).all():
            raise ValueError(f"unit_type must be one of {self._kinds.tolist()}, found {world['unit_type'][~known][0]}.")
        for name in (name for name in self.given if name in world):
            rows = world[name]
            most = UNIT_TABLE[_kind_of(rows, self._kinds)]
            for column, field, greatest in ((3, "hp_max", HP), (5, "shield_max", SHIELD)):
                if (wrong := rows[..., column] != most[..., greatest]).any():
                    kinds = ", ".join(TYPE_NAMES[kind] for kind in self._kinds)
                    raise ValueError(f"{name}: no unit of {kinds} has {field} {rows[..., column][wrong][0]:g}.")
            for column, field, greatest in ((2, "hp", HP), (4, "shield", SHIELD), (7, "energy", MAX_ENERGY)):
                if (wrong := rows[..., column] > most[..., greatest]).any():
                    found, allowed = rows[..., column][wrong][0], most[..., greatest][wrong][0]
                    raise ValueError(f"{name}: {field} must be from 0 to {allowed:g}, found {found:g}.")
        super()._check_world(world)

    def _place(self, which: np.ndarray) -> None:
        w, scenario = self.world, self.map
        reflect = START_POSITIONS[self.start_positions]
        kinds, weights = self._kinds, np.cumsum(scenario.weights)
        helpers = np.array([name in scenario.helpers for name in scenario.kinds])
        chances = (self.n_agents, kinds, weights, helpers, scenario.reflect if reflect is None else reflect)
        _draw(which, w["seed"], w["episode"], *chances, UNIT_TABLE.copy(), w["unit_type"], w["pos"])

    def _send_enemies(self, which: np.ndarray, fresh: bool) -> None:
        _aim(which, self.world["pos"], self.n_agents, self.world["attack_point"])
        super()._send_enemies(which, fresh)

    def _start_from(self, start: World) -> None:
        rows = np.concatenate([start["ally"], start["enemy"]], 1)
        self.world["unit_type"][:] = _kind_of(rows, self._kinds)
        super()._start_from(start)


def _kind_of(rows: np.ndarray, kinds: np.ndarray) -> np.ndarray:
    """Return the kind whose greatest hp and shields are nearest to those given: no two of a race have the same."""
    most = UNIT_TABLE[kinds][:, [HP, SHIELD]]
    return kinds[np.abs(rows[..., None, [3, 5]] - most).sum(-1).argmin(-1)]


@kernel
def _team(key, purpose, kinds, weights, helpers, out):
    """Draw the kinds of a team until it does not consist of helpers alone."""
    attempt, done = 0, False
    while not done:
        for i in range(out.size):
            draw, k = randomness.uniform(key, attempt, purpose, i) * weights[-1], 0
            while k < weights.size - 1 and draw >= weights[k]:
                k += 1
            out[i] = kinds[k]
            done = done or not helpers[k]
        attempt += 1


@kernel
def _draw(which, seed, episode, n_agents, kinds, weights, helpers, reflect, table, unit_type, pos):
    """Draw kinds and places of all units in the environments flagged in which [E]."""
    for e in range(which.size):
        if not which[e]:
            continue
        key = randomness.episode_key(seed[e], episode[e])
        types, places = unit_type[e], pos[e]
        n_enemies = types.size - n_agents
        _team(key, TEAM, kinds, weights, helpers, types[:n_agents])
        types[n_agents : 2 * n_agents] = types[:n_agents]
        if n_enemies > n_agents:
            _team(key, MORE, kinds, weights, helpers, types[2 * n_agents :])
        if randomness.uniform(key, 0, REFLECT, 0) < reflect:
            _mirror(key, n_agents, places)
        else:
            _surround(key, n_agents, types, table, places)
        _push_apart(types, table, places)
        _sort_agents(n_agents, types, places)


@kernel
def _mirror(key, n_agents, places):
    """Place agents in the west and enemies in their mirror image; further enemies anywhere in the east."""
    for i in range(len(places)):
        other = i - n_agents
        if i < n_agents:
            places[i, 0] = randomness.uniform(key, 0, PLACES, 2 * i) * (MIDDLE - BORDER)
            places[i, 1] = randomness.uniform(key, 0, PLACES, 2 * i + 1) * SIZE
        elif other < n_agents:
            places[i, 0], places[i, 1] = SIZE - places[other, 0], places[other, 1]
        else:
            places[i, 0] = MIDDLE + randomness.uniform(key, 0, MORE_PLACES, 2 * other) * MIDDLE
            places[i, 1] = randomness.uniform(key, 0, MORE_PLACES, 2 * other + 1) * SIZE


@kernel
def _surround(key, n_agents, types, table, places):
    """Place agents in the middle and enemies in groups on the way from there to the corners."""
    n_enemies = types.size - n_agents
    _huddle(MIDDLE, MIDDLE, types[:n_agents], table, places[:n_agents])
    n_groups = 1 + randomness.below(4, key, 0, GROUPS, 0)
    members = np.zeros(n_groups, np.int64)
    for i in range(n_enemies):
        members[randomness.below(n_groups, key, 0, MEMBERS, i)] += 1
    diagonals = np.arange(4)
    randomness.shuffle(diagonals, n_groups, key, 0, DIAGONALS)
    first = n_agents
    for g in range(n_groups):
        last = first + members[g]
        # From the corner (0) to near the middle (1).
        along = randomness.uniform(key, 0, ALONG, g) * (MIDDLE - OFFSET)
        x = along if diagonals[g] < 2 else SIZE - along
        y = along if diagonals[g] % 2 == 0 else SIZE - along
        _huddle(x, y, types[first:last], table, places[first:last])
        first = last


@kernel
def _huddle(x, y, types, table, places):
    """Place units on a square grid around a point, wide enough for the largest."""
    side, pitch = 1, 0.0
    while side * side < types.size:
        side += 1
    for i in range(types.size):
        pitch = max(pitch, 2.0 * table[types[i], RADIUS] + GAP)
    rows = (types.size + side - 1) // side
    for i in range(types.size):
        places[i, 0] = x + (i % side - (side - 1) / 2.0) * pitch
        places[i, 1] = y + (i // side - (rows - 1) / 2.0) * pitch


@kernel
def _push_apart(types, table, places):
    """Move units until none overlaps another of its plane and all are inside the world."""
    moved, left = True, PASSES
    while moved and left > 0:
        moved = False
        left -= 1
        for i in range(types.size):
            radius = table[types[i], RADIUS]
            for axis in range(2):
                places[i, axis] = min(max(places[i, axis], radius), SIZE - radius)
            for j in range(i):
                if table[types[i], FLIES] != table[types[j], FLIES] or table[types[i], TALL] != table[types[j], TALL]:
                    continue
                apart = radius + table[types[j], RADIUS]
                dx, dy = places[i, 0] - places[j, 0], places[i, 1] - places[j, 1]
                distance = np.sqrt(dx * dx + dy * dy)
                if distance >= apart:
                    continue
                moved = True
                if distance == 0.0:
                    dx, distance = 1.0, 1.0
                    gap = apart + GAP
                else:
                    gap = apart + GAP - distance
                for k, sign in ((i, 0.5), (j, -0.5)):
                    places[k, 0] += sign * gap * dx / distance
                    places[k, 1] += sign * gap * dy / distance


@kernel
def _sort_agents(n_agents, types, places):
    """Sort the agents by kind, then x, then y."""
    for i in range(1, n_agents):
        k = i
        while k > 0 and _before(types, places, k, k - 1):
            types[k], types[k - 1] = types[k - 1], types[k]
            for axis in range(2):
                places[k, axis], places[k - 1, axis] = places[k - 1, axis], places[k, axis]
            k -= 1


@kernel
def _before(types, places, a, b):
    """Return whether unit a comes before unit b."""
    if types[a] != types[b]:
        return types[a] < types[b]
    if places[a, 0] != places[b, 0]:
        return places[a, 0] < places[b, 0]
    return places[a, 1] < places[b, 1]


@kernel
def _aim(which, pos, n_agents, attack_point):
    """Send the enemies to where the agents' middle is."""
    for e in range(which.size):
        if not which[e]:
            continue
        for axis in range(2):
            total = 0.0
            for i in range(n_agents):
                total += pos[e, i, axis]
            attack_point[e, axis] = total / n_agents
