"""SMAC's interface: observations, global state and action masks as functions of the units (rewards: rewards.py).

Everything follows SMAC's own code (https://github.com/oxwhirl/smac, version 1), its quirks included: an attack is legal
up to distance 6 whatever the weapon, a Medivac's heal bits are in the enemy rows of its observation, and enemy Stalkers
and Zealots have each other's one-hot. Arithmetic is in float64, outputs are float32.

`Interface.observe` works on plain arrays, `Interface.observe_into` on the engine's world.
"""

from typing import Any, NamedTuple

import numpy as np

from marl_gre_envs.checks import as_array, in_range, settings
from marl_gre_envs.compiling import inner_kernel, kernel
from marl_gre_envs.smac.maps import ENEMY_TYPE_BITS, SIZE, TYPE_BITS, Map
from marl_gre_envs.smac.units import HP, MAX_COOLDOWN, MEDIVAC, SHIELD, TYPE_ID, UNIT_TABLE

NOOP, STOP, NORTH, SOUTH, EAST, WEST, FIRST_TARGET = range(7)  # actions; FIRST_TARGET + k attacks (or heals) unit k
SHOOT_RANGE, SIGHT_RANGE = 6.0, 9.0  # of every unit, in the mask and in observations
# The same in SMACv2 (https://github.com/oxwhirl/smacv2) with use_unit_ranges.
SHOOT_RANGES = {
    "stalker": 6.0,
    "zealot": 2.0,
    "colossus": 7.0,
    "marine": 5.0,
    "marauder": 6.0,
    "medivac": 4.0,
    "zergling": 2.0,
    "baneling": 2.0,
    "hydralisk": 5.0,
}
SIGHT_RANGES = {
    "stalker": 10.0,
    "zealot": 9.0,
    "colossus": 10.0,
    "marine": 9.0,
    "marauder": 10.0,
    "medivac": 11.0,
    "zergling": 8.0,
    "baneling": 8.0,
    "hydralisk": 9.0,
}
N_PATHING, N_HEIGHT = 8, 9  # cells around an agent that obs_pathing_grid and obs_terrain_height show

SEEN_X, SEEN_Y, SEEN_HP, SEEN_SHIELD, SEEN_COOLDOWN, SEEN_ENERGY = range(6)  # columns of world["seen"]
FIELDS = ("x", "y", "hp", "hp_max", "shield", "shield_max", "cooldown", "energy")  # of a unit given to observe()
_SEEN_OF_FIELDS = [FIELDS.index(name) for name in ("x", "y", "hp", "shield", "cooldown", "energy")]


class Flags(NamedTuple):
    """Contents of observations and state, with SMAC's names and defaults.

    Attributes:
        obs_all_health: health and shields of all units in sight and of the agent itself.
        obs_own_health: health and shields of the agent itself; implied by obs_all_health.
        obs_last_action: last actions of the agents in sight.
        obs_pathing_grid: which of the 8 surrounding cells are walkable.
        obs_terrain_height: height of the agent's cell and of the 8 around it.
        obs_timestep_number: steps played / episode_limit, for dead agents too.
        obs_instead_of_state: the state is the observations of all agents, one after another.
        state_last_action: the state ends with every agent's last action.
        state_timestep_number: steps played / episode_limit come last in the state.
        obs_own_pos: the agent's own position, x / 32 and y / 32 (SMACv2).
        use_unit_ranges: attack range and sight depend on the kind of unit (SHOOT_RANGES, SIGHT_RANGES); otherwise they
            are 6 and 9 for all (SMACv2 has them by kind).
    """

    obs_all_health: bool = True
    obs_own_health: bool = True
    obs_last_action: bool = False
    obs_pathing_grid: bool = False
    obs_terrain_height: bool = False
    obs_timestep_number: bool = False
    obs_instead_of_state: bool = False
    state_last_action: bool = True
    state_timestep_number: bool = False
    obs_own_pos: bool = False
    use_unit_ranges: bool = False


