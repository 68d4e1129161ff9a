"""The units of the reference (reference.py), read from and written to the arrays of the world."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from marl_gre_envs.smac.maps import SIZE
from marl_gre_envs.smac.units import CLOSER, TYPE_NAMES, UNITS, Heal, Unit, Weapon

Place = tuple[float, float]
ORDERS = ("hold", "move", "target")
NO_WEAPON, NO_HEAL = Weapon(damage=0, range=0, period=0, damage_point=0), Heal(0, 0, 0, 0, 0)


@dataclass(eq=False)
class Fighter:
    """One unit of a battle; None where the world has -1, except windup."""

    index: int
    friendly: bool  # one of the agents
    kind: Unit
    x: float
    y: float
    hp: float
    shield: float
    energy: float
    cooldown: float
    windup: float | None
    shield_timer: float
    vx: float
    vy: float
    engaged: bool
    order: str
    order_point: Place
    missile_timer: float
    help_timer: int
    leash_timer: int
    look_timer: int
    rest_timer: float
    anchor: Place
    post: Place
    target: "Fighter | None" = None
    missile_target: "Fighter | None" = None
    last_attacker: "Fighter | None" = None
    doing: str = "idle"
    goal: Place = (0.0, 0.0)

    @property
    def alive(self) -> bool:
        """Whether it has hit points left."""
        return self.hp > 0.0

    @property
    def weapon(self) -> Weapon:
        """Its weapon, one that does nothing if it has none."""
        return self.kind.weapon or NO_WEAPON

    @property
    def heal(self) -> Heal:
        """How it heals, not at all if it does not."""
        return self.kind.heal or NO_HEAL

    @property
    def channels(self) -> bool:
        """Whether it is between two blows of one attack."""
        return self.missile_target is not None and self.weapon.hit_delay > 0.0

    @property
    def plane(self) -> tuple[bool, bool]:
        """Whom it can touch: flyers flyers, tall units tall ones, the others each other."""
        return self.kind.flies, self.kind.tall

    def forget_target(self) -> None:
        """Drop the target; an attack that is being wound up is lost, and so is a second blow."""
        if self.channels:
            self.missile_target = None
        self.target, self.windup, self.engaged = None, None, False


def square_distance(a: Fighter, b: Fighter) -> float:
    """Return the square of the distance of two centres."""
    dx, dy = b.x - a.x, b.y - a.y
    return dx * dx + dy * dy


def within(a: Fighter, b: Fighter, reach: float) -> bool:
    """Return whether the edges of two units are at most `reach` apart."""
    limit = reach + a.kind.radius + b.kind.radius
    return square_distance(a, b) <= limit * limit


def can_hit(a: Unit, b: Unit) -> bool:
    """Return whether a kind of unit has a weapon that reaches another."""
    return a.weapon is not None and (not b.flies or a.weapon.hits_air)


def cell_of(place: float) -> int:
    """Return the column or row of a coordinate."""
    return min(max(int(place), 0), SIZE - 1)


def contact(a: Fighter, b: Fighter) -> float:
    """Return the distance at which two units touch."""
    return (a.kind.radius - 0.5 * CLOSER) + (b.kind.radius - 0.5 * CLOSER)


def push_pair(a: Fighter, b: Fighter, weights: dict[str, float]) -> bool:
    """Push two units apart if they overlap, each by its share; return whether they overlapped by more than a trifle."""
    touch = contact(a, b)
    dx, dy = b.x - a.x, b.y - a.y
    square = dx * dx + dy * dy
    if square >= touch * touch:
        return False
    distance = math.sqrt(square)
    nx, ny = (dx / distance, dy / distance) if distance > 0.0 else (1.0, 0.0)
    share_a = weights[a.doing] if a.kind.speed > 0.0 else 0.0
    share_b = weights[b.doing] if b.kind.speed > 0.0 else 0.0
    if a.doing == b.doing == "walk":
        closing, coming = max(a.vx * nx + a.vy * ny, 0.0), max(-(b.vx * nx + b.vy * ny), 0.0)
        if closing + coming > 0.0:
            share_a, share_b = closing, coming
    total = share_a + share_b
    if total == 0.0:
        return False
    overlap = (touch - distance) / total
    a.x -= nx * (overlap * share_a)
    a.y -= ny * (overlap * share_a)
    b.x += nx * (overlap * share_b)
    b.y += ny * (overlap * share_b)
    return touch - distance > 2.0**-10


def read_world(world: dict[str, Any], copy: int, n_agents: int) -> list[Fighter]:
    """Return the units of one copy of a world, agents first."""
    w = {name: value[copy].tolist() for name, value in world.items()}
    units = []
    for i, kind in enumerate(w["unit_type"]):
        agent = i < n_agents
        units.append(
            Fighter(
                index=i,
                friendly=agent,
                kind=UNITS[TYPE_NAMES[kind]],
                x=w["pos"][i][0],
                y=w["pos"][i][1],
                hp=w["hp"][i],
                shield=w["shield"][i],
                energy=w["energy"][i],
                cooldown=w["cooldown"][i],
                windup=None if w["windup"][i] == -1.0 else w["windup"][i],
                shield_timer=w["shield_timer"][i],
                vx=w["velocity"][i][0],
                vy=w["velocity"][i][1],
                engaged=w["engaged"][i],
                order=ORDERS[w["order"][i]] if agent else "attack-move",
                order_point=tuple(w["order_point"][i]) if agent else (0.0, 0.0),
                missile_timer=w["missile_timer"][i],
                help_timer=w["help_timer"][i],
                leash_timer=w["leash_timer"][i],
                look_timer=w["look_timer"][i],
                rest_timer=w["rest_timer"][i],
                anchor=tuple(w["anchor"][i]),
                post=tuple(w["post"][i]),
            )
        )
    for unit in units:
        for name in ("target", "missile_target", "last_attacker"):
            other = w[name][unit.index]
            setattr(unit, name, None if other < 0 else units[other])
    return units


def write_world(units: list[Fighter]) -> dict[str, np.ndarray]:
    """Return the fields of one copy that the rules change, in the dtypes of the world."""

    def number(unit: Fighter | None) -> int:
        return -1 if unit is None else unit.index

    agents = [u for u in units if u.friendly]
    windups = [-1.0 if u.windup is None else u.windup for u in units]
    cooldowns = [max(u.cooldown, 0.0) + max(w, 0.0) for u, w in zip(units, windups, strict=True)]
    seen = [[u.x, u.y, u.hp, u.shield, c, u.energy] for u, c in zip(units, cooldowns, strict=True)]
    return {
        "pos": np.array([(u.x, u.y) for u in units]),
        "velocity": np.array([(u.vx, u.vy) for u in units]),
        "hp": np.array([u.hp for u in units]),
        "shield": np.array([u.shield for u in units]),
        "energy": np.array([u.energy for u in units]),
        "cooldown": np.array([u.cooldown for u in units]),
        "windup": np.array(windups),
        "shield_timer": np.array([u.shield_timer for u in units]),
        "target": np.array([number(u.target) for u in units], np.int16),
        "engaged": np.array([u.engaged for u in units]),
        "order": np.array([ORDERS.index(u.order) for u in agents], np.int8),
        "order_point": np.array([u.order_point for u in agents]),
        "missile_target": np.array([number(u.missile_target) for u in units], np.int16),
        "missile_timer": np.array([u.missile_timer for u in units]),
        "last_attacker": np.array([number(u.last_attacker) for u in units], np.int16),
        "help_timer": np.array([u.help_timer for u in units], np.int16),
        "leash_timer": np.array([u.leash_timer for u in units], np.int16),
        "look_timer": np.array([u.look_timer for u in units], np.int16),
        "rest_timer": np.array([u.rest_timer for u in units]),
        "anchor": np.array([u.anchor for u in units]),
        "post": np.array([u.post for u in units]),
        "seen": np.array(seen, np.float32),
    }
