"""Pictures of a battle: the ground, every unit with its kind, number, bars and target, missiles on their way.

They are drawn from the world alone; north is up. A chosen agent's sight and attack range are shown, too.
"""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from marl_gre_envs.rendering import BAR, INK, LINE, PAPER, Canvas
from marl_gre_envs.smac.interface import SEEN_ENERGY, SEEN_HP, SEEN_SHIELD
from marl_gre_envs.smac.maps import SIZE
from marl_gre_envs.smac.units import MEDIVAC, MISSILE_SPEED, TYPE_NAMES, UNIT_TABLE, UNITS

if TYPE_CHECKING:
    from marl_gre_envs.smac.core import SMAC

LARGEST = 960  # pixels along the longer side of the ground
MARGIN = 2  # cells around the ground: units that fly get there
GROUND, PLATEAU, WALL = "#efe9dc", "#e2d6bb", "#8d8a80"
AGENT, ENEMY = "#2f6fd0", "#c8402f"
AGENT_LINE, ENEMY_LINE, HEAL_LINE = "#7fa6e0", "#e09a8f", "#2fa36b"
HP_HIGH, HP_MIDDLE, HP_LOW, SHIELD_BAR, ENERGY_BAR, EMPTY = (
    "#3aa655",
    "#d9a521",
    "#d43d2a",
    "#35a7d8",
    "#a05fc0",
    "#55595e",
)
SIGHT, REACH, SEEN = "#d0a000", "#7a4fb0", "#f2c200"
DEAD = "#b9b2a4"
LETTERS = {
    "colossus": "C",
    "stalker": "S",
    "zealot": "Z",
    "marauder": "R",
    "marine": "M",
    "medivac": "+",
    "baneling": "b",
    "zergling": "z",
    "hydralisk": "H",
    "spine_crawler": "SC",
}


class View(NamedTuple):
    """The part of the world in the picture: its west edge, its north edge, and the canvas."""

    left: int
    top: int
    canvas: Canvas

    def spot(self, x: float, y: float) -> tuple[float, float]:
        """Return (row, column) of a point of the world."""
        return self.top - y, x - self.left


def draw_smac(env: "SMAC", index: int, agent: int | None = None) -> np.ndarray:
    """Return a picture of environment `index`, [height, width, 3] uint8.

    Args:
        env: the battles.
        index: number of the environment.
        agent: number of the agent whose sight and range to show, if any.
    """
    world = {name: field[index] for name, field in env.world.items()}
    layout = env.interface.layout
    view = _ground(layout.pathable, layout.height)
    canvas = view.canvas
    alive = world["seen"][:, SEEN_HP] > 0
    if agent is not None and alive[agent]:
        _draw_sight(view, world, agent, env)
    for i in np.flatnonzero(~alive):
        row, column = view.spot(*world["pos"][i])
        for side in (-1, 1):
            canvas.stroke([(row - 0.2, column - 0.2 * side), (row + 0.2, column + 0.2 * side)], DEAD, 0.08)
    for i in np.flatnonzero(alive):
        _draw_target(view, world, int(i), env.n_agents)
    # Flying units over the others.
    for i in sorted(np.flatnonzero(alive), key=lambda i: (UNITS[TYPE_NAMES[world["unit_type"][i]]].flies, i)):
        _draw_unit(view, world, int(i), env.n_agents, i == agent)
    for i in np.flatnonzero(alive):
        _draw_bars(view, world, int(i))
    for i in np.flatnonzero(world["missile_target"] >= 0):
        _draw_missile(view, world, int(i), env.n_agents)

    edge = BAR / canvas.cell
    for row in (-edge, canvas.height / canvas.cell - 2 * edge):  # circles end at the picture's edge
        canvas.box(row, 0, (edge, canvas.width / canvas.cell), fill=PAPER)
    step, total = world["step"], world["episode_return"]
    left = f"agents {alive[: env.n_agents].sum()}/{env.n_agents}, "
    left += f"enemies {alive[env.n_agents :].sum()}/{len(alive) - env.n_agents}"
    canvas.line_above(f"{env.map_name}: step {step}/{env.episode_limit}", left, f"return {total:.2f}")
    entries = [("agent", AGENT), ("enemy", ENEMY), ("hp", HP_HIGH)]
    kinds = {TYPE_NAMES[kind] for kind in world["unit_type"]}
    if any(UNITS[name].shield for name in kinds):
        entries.append(("shield", SHIELD_BAR))
    if "medivac" in kinds:
        entries += [("energy", ENERGY_BAR), ("heals", HEAL_LINE)]
    if agent is not None:
        entries += [(f"agent {agent} sees", SIGHT), ("reaches", REACH)]
    canvas.swatches_below(entries)
    return canvas.picture()


def _ground(pathable: np.ndarray, height: np.ndarray) -> View:
    """Draw the ground and what surrounds it."""
    cells = np.argwhere(pathable)
    left, bottom = np.maximum(cells.min(0) - MARGIN, 0).tolist()
    right, top = np.minimum(cells.max(0) + 1 + MARGIN, SIZE).tolist()
    view = View(left, top, Canvas(top - bottom, right - left, LARGEST))
    view.canvas.box(0, 0, (top - bottom, right - left), fill=WALL)
    for x, y in cells.tolist():
        color = PLATEAU if height[x, y] > height.min() else GROUND
        view.canvas.box(*view.spot(x, y + 1), (1, 1), fill=color, outline=LINE, width=0.02)
    return view