class Layout(NamedTuple):
    """Constants that the kernels need: the flags, and everything that does not change during play."""

    flags: Flags
    n_agents: int
    n_enemies: int
    ally_shields: bool  # whether rows of agents show shields: they are Protoss
    enemy_shields: bool
    type_bits: int
    ally_bit: np.ndarray  # [types] int64, place in the one-hot
    enemy_bit: np.ndarray
    hp: np.ndarray  # [types] float64, greatest
    shield: np.ndarray
    max_cooldown: np.ndarray
    shoot: np.ndarray  # [types] float64, ranges in masks
    sight: np.ndarray  # and of observations
    pathable: np.ndarray  # [32, 32] bool
    height: np.ndarray  # [32, 32] float64
    move_amount: float
    episode_limit: int


def make_flags(**given: Any) -> Flags:
    """Return Flags after checking them.

    Raises:
        ValueError: a value is not a bool, or two flags contradict each other.
    """
    flags: Flags = settings(Flags, given)
    if flags.obs_instead_of_state and flags.state_timestep_number:
        raise ValueError(
            "state_timestep_number has no place in a state made of observations: use obs_timestep_number with"
            " obs_instead_of_state."
        )
    return flags._replace(obs_own_health=flags.obs_own_health or flags.obs_all_health)


class Interface:
    """Observations, state and masks of one map.

    Attributes:
        obs_dim, state_dim, n_actions: sizes of one agent's observation, of the state, of one agent's mask.
        action_names: in the order of the mask.
        layout: constants of the kernels.
    """

    def __init__(self, found: Map, *, move_amount: float = 2.0, flags: Flags | None = None):
        """Describe a map.

        Args:
            found: the map; observe() accepts other kinds of units.
            move_amount: distance of a move; it is legal if the ground at half that distance is walkable.
            flags: contents of observations and state; SMAC's defaults if None.
        """
        self.unit_type = np.array(found.unit_type, np.int8)
        flags = flags or Flags()
        n_enemies = len(found.unit_type) - found.n_agents
        self.layout = Layout(
            flags=flags,
            n_agents=found.n_agents,
            n_enemies=n_enemies,
            ally_shields=found.ally_race == "P",
            enemy_shields=found.enemy_race == "P",
            type_bits=len(TYPE_BITS[found.map_type]),
            ally_bit=_places(TYPE_BITS[found.map_type]),
            enemy_bit=_places(ENEMY_TYPE_BITS[found.map_type]),
            hp=UNIT_TABLE[:, HP].copy(),
            shield=UNIT_TABLE[:, SHIELD].copy(),
            max_cooldown=UNIT_TABLE[:, MAX_COOLDOWN].copy(),
            shoot=_by_type(SHOOT_RANGES if flags.use_unit_ranges else {}, SHOOT_RANGE),
            sight=_by_type(SIGHT_RANGES if flags.use_unit_ranges else {}, SIGHT_RANGE),
            pathable=np.array(found.pathable, bool),
            height=np.array(found.height, np.float64),
            move_amount=float(move_amount),
            episode_limit=int(found.episode_limit),
        )
        self.n_actions = FIRST_TARGET + n_enemies
        self.action_names = ["no-op", "stop", "north", "south", "east", "west"]
        self.action_names += [f"attack_{k}" for k in range(n_enemies)]
        self.obs_dim, self.state_dim = sizes(self.layout)

    def buffers(self, lead: tuple[int, ...] = ()) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Allocate (obs, state, mask) with these leading axes."""
        agents = self.layout.n_agents
        return (
            np.zeros((*lead, agents, self.obs_dim), np.float32),
            np.zeros((*lead, self.state_dim), np.float32),
            np.zeros((*lead, agents, self.n_actions), np.int8),
        )

    def observe(
        self,
        ally: np.ndarray,
        enemy: np.ndarray,
        last_actions: np.ndarray,
        step: int | np.ndarray = 0,
        unit_type: np.ndarray | None = None,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return (obs, state, mask) of worlds given as plain arrays.

        Args:
            ally: [..., A, 8], in the order of FIELDS; hp 0 means dead. The two maxima are not read: they follow from
                the kind of unit.
            enemy: [..., N, 8].
            last_actions: [..., A]; -1 if there was none yet.
            step: steps played, [...] or one number.
            unit_type: [..., U] TYPE_ID, agents first; the map's if None.

        Returns:
            Observations [..., A, O] float32, states [..., S] float32, masks [..., A, n_actions] int8 (1 = legal).

        Raises:
            ValueError: the shapes do not match, or an action or a kind of unit does not exist.
        """
        layout = self.layout
        ally, enemy = as_array("ally", ally), as_array("enemy", enemy)
        lead = ally.shape[:-2]
        units = layout.n_agents + layout.n_enemies
        for name, found, count in (("ally", ally, layout.n_agents), ("enemy", enemy, layout.n_enemies)):
            if found.shape != (*lead, count, len(FIELDS)):
                raise ValueError(f"{name} must have shape {(*lead, count, len(FIELDS))}, found {found.shape}.")
            if found.dtype.kind not in "biuf":
                raise ValueError(f"{name} must be numbers, found {found.dtype}.")
        last = in_range("last_actions", as_array("last_actions", last_actions), -1, self.n_actions - 1)
        if last.shape != (*lead, layout.n_agents):
            raise ValueError(f"last_actions must have shape {(*lead, layout.n_agents)}, found {last.shape}.")
        seen = np.ascontiguousarray(np.concatenate([ally, enemy], -2, dtype=np.float64)[..., _SEEN_OF_FIELDS])
        types = self.unit_type if unit_type is None else as_array("unit_type", unit_type)
        kinds = np.broadcast_to(in_range("unit_type", types, 0, len(TYPE_ID) - 1), (*lead, units))
        outputs = self.buffers(lead)
        size = int(np.prod(lead))
        _observe(
            np.ones(size, bool),
            np.array(kinds, np.int8, order="C").reshape(size, units),
            seen.reshape(size, units, len(_SEEN_OF_FIELDS)),
            np.array(last, np.int16, order="C").reshape(size, layout.n_agents),
            np.broadcast_to(step, lead).astype(np.int16).reshape(size),
            layout,
            *(output.reshape(size, *output.shape[len(lead) :]) for output in outputs),
        )
        return outputs

    def observe_into(
        self, world: dict[str, np.ndarray], which: np.ndarray, obs: np.ndarray, state: np.ndarray, mask: np.ndarray
    ) -> None:
        """Write the outputs of the engine's worlds flagged in `which` [M] into caller-owned arrays.

        Args:
            world: unit_type [M,U] int8, seen [M,U,6] float32, last_actions [M,A] int16, step [M] int16.
            which: [M] bool.
            obs, state, mask: as returned by buffers((M,)).
        """
        fields = (world["unit_type"], world["seen"], world["last_actions"], world["step"])
        _observe(which, *fields, self.layout, obs, state, mask)


