"""The ten kinds of unit of the SMAC maps and their weapons, as numbers.

The numbers are those of StarCraft II 4.10's multiplayer data. Those are in normal game seconds; here times are in game
loops (16 per second, 8 per step) and speeds per loop.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

LOOPS_PER_SECOND = 16
LOOPS_PER_STEP = 8

Attribute = Literal["light", "armored", "biological", "mechanical", "massive", "structure"]


@dataclass(frozen=True)
class Weapon:
    """The effect of one attack.

    Attributes:
        damage: hit points taken by each hit, before armor.
        bonus, bonus_against: more damage to targets with that attribute.
        hits: hits per attack (Zealots hit twice, a Colossus has two beams).
        hit_delay: loops between two hits of the same attack, where they do not come together.
        range: greatest distance between the edges of attacker and target.
        period: loops from the start of an attack to the start of the next.
        damage_point: loops from the start of an attack to its effect.
        missile_speed: distance per loop; 0 where the hit is immediate.
        hits_air: whether flying units can be attacked (all weapons hit the ground).
        splash: "" (one target), "burst" (all enemies on the ground within `splash_size` plus their radius; the attacker
            dies, and also bursts when killed) or "line" (across the line of fire, `splash_size` to either side).
        splash_width: of a line: half its width.
    """

    damage: float
    range: float
    period: float
    damage_point: float
    bonus: float = 0.0
    bonus_against: Attribute | None = None
    hits: int = 1
    hit_delay: float = 0.0
    missile_speed: float = 0.0
    hits_air: bool = False
    splash: Literal["", "burst", "line"] = ""
    splash_size: float = 0.0
    splash_width: float = 0.0


@dataclass(frozen=True)
class Heal:
    """A Medivac's healing of biological friends on the ground.

    Attributes:
        rate: hp per loop.
        cost: energy per hp.
        range: between edges.
        scan: distance in which it looks for patients of its own accord.
        least_energy: energy needed to begin of its own accord.
    """

    rate: float
    cost: float
    range: float
    scan: float
    least_energy: float


@dataclass(frozen=True)
class Unit:
    """One kind of unit.

    Attributes:
        race: "P", "T" or "Z".
        hp, shield: greatest hit points and shield points.
        armor: taken off every hit on hp (shields have none).
        speed, acceleration: distance per loop and per loop squared (0 = at full speed at once).
        radius: for ranges and contacts.
        inner_radius: for walls.
        attributes: what bonuses depend on.
        weapon, heal: its effect on others.
        max_cooldown: SMAC's constant by which the weapon cooldown in the global state is divided [loops].
        flies: whether it passes over everything, and only weapons that reach the air hit it.
        tall: whether weapons against air hit it too, and cliffs do not stop it.
        energy, max_energy, energy_regen: at the start, greatest, per loop.
        life_regen: hp per loop.
    """

    race: Literal["P", "T", "Z"]
    hp: float
    armor: float
    speed: float
    radius: float
    inner_radius: float
    attributes: tuple[Attribute, ...]
    max_cooldown: float
    weapon: Weapon | None = None
    heal: Heal | None = None
    shield: float = 0.0
    acceleration: float = 0.0
    flies: bool = False
    tall: bool = False
    energy: float = 0.0
    max_energy: float = 0.0
    energy_regen: float = 0.0
    life_regen: float = 0.0


def _loops(seconds: float) -> float:
    return seconds * LOOPS_PER_SECOND


def _per_loop(per_second: float) -> float:
    return per_second / LOOPS_PER_SECOND


SHIELD_REGEN = _per_loop(2.0)
SHIELD_DELAY = _loops(10.0)  # loops without damage before shields come back
LEAST_DAMAGE = 0.5  # of a hit on hp, whatever the armor
CLOSER = 1 / 16 - 0.001  # units touch each other and walls that much closer than their radii say
DELAY_LOW, DELAY_HIGH = _loops(-0.0625), _loops(0.125)  # every attack's period is lengthened by a draw between these
CALL_FOR_HELP_RANGE, CALL_FOR_HELP_PERIOD = 4.0, _loops(2.0)
ZERG_REGEN = _per_loop(0.2734)

# The order of this table gives the type ids; within a race SMAC and SMACv2 number agents in this order.
UNITS: dict[str, Unit] = {
    "colossus": Unit(
        race="P",
        hp=200,
        shield=150,
        armor=1,
        speed=_per_loop(2.25),
        radius=1.0,
        inner_radius=0.5625,
        attributes=("armored", "mechanical", "massive"),
        max_cooldown=24,
        tall=True,
        weapon=Weapon(
            damage=10,
            bonus=5,
            bonus_against="light",
            hits=2,
            range=7,
            period=_loops(1.5),
            damage_point=_loops(0.0832),
            splash="line",
            splash_size=1.25,
            splash_width=0.15,
        ),
    ),
    "stalker": Unit(
        race="P",
        hp=80,
        shield=80,
        armor=1,
        speed=_per_loop(2.9531),
        radius=0.625,
        inner_radius=0.5,
        attributes=("armored", "mechanical"),
        max_cooldown=35,
        weapon=Weapon(
            damage=13,
            bonus=5,
            bonus_against="armored",
            range=6,
            period=_loops(1.87),
            damage_point=_loops(0.167),
            missile_speed=_per_loop(18.75),
            hits_air=True,
        ),
    ),
    "zealot": Unit(
        race="P",
        hp=100,
        shield=50,
        armor=1,
        speed=_per_loop(2.25),
        radius=0.5,
        inner_radius=0.375,
        attributes=("light", "biological"),
        max_cooldown=22,
        weapon=Weapon(damage=8, hits=2, hit_delay=_loops(0.28), range=0.1, period=_loops(1.2), damage_point=0),
    ),
    "marauder": Unit(
        race="T",
        hp=125,
        armor=1,
        speed=_per_loop(2.25),
        radius=0.5625,
        inner_radius=0.375,
        attributes=("armored", "biological"),
        max_cooldown=25,
        weapon=Weapon(
            damage=10,
            bonus=10,
            bonus_against="armored",
            range=6,
            period=_loops(1.5),
            damage_point=0,
            missile_speed=_per_loop(20.0),
        ),
    ),
    "marine": Unit(
        race="T",
        hp=45,
        armor=0,
        speed=_per_loop(2.25),
        radius=0.375,
        inner_radius=0.375,
        attributes=("light", "biological"),
        max_cooldown=15,
        weapon=Weapon(damage=6, range=5, period=_loops(0.8608), damage_point=_loops(0.05), hits_air=True),
    ),
    "medivac": Unit(
        race="T",
        hp=150,
        armor=1,
        speed=_per_loop(2.5),
        acceleration=2.3125 / LOOPS_PER_SECOND**2,
        radius=0.75,
        inner_radius=0.75,
        attributes=("armored", "mechanical"),
        max_cooldown=200,  # in the global state its energy stands in place of a cooldown
        flies=True,
        energy=50,
        max_energy=200,
        energy_regen=_per_loop(0.5625),
        heal=Heal(rate=_per_loop(9.0), cost=0.33, range=4, scan=6, least_energy=5),
    ),
    "baneling": Unit(
        race="Z",
        hp=30,
        armor=0,
        speed=_per_loop(2.5),
        radius=0.375,
        inner_radius=0.375,
        attributes=("biological",),
        max_cooldown=1,
        life_regen=ZERG_REGEN,
        weapon=Weapon(
            damage=20,
            bonus=15,
            bonus_against="light",
            range=0.25,
            period=_loops(0.833),
            damage_point=0,
            splash="burst",
            splash_size=2.2,
        ),
    ),
    "hydralisk": Unit(
        race="Z",
        hp=80,
        armor=0,
        speed=_per_loop(2.25),
        radius=0.625,
        inner_radius=0.375,
        attributes=("light", "biological"),
        max_cooldown=10,
        life_regen=ZERG_REGEN,
        weapon=Weapon(
            damage=12,
            range=5,
            period=_loops(0.83),
            damage_point=_loops(0.208),
            missile_speed=_per_loop(40.0),
            hits_air=True,
        ),
    ),
    "zergling": Unit(
        race="Z",
        hp=35,
        armor=0,
        speed=_per_loop(2.9531),
        radius=0.375,
        inner_radius=0.375,
        attributes=("light", "biological"),
        max_cooldown=11,
        life_regen=ZERG_REGEN,
        weapon=Weapon(damage=5, range=0.1, period=_loops(0.696), damage_point=_loops(0.167)),
    ),
    "spine_crawler": Unit(
        race="Z",
        hp=300,
        armor=2,
        speed=0,
        radius=0.875,
        inner_radius=0.875,
        attributes=("armored", "biological", "structure"),
        max_cooldown=1,  # no agent is one
        life_regen=ZERG_REGEN,
        weapon=Weapon(
            damage=25,
            bonus=5,
            bonus_against="armored",
            range=7,
            period=_loops(1.85),
            damage_point=_loops(0.3332),
        ),
    ),
}

TYPE_ID: dict[str, int] = {name: i for i, name in enumerate(UNITS)}  # values of world["unit_type"], int8
TYPE_NAMES: tuple[str, ...] = tuple(UNITS)
MEDIVAC = TYPE_ID["medivac"]

# Columns of UNIT_TABLE, for kernels.
(
    HP,
    SHIELD,
    ARMOR,
    SPEED,
    ACCELERATION,
    RADIUS,
    INNER_RADIUS,
    MAX_COOLDOWN,
    FLIES,
    TALL,
    LIGHT,
    ARMORED,
    BIOLOGICAL,
    ENERGY,
    MAX_ENERGY,
    ENERGY_REGEN,
    LIFE_REGEN,
    HAS_WEAPON,
    DAMAGE,
    BONUS,
    BONUS_LIGHT,
    BONUS_ARMORED,
    HITS,
    HIT_DELAY,
    RANGE,
    PERIOD,
    DAMAGE_POINT,
    MISSILE_SPEED,
    HITS_AIR,
    BURST,
    LINE,
    SPLASH_SIZE,
    SPLASH_WIDTH,
    HAS_HEAL,
    HEAL_RATE,
    HEAL_COST,
    HEAL_RANGE,
    HEAL_SCAN,
    HEAL_LEAST_ENERGY,
) = range(39)


def _row(unit: Unit) -> list[float]:
    """Return a unit's numbers in the order of the columns; flags are 0 or 1."""
    weapon = unit.weapon or Weapon(damage=0, range=0, period=0, damage_point=0)
    heal = unit.heal or Heal(0, 0, 0, 0, 0)
    return [
        unit.hp,
        unit.shield,
        unit.armor,
        unit.speed,
        unit.acceleration,
        unit.radius,
        unit.inner_radius,
        unit.max_cooldown,
        unit.flies,
        unit.tall,
        "light" in unit.attributes,
        "armored" in unit.attributes,
        "biological" in unit.attributes,
        unit.energy,
        unit.max_energy,
        unit.energy_regen,
        unit.life_regen,
        unit.weapon is not None,
        weapon.damage,
        weapon.bonus,
        weapon.bonus_against == "light",
        weapon.bonus_against == "armored",
        weapon.hits,
        weapon.hit_delay,
        weapon.range,
        weapon.period,
        weapon.damage_point,
        weapon.missile_speed,
        weapon.hits_air,
        weapon.splash == "burst",
        weapon.splash == "line",
        weapon.splash_size,
        weapon.splash_width,
        unit.heal is not None,
        heal.rate,
        heal.cost,
        heal.range,
        heal.scan,
        heal.least_energy,
    ]


UNIT_TABLE = np.array([_row(unit) for unit in UNITS.values()], np.float64)  # [types, columns], in TYPE_ID order
UNIT_TABLE.flags.writeable = False
