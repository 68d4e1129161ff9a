"""The 23 SMAC maps and SMACv2's scenarios: who fights whom, from where, on which ground, for how long.

A world is 32 x 32; x grows to the east, y to the north. Groups of units are created at one point each, in the order
given, and stand around it in rings, as recordings of the game show.
"""

import math
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Literal

import numpy as np

from marl_gre_envs.checks import one_of
from marl_gre_envs.smac.units import CLOSER, MEDIVAC, TYPE_ID, UNITS, Unit

SIZE = 32  # of the world, in both directions

Point = tuple[float, float]
Order = Literal["point", "segment", "units", "none"]
LAYOUTS = ("rings", "rings_jitter")

# How many kinds of unit a map tells apart, in their one-hots' order; for enemies, SMAC swaps Stalkers and Zealots.
TYPE_BITS: dict[str, tuple[str, ...]] = {
    "marines": (),
    "stalkers": (),
    "zealots": (),
    "hydralisks": (),
    "colossus": (),
    "stalkers_and_zealots": ("stalker", "zealot"),
    "colossi_stalkers_zealots": ("colossus", "stalker", "zealot"),
    "bane": ("baneling", "zergling"),
    "MMM": ("marauder", "marine", "medivac"),
    "protoss_gen": ("stalker", "zealot", "colossus"),
    "terran_gen": ("marine", "marauder", "medivac"),
    "zerg_gen": ("zergling", "hydralisk", "baneling"),
}
ENEMY_TYPE_BITS = TYPE_BITS | {"stalkers_and_zealots": ("zealot", "stalker")}


@dataclass(frozen=True)
class Group:
    """Units of one kind or several, created at one point in the order of `units`."""

    units: tuple[tuple[str, int], ...]
    point: Point

    @property
    def types(self) -> tuple[str, ...]:
        """The kind of each unit, in creation order."""
        return tuple(name for name, count in self.units for _ in range(count))


@dataclass(frozen=True)
class Map:
    """One map.

    Attributes:
        name: SMAC's name.
        allies, enemies: the groups of both sides, in creation order.
        order: what the enemies are told once: attack-move to "point", to a random point of a "segment", attack the
            agents' "units" wherever they go, or "none".
        targets: the point, or the two ends of the segment.
        episode_limit: time limit [steps].
        map_type: SMAC's word for the kinds of units that observations tell apart (TYPE_BITS).
        terrain: key of TERRAINS.
    """

    name: str
    allies: tuple[Group, ...]
    enemies: tuple[Group, ...]
    episode_limit: int
    map_type: str
    order: Order = "point"
    targets: tuple[Point, ...] = ((9.0, 16.0),)
    terrain: str = "band"

    @cached_property
    def _created(self) -> tuple[str, ...]:
        return tuple(name for group in self.allies for name in group.types)

    @cached_property
    def ally_creation(self) -> tuple[int, ...]:
        """Position of each agent in the creation order; SMAC numbers agents by kind, then x, then y of their start."""
        starts = _starts(self.allies, self.terrain)
        kinds = [TYPE_ID[name] for name in self._created]
        return tuple(sorted(range(len(kinds)), key=lambda i: (kinds[i], *starts[i])))

    @cached_property
    def ally_types(self) -> tuple[str, ...]:
        """The kind of each agent, in agent order."""
        return tuple(self._created[i] for i in self.ally_creation)

    @cached_property
    def enemy_types(self) -> tuple[str, ...]:
        """The kind of each enemy; enemies are numbered as they were created."""
        return tuple(name for group in self.enemies for name in group.types)

    @cached_property
    def unit_type(self) -> np.ndarray:
        """TYPE_ID of all units, agents first, [A + N] int8."""
        return np.array([TYPE_ID[name] for name in self.ally_types + self.enemy_types], np.int8)

    @property
    def n_agents(self) -> int:
        """Number of agents, A."""
        return len(self.ally_types)

    @property
    def n_enemies(self) -> int:
        """Number of enemies, N."""
        return len(self.enemy_types)

    @property
    def n_actions(self) -> int:
        """No-op, stop, four moves, and one attack per enemy."""
        return 6 + self.n_enemies

    @property
    def ally_race(self) -> str:
        """Race of the agents: "P", "T" or "Z"."""
        return UNITS[self.ally_types[0]].race

    @property
    def enemy_race(self) -> str:
        """Race of the enemies: "P", "T" or "Z"."""
        return UNITS[self.enemy_types[0]].race

    @property
    def has_medivacs(self) -> bool:
        """Whether a side that has only Medivacs left has lost."""
        return MEDIVAC in self.unit_type

    @property
    def enemy_points(self) -> float:
        """Hit points and shield points of all enemies together."""
        return float(sum(UNITS[name].hp + UNITS[name].shield for name in self.enemy_types))

    @property
    def pathable(self) -> np.ndarray:
        """Which cells can be walked, [x, y]."""
        return ground_of(self.terrain)

    @cached_property
    def height(self) -> np.ndarray:
        """Height of the ground, 0 to 1, [x, y]: 0.5, and 0.75 on the plateau of the ravine.

        SMAC reads StarCraft's own heights here; only where they differ is known, not their values.
        """
        height = np.full((SIZE, SIZE), 0.5)
        if self.terrain == "ravine":
            height[7:25, 13:21] = 0.75
        return height

    @cached_property
    def starts(self) -> np.ndarray:
        """Starts of the units in the "rings" layout, agents first and in agent order, [A + N, 2] float64 (x, y)."""
        allies = _starts(self.allies, self.terrain)[list(self.ally_creation)]
        return np.concatenate([allies, _starts(self.enemies, self.terrain)])