def sizes(layout: Layout) -> tuple[int, int]:
    """Return the length of an observation and of a state."""
    flags, bits = layout.flags, layout.type_bits
    move, ally, enemy, own = _widths(layout)
    agents, enemies = layout.n_agents, layout.n_enemies
    obs = move + enemies * enemy + (agents - 1) * ally + own + flags.obs_timestep_number
    if flags.obs_instead_of_state:
        return obs, agents * obs
    state = agents * (4 + layout.ally_shields + bits) + enemies * (3 + layout.enemy_shields + bits)
    state += flags.state_last_action * agents * (FIRST_TARGET + enemies) + flags.state_timestep_number
    return obs, state


def _places(types: tuple[str, ...]) -> np.ndarray:
    """Return for each TYPE_ID its place in a one-hot of these kinds (0 where it has none: then it is not shown)."""
    return np.array([types.index(name) if name in types else 0 for name in TYPE_ID], np.int64)


def _by_type(ranges: dict[str, float], default: float) -> np.ndarray:
    return np.array([ranges.get(name, default) for name in TYPE_ID], np.float64)


def _widths(layout: Layout) -> tuple[int, int, int, int]:
    """Return the number of entries of the moves, of an ally's row, of an enemy's row, and of the agent itself."""
    flags, bits = layout.flags, layout.type_bits
    move = 4 + N_PATHING * flags.obs_pathing_grid + N_HEIGHT * flags.obs_terrain_height
    enemy = 4 + bits + flags.obs_all_health * (1 + layout.enemy_shields)
    ally = 4 + bits + flags.obs_all_health * (1 + layout.ally_shields)
    ally += flags.obs_last_action * (FIRST_TARGET + layout.n_enemies)
    own = bits + flags.obs_own_health * (1 + layout.ally_shields) + 2 * flags.obs_own_pos
    return move, ally, enemy, own