def _ring(view: View, place: np.ndarray, radius: float, color: str) -> None:
    """Draw a dashed circle."""
    angles = np.linspace(0, 2 * np.pi, 97)
    points = place + radius * np.stack([np.cos(angles), np.sin(angles)], -1)
    for k in range(0, 96, 2):
        view.canvas.stroke([view.spot(*points[k]), view.spot(*points[k + 1])], color, 0.06)


def _draw_sight(view: View, world: dict[str, np.ndarray], agent: int, env: "SMAC") -> None:
    """Draw how far an agent sees and may attack, and mark everybody it sees."""
    layout, place, kind = env.interface.layout, world["pos"][agent], world["unit_type"][agent]
    sight = layout.sight[kind]
    _ring(view, place, sight, SIGHT)
    _ring(view, place, layout.shoot[kind], REACH)
    away = np.sqrt(((world["pos"] - place) ** 2).sum(-1))
    for i in np.flatnonzero((away < sight) & (world["seen"][:, SEEN_HP] > 0)):
        if i == agent:
            continue
        radius = UNITS[TYPE_NAMES[world["unit_type"][i]]].radius
        view.canvas.disc(*view.spot(*world["pos"][i]), radius + 0.12, fill=SEEN)


def _draw_target(view: View, world: dict[str, np.ndarray], i: int, n_agents: int) -> None:
    """Draw a line to whom a unit attacks (thick while it strikes) or heals."""
    target = int(world["target"][i])
    if target < 0:
        return
    ours = i < n_agents
    color = HEAL_LINE if world["unit_type"][i] == MEDIVAC else AGENT_LINE if ours else ENEMY_LINE
    start, end = world["pos"][i], world["pos"][target]
    # Two units that attack each other get a line each, side by side.
    along = (end - start) / max(float(np.sqrt(((end - start) ** 2).sum())), 1e-9)
    aside = 0.07 * np.array([-along[1], along[0]])
    width = 0.12 if world["windup"][i] >= 0 or world["cooldown"][i] > 0 else 0.05
    tip = end - along * 0.3
    view.canvas.stroke([view.spot(*(start + aside)), view.spot(*(tip + aside))], color, width)


def _draw_missile(view: View, world: dict[str, np.ndarray], i: int, n_agents: int) -> None:
    """Draw a missile where it must be now to arrive in time; blows in close combat are not drawn."""
    speed = UNIT_TABLE[world["unit_type"][i], MISSILE_SPEED]
    if speed == 0:
        return
    start, end = world["pos"][i], world["pos"][world["missile_target"][i]]
    distance = max(float(np.sqrt(((end - start) ** 2).sum())), 1e-9)
    left = min(float(world["missile_timer"][i]) * speed / distance, 1.0)
    place = end + left * (start - end)
    view.canvas.disc(*view.spot(*place), 0.16, fill=AGENT if i < n_agents else ENEMY, outline=INK, width=0.04)


def _draw_unit(view: View, world: dict[str, np.ndarray], i: int, n_agents: int, chosen: bool) -> None:
    """Draw a unit: a disc (as large as in collisions) with the letter of its kind and its number."""
    canvas = view.canvas
    name = TYPE_NAMES[world["unit_type"][i]]
    unit = UNITS[name]
    row, column = view.spot(*world["pos"][i])
    radius, number = unit.radius, i if i < n_agents else i - n_agents
    color = AGENT if i < n_agents else ENEMY
    if unit.flies:
        canvas.disc(row + 0.25, column + 0.2, radius * 0.9, fill="#c9c2b2")  # its shadow
    edge = {"outline": INK, "width": 0.12} if chosen else {"outline": PAPER, "width": 0.04}
    canvas.disc(row, column, radius, fill=color, **edge)
    label = f"{LETTERS[name]}{number}"
    canvas.text(row, column, label, min(2.1 * radius / (0.7 * len(label) + 0.3), 0.62))


def _draw_bars(view: View, world: dict[str, np.ndarray], i: int) -> None:
    """Draw a unit's hit points, shields and energy above it."""
    seen, unit = world["seen"][i], UNITS[TYPE_NAMES[world["unit_type"][i]]]
    row, column = view.spot(*world["pos"][i])
    bars = [(seen[SEEN_HP] / unit.hp, _health_color(seen[SEEN_HP] / unit.hp))]
    if unit.shield:
        bars.append((seen[SEEN_SHIELD] / unit.shield, SHIELD_BAR))
    if unit.max_energy:
        bars.append((seen[SEEN_ENERGY] / unit.max_energy, ENERGY_BAR))
    width = max(1.8 * unit.radius, 0.7)
    for k, (share, bar_color) in enumerate(bars):
        at = row - unit.radius - 0.06 - 0.13 * k
        view.canvas.box(at, column - width / 2, (0.11, width), fill=EMPTY)
        if share > 0:
            view.canvas.box(at, column - width / 2, (0.11, max(width * min(float(share), 1.0), 0.03)), fill=bar_color)


def _health_color(share: float) -> str:
    return HP_HIGH if share > 0.6 else HP_MIDDLE if share > 0.3 else HP_LOW