@dataclass(frozen=True)
class Scenario(Map):
    """A map whose units and starts are drawn for each episode (scenarios.py), as in SMACv2.

    Map's properties about units describe a team of the first kind; only the sizes of both sides are meant.

    Attributes:
        weights: probability of each kind of TYPE_BITS[map_type].
        helpers: kinds that never make up a whole team.
        reflect: probability that the enemies start as a mirror image of the agents, instead of around them.
    """

    weights: tuple[float, ...] = ()
    helpers: tuple[str, ...] = ()
    reflect: float = 0.5

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds that are drawn."""
        return TYPE_BITS[self.map_type]

    @property
    def has_medivacs(self) -> bool:
        """Whether a side that has only Medivacs left has lost."""
        return "medivac" in self.kinds

    @property
    def enemy_points(self) -> float:
        """Expected hit points and shield points of all enemies together."""
        each = sum(w * (UNITS[name].hp + UNITS[name].shield) for name, w in zip(self.kinds, self.weights, strict=True))
        return self.n_enemies * each


# Where recordings show units of mixed groups, from the point of their group: place in the creation order -> (x, y).
_MMM = {7: (-0.831, 0.966), 8: (-0.831, -0.967)}
RECORDED: dict[tuple[tuple[str, int], ...], dict[int, Point]] = {
    (("stalker", 2), ("zealot", 3)): {2: (0.9414, -0.4946), 3: (0.7517, 0.7517), 4: (-0.752, 0.7517)},
    (("marine", 7), ("marauder", 2), ("medivac", 1)): _MMM,
    (("marine", 8), ("marauder", 3), ("medivac", 1)): {8: (-0.831, -0.967), 9: (0.0, -1.6875), 10: (1.6875, 0.0)},
}
SPOTS = 12  # rings of places around a point


@cache
def _spots() -> tuple[tuple[int, int], ...]:
    """Return places of a square lattice from the middle outwards, those as far counterclockwise from the south.

    Of those as far, first come the four on the axes or next after them, then the other four.
    """
    lattice = [(x, y) for x in range(-SPOTS, SPOTS + 1) for y in range(-SPOTS, SPOTS + 1)]

    def key(spot: tuple[int, int]) -> tuple[int, float, float]:
        angle = (math.degrees(math.atan2(spot[1], spot[0])) + 90) % 360
        return spot[0] ** 2 + spot[1] ** 2, round(angle % 90, 6), angle

    return tuple(sorted(lattice, key=key))


def ring_layout(
    units: tuple[tuple[str, int], ...], point: Point = (0.0, 0.0), ground: np.ndarray | None = None
) -> np.ndarray:
    """Return positions [n, 2] of a group around a point, as StarCraft II creates units.

    Each unit takes the first free place of a lattice whose pitch is twice its radius, nearest first and from the south
    counterclockwise; the four places next to the first unit lie in contact with it.

    Args:
        units: kinds and their numbers, in creation order.
        point: where they are created (x, y).
        ground: where they can stand, [32, 32] bool; anywhere if None.

    Raises:
        ValueError: the group fits nowhere near the point.
    """
    placed: list[tuple[Unit, Point]] = []
    known = RECORDED.get(units, {})
    for unit in [UNITS[name] for name, count in units for _ in range(count)]:
        contact = unit.radius + placed[0][0].radius - CLOSER if placed else 0.0
        for right, up in _spots():
            pitch = contact if right * right + up * up == 1 else 2 * unit.radius
            x, y = known.get(len(placed), (right * pitch, up * pitch))
            free = all(
                math.hypot(x - a, y - b) > unit.radius + other.radius - CLOSER - 1e-3
                for other, (a, b) in placed
                if (other.flies, other.tall) == (unit.flies, unit.tall)
            )
            on_ground = ground is None or unit.flies or _stands(unit, (point[0] + x, point[1] + y), ground)
            if (free and on_ground) or len(placed) in known:
                placed.append((unit, (x, y)))
                break
        else:
            raise ValueError(f"{len(placed) + 1} units of {units} fit nowhere near {point}.")
    return np.array([place for _, place in placed]) + point


def _stands(unit: Unit, place: Point, ground: np.ndarray) -> bool:
    return bool(fits(ground, np.array(place), np.array(unit.inner_radius - CLOSER)))


def fits(pathable: np.ndarray, places: np.ndarray, radii: np.ndarray) -> np.ndarray:
    """Return for each disc whether it lies inside the world and touches no cell that is not pathable.

    Args:
        pathable: [32, 32] bool.
        places: centres [..., 2].
        radii: [...].
    """
    blocked = np.argwhere(~pathable)
    nearest = np.clip(places[..., None, :], blocked, blocked + 1)
    clear = ((places[..., None, :] - nearest) ** 2).sum(-1).min(-1, initial=np.inf) >= radii**2
    inside = ((places >= radii[..., None]) & (places <= SIZE - radii[..., None])).all(-1)
    return clear & inside


@cache
def _starts(groups: tuple[Group, ...], terrain: str) -> np.ndarray:
    """Return the start positions of one side, in creation order, [n, 2]."""
    return np.concatenate([ring_layout(group.units, group.point, ground_of(terrain)) for group in groups])


@cache
def ground_of(terrain: str) -> np.ndarray:
    """Return the cells on which units can stand, [x, y].

    Units walk one cell further than the maps' flags say, as the recordings show (Marines come down to y = 7.3125 where
    the flags end at y = 8), but a wall of two cells between two grounds is a cliff that stays (Zerglings of 2c_vs_64zg
    start up to it). The cells of `TERRAINS["corridor"]` are such already.
    """
    pathable = TERRAINS[terrain]
    if terrain == "corridor":
        return pathable
    wider = pathable.copy()
    padded = np.pad(pathable, 3)
    for right, up in ((1, 0), (-1, 0), (0, 1), (0, -1)):
        behind, one, two = (
            padded[3 + k * right : 3 + k * right + SIZE, 3 + k * up : 3 + k * up + SIZE] for k in (-1, 1, 2)
        )
        wider |= behind & ~one & ~two
    return wider


def between(pathable: np.ndarray) -> np.ndarray:
    """Return the cells with pathable ones on both sides in their row and in their column, [x, y]."""
    sides = []
    for axis in (0, 1):
        before = np.logical_or.accumulate(pathable, axis)
        after = np.flip(np.logical_or.accumulate(np.flip(pathable, axis), axis), axis)
        sides.append(before & after)
    return sides[0] & sides[1]


def map_named(name: object) -> Map:
    """Return the map or scenario of that name.

    Raises:
        ValueError: there is none; the message names the nearest.
    """
    found = (MAPS | SCENARIOS).get(name) if isinstance(name, str) else None
    if found is None:
        raise ValueError(one_of("map_name", name, [*MAPS, *SCENARIOS]))
    return found


def _terrain(*blocks: tuple[int, int, int, int]) -> np.ndarray:
    """Return [x, y] whether a cell can be walked, from blocks (y_first, y_last, x_first, x_last), ends included."""
    pathable = np.zeros((SIZE, SIZE), bool)
    for bottom, top, left, right in blocks:
        pathable[left : right + 1, bottom : top + 1] = True
    pathable.flags.writeable = False
    return pathable


# From the maps' own cell flags; "corridor" from SMAClite, because the flags are too coarse for its choke.
TERRAINS: dict[str, np.ndarray] = {
    "open": _terrain((0, 31, 0, 31)),
    "band": _terrain((8, 23, 0, 31)),
    "octagon": _terrain((6, 7, 10, 21), (8, 9, 8, 23), (10, 21, 6, 25), (22, 23, 8, 23), (24, 25, 10, 21)),
    "arena_6h": _terrain((8, 9, 10, 19), (10, 17, 8, 21), (18, 19, 10, 19)),
    "pentagon": _terrain((8, 19, 8, 19), (20, 21, 10, 17), (22, 23, 12, 15)),
    "ravine": _terrain(
        (6, 7, 4, 27),
        (8, 9, 2, 29),
        (10, 11, 0, 31),
        (12, 13, 0, 3),
        (12, 13, 28, 31),
        (14, 15, 0, 31),
        (16, 17, 2, 29),
        (18, 19, 8, 23),
    ),
    "corridor": _terrain(
        (1, 1, 2, 13),
        (2, 2, 1, 13),
        (3, 10, 1, 12),
        (11, 11, 1, 13),
        (12, 12, 2, 14),
        (13, 13, 11, 25),
        (14, 14, 12, 26),
        (15, 15, 13, 27),
        (16, 16, 13, 28),
        (17, 17, 12, 29),
        (18, 21, 11, 30),
        (22, 22, 12, 30),
        *((y, y, y - 10, 30) for y in range(23, 30)),
        (30, 30, 20, 29),
    ),
    "valley": _terrain(
        (2, 3, 2, 7),
        (4, 7, 2, 11),
        (8, 11, 4, 15),
        (12, 15, 8, 19),
        (16, 17, 10, 19),
        (18, 21, 14, 25),
        (22, 23, 16, 29),
        (24, 27, 20, 29),
        (28, 29, 22, 29),
    ),
}
NON_CONVEX = ("ravine", "corridor", "valley")  # where the straight way may be blocked

WEST, EAST = (9.0, 16.0), (23.0, 16.0)


def _side(point: Point, **counts: int) -> tuple[Group, ...]:
    return (Group(tuple(counts.items()), point),)


def _marines(name: str, allies: int, enemies: int, limit: int) -> Map:
    return Map(name, _side(WEST, marine=allies), _side(EAST, marine=enemies), limit, "marines")


def _stalkers(name: str, zealots: int, limit: int) -> Map:
    return Map(name, _side(WEST, stalker=3), _side(EAST, zealot=zealots), limit, "stalkers", terrain="open")


def _protoss(name: str, allies: dict[str, int], enemies: dict[str, int], limit: int, map_type: str) -> Map:
    return Map(name, _side(WEST, **allies), _side(EAST, **enemies), limit, map_type)


def _mmm(name: str, marines: int, marauders: int, limit: int) -> Map:
    allies = _side(WEST, marine=7, marauder=2, medivac=1)
    return Map(name, allies, _side(EAST, marine=marines, marauder=marauders, medivac=1), limit, "MMM")


TWO_THREE = {"stalker": 2, "zealot": 3}
THREE_FIVE = {"stalker": 3, "zealot": 5}
ONE_THREE_FIVE = {"colossus": 1, "stalker": 3, "zealot": 5}

MAPS: dict[str, Map] = {
    found.name: found
    for found in (
        _stalkers("3s_vs_5z", 5, 250),
        _protoss("3s5z", THREE_FIVE, THREE_FIVE, 150, "stalkers_and_zealots"),
        _marines("27m_vs_30m", 27, 30, 180),
        _protoss("2s3z", TWO_THREE, TWO_THREE, 120, "stalkers_and_zealots"),
        _marines("5m_vs_6m", 5, 6, 70),
        _marines("10m_vs_11m", 10, 11, 150),
        Map(
            "bane_vs_bane",
            _side((16.0, 11.0), zergling=20) + _side((16.0, 8.0), baneling=4),
            _side((16.0, 21.0), zergling=20) + _side((16.0, 24.0), baneling=4),
            200,
            "bane",
            targets=((16.0, 8.0),),
            terrain="octagon",
        ),
        _mmm("MMM2", 8, 3, 180),
        _marines("3m", 3, 3, 60),
        _marines("8m", 8, 8, 120),
        _marines("25m", 25, 25, 150),
        _marines("8m_vs_9m", 8, 9, 120),
        _mmm("MMM", 7, 2, 150),
        _protoss("3s5z_vs_3s6z", THREE_FIVE, {"stalker": 3, "zealot": 6}, 170, "stalkers_and_zealots"),
        _stalkers("3s_vs_3z", 3, 150),
        _stalkers("3s_vs_4z", 4, 200),
        _protoss("1c3s5z", ONE_THREE_FIVE, ONE_THREE_FIVE, 180, "colossi_stalkers_zealots"),
        Map(
            "2m_vs_1z",
            _side((13.0, 12.0), marine=1) + _side((19.0, 12.0), marine=1),
            _side((16.0, 19.0), zealot=1),
            150,
            "marines",
            order="segment",
            targets=((13.0, 12.0), (19.0, 12.0)),
            terrain="octagon",
        ),
        Map(
            "corridor",
            _side((19.04, 19.12), zealot=6),
            _side((27.91, 28.24), zergling=24),
            400,
            "zealots",
            targets=((4.47, 4.33),),
            terrain="corridor",
        ),
        Map(
            "6h_vs_8z",
            _side((14.60, 9.49), hydralisk=6),
            _side((14.41, 16.76), zealot=8),
            150,
            "hydralisks",
            targets=((14.60, 9.49),),
            terrain="arena_6h",
        ),
        Map(
            "2s_vs_1sc",
            _side((11.12, 10.34), stalker=1) + _side((16.98, 10.37), stalker=1),
            _side((13.92, 20.04), spine_crawler=1),
            300,
            "stalkers",
            order="none",
            targets=(),
            terrain="pentagon",
        ),
        Map(
            "so_many_baneling",
            _side((11.47, 12.02), zealot=7),
            _side((27.91, 28.24), baneling=32),
            100,
            "zealots",
            targets=((4.47, 4.33),),
            terrain="valley",
        ),
        Map(
            "2c_vs_64zg",
            _side((16.0, 16.0), colossus=2),
            _side((16.0, 9.0), zergling=64),
            400,
            "colossus",
            order="units",
            targets=(),
            terrain="ravine",
        ),
    )
}

# SMACv2's configurations (https://github.com/oxwhirl/smacv2): the kinds of each race in its order with their
# probabilities, the kinds that never make up a whole team, and (agents, enemies).
RACES: dict[str, tuple[dict[str, float], tuple[str, ...]]] = {
    "protoss": ({"stalker": 0.45, "zealot": 0.45, "colossus": 0.1}, ()),
    "terran": ({"marine": 0.45, "marauder": 0.45, "medivac": 0.1}, ("medivac",)),
    "zerg": ({"zergling": 0.45, "baneling": 0.1, "hydralisk": 0.45}, ("baneling",)),
}
RACE_AND_SIZE = {
    f"{race}_{allies}_vs_{enemies}": (race, allies, enemies)
    for race in RACES
    for allies, enemies in ((5, 5), (10, 10), (10, 11), (20, 20), (20, 23))
}


def _scenario(name: str) -> Scenario:
    race, allies, enemies = RACE_AND_SIZE[name]
    weights, helpers = RACES[race]
    map_type = f"{race}_gen"
    first = TYPE_BITS[map_type][0]
    return Scenario(
        name,
        _side(WEST, **{first: allies}),
        _side(EAST, **{first: enemies}),
        200,
        map_type,
        terrain="open",
        weights=tuple(weights[kind] for kind in TYPE_BITS[map_type]),
        helpers=helpers,
    )


SCENARIOS: dict[str, Scenario] = {name: _scenario(name) for name in RACE_AND_SIZE}