@kernel
def _observe(which, unit_type, seen, last_actions, step, layout, obs, state, mask):
    """Write obs [M,A,O], state [M,S] and mask [M,A,n_actions] of the rows flagged in which [M]."""
    size, units = unit_type.shape
    life, shields, distance = np.empty(units), np.empty(units), np.empty((layout.n_agents, units))
    for m in range(size):
        if not which[m]:
            continue
        # Slices are taken once: in loops over units they would cost more than what is done with them.
        kinds, rows, last, out = unit_type[m], seen[m], last_actions[m], obs[m]
        for u in range(units):
            most = layout.shield[kinds[u]]
            life[u] = rows[u, SEEN_HP] / layout.hp[kinds[u]]
            shields[u] = rows[u, SEEN_SHIELD] / most if most > 0.0 else 0.0
        for i in range(layout.n_agents):
            x, y = np.float64(rows[i, SEEN_X]), np.float64(rows[i, SEEN_Y])
            for u in range(units):
                dx, dy = rows[u, SEEN_X] - x, rows[u, SEEN_Y] - y
                distance[i, u] = np.sqrt(dx * dx + dy * dy)
        time = step[m] / layout.episode_limit
        _write_masks(kinds, rows, distance, layout, mask[m])
        _write_obs(kinds, rows, distance, life, shields, last, time, layout, mask[m], out)
        if layout.flags.obs_instead_of_state:
            state[m] = out.ravel()
        else:
            _write_state(kinds, rows, life, shields, last, time, layout, state[m])


@inner_kernel
def _walkable(x, y, layout):
    """Return whether the cell of a point can be walked; like SMAC it rounds towards 0, so -0.5 is in cell 0."""
    column, row = int(x), int(y)
    return 0 <= column < SIZE and 0 <= row < SIZE and layout.pathable[column, row]


@inner_kernel
def _write_masks(kinds, units, distance, layout, out):
    """Write which actions of each agent are legal."""
    agents, enemies, half = layout.n_agents, layout.n_enemies, layout.move_amount / 2.0
    out[:] = 0
    for i in range(agents):
        if units[i, SEEN_HP] <= 0.0:
            out[i, NOOP] = 1
            continue
        x, y = np.float64(units[i, SEEN_X]), np.float64(units[i, SEEN_Y])
        out[i, STOP] = 1
        out[i, NORTH] = _walkable(x, y + half, layout)
        out[i, SOUTH] = _walkable(x, y - half, layout)
        out[i, EAST] = _walkable(x + half, y, layout)
        out[i, WEST] = _walkable(x - half, y, layout)
        heals, shoot = kinds[i] == MEDIVAC, layout.shoot[kinds[i]]
        first = 0 if heals else agents
        for k in range(min(agents, enemies) if heals else enemies):
            if units[first + k, SEEN_HP] > 0.0 and not (heals and kinds[k] == MEDIVAC):
                out[i, FIRST_TARGET + k] = distance[i, first + k] <= shoot


@inner_kernel
def _around(k, reach):
    """Return cell k of those SMAC shows around an agent: N, S, E, W at twice the reach, NE, SW, SE, NW, its own."""
    if k < 4:
        return 2 * reach * ((k == 2) - (k == 3)), 2 * reach * ((k == 0) - (k == 1))
    if k < 8:
        return reach * (1 if k % 2 == 0 else -1), reach * (1 if k == 4 or k == 7 else -1)
    return 0, 0


@inner_kernel
def _write_around(x, y, count, values, reach, out):
    """Write the values [32, 32] of the first `count` cells around a point; outside the map SMAC puts 1."""
    for k in range(count):
        dx, dy = _around(k, reach)
        column, row = int(x) + dx, int(y) + dy
        inside = 0 <= column < SIZE and 0 <= row < SIZE
        out[k] = values[column, row] if inside else 1.0


@inner_kernel
def _write_obs(kinds, units, distance, life, shields, last_actions, time, layout, legal, out):
    """Write what each agent observes."""
    flags, agents, enemies, bits = layout.flags, layout.n_agents, layout.n_enemies, layout.type_bits
    reach = int(layout.move_amount)
    out[:] = 0.0
    for i in range(agents):
        if flags.obs_timestep_number:
            out[i, -1] = time
        if units[i, SEEN_HP] <= 0.0:
            continue
        x, y, sight = np.float64(units[i, SEEN_X]), np.float64(units[i, SEEN_Y]), layout.sight[kinds[i]]
        for k in range(4):
            out[i, k] = legal[i, NORTH + k]
        at = 4
        if flags.obs_pathing_grid:
            _write_around(x, y, N_PATHING, layout.pathable, reach, out[i, at:])
            at += N_PATHING
        if flags.obs_terrain_height:
            _write_around(x, y, N_HEIGHT, layout.height, reach, out[i, at:])
            at += N_HEIGHT

        for is_ally in (False, True):  # first the enemies, then the other agents
            first, count = (0, agents) if is_ally else (agents, enemies)
            with_shields = layout.ally_shields if is_ally else layout.enemy_shields
            with_action = is_ally and flags.obs_last_action
            width = 4 + bits + flags.obs_all_health * (1 + with_shields)
            width += with_action * (FIRST_TARGET + enemies)
            for k in range(count):
                u = first + k
                if u == i:
                    continue
                if units[u, SEEN_HP] > 0.0 and distance[i, u] < sight:
                    out[i, at] = 1.0 if is_ally else legal[i, FIRST_TARGET + k]
                    out[i, at + 1] = distance[i, u] / sight
                    out[i, at + 2] = (units[u, SEEN_X] - x) / sight
                    out[i, at + 3] = (units[u, SEEN_Y] - y) / sight
                    put = at + 4
                    if flags.obs_all_health:
                        out[i, put] = life[u]
                        put += 1
                        if with_shields:
                            out[i, put] = shields[u]
                            put += 1
                    if bits > 0:
                        out[i, put + (layout.ally_bit[kinds[u]] if is_ally else layout.enemy_bit[kinds[u]])] = 1.0
                        put += bits
                    if with_action and last_actions[k] >= 0:
                        out[i, put + last_actions[k]] = 1.0
                at += width

        if flags.obs_own_health:
            out[i, at] = life[i]
            at += 1
            if layout.ally_shields:
                out[i, at] = shields[i]
                at += 1
        if flags.obs_own_pos:
            out[i, at] = x / SIZE
            out[i, at + 1] = y / SIZE
            at += 2
        if bits > 0:
            out[i, at + layout.ally_bit[kinds[i]]] = 1.0


@inner_kernel
def _write_state(kinds, units, life, shields, last_actions, time, layout, out):
    """Write the global state."""
    flags, agents, enemies, bits = layout.flags, layout.n_agents, layout.n_enemies, layout.type_bits
    out[:] = 0.0
    at = 0
    for u in range(agents + enemies):
        is_ally = u < agents
        with_shields = layout.ally_shields if is_ally else layout.enemy_shields
        kind = kinds[u]
        if units[u, SEEN_HP] > 0.0:
            out[at] = life[u]
            put = at + 1
            if is_ally:
                counter = SEEN_ENERGY if kind == MEDIVAC else SEEN_COOLDOWN
                out[put] = units[u, counter] / layout.max_cooldown[kind]
                put += 1
            out[put] = (units[u, SEEN_X] - SIZE / 2) / SIZE
            out[put + 1] = (units[u, SEEN_Y] - SIZE / 2) / SIZE
            put += 2
            if with_shields:
                out[put] = shields[u]
                put += 1
            if bits > 0:
                out[put + (layout.ally_bit[kind] if is_ally else layout.enemy_bit[kind])] = 1.0
        at += 3 + is_ally + with_shields + bits
    if flags.state_last_action:
        for i in range(agents):
            if last_actions[i] >= 0:
                out[at + last_actions[i]] = 1.0
            at += FIRST_TARGET + enemies
    if flags.state_timestep_number:
        out[at] = time
