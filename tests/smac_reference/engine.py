"""The rules of one battle in plain Python: slow, to be read, and the oracle for the compiled engine.

It does the same float64 operations in the same order as the engine, so both agree bit for bit. One object per unit;
orders.py, movement.py and combat.py give the reasons.
"""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from marl_gre_envs import randomness
from marl_gre_envs.smac.combat import DELAY, FIRST, LEAST_HP
from marl_gre_envs.smac.engine import Setup
from marl_gre_envs.smac.maps import SIZE
from marl_gre_envs.smac.orders import SENT_TO_POINT, SENT_TO_UNITS
from marl_gre_envs.smac.units import (
    CALL_FOR_HELP_PERIOD,
    CALL_FOR_HELP_RANGE,
    CLOSER,
    DELAY_HIGH,
    DELAY_LOW,
    LEAST_DAMAGE,
    SHIELD_DELAY,
    SHIELD_REGEN,
)
from smac_reference.units import Fighter, Place, can_hit, cell_of, push_pair, read_world, square_distance, within

LOOK = 0.75  # how far beyond contact a walker sees whom to walk around
BERTH = 0.125  # how far beyond contact it turns, and how much room it leaves
HEAD_ON = 0.5  # square of the cosine between a way and the opposite of another's, from which they run into each other
ASIDE = 1e-9  # a way that leads less far towards somebody leads past
MOVES = {2: (0.0, 1.0), 3: (0.0, -1.0), 4: (1.0, 0.0), 5: (-1.0, 0.0)}  # action -> direction (x, y)


@dataclass
class Battle:
    """One copy of the world.

    Attributes:
        setup: the engine's settings.
        key: of the episode's random draws.
        loop: game loops played.
        units: agents first.
        dying: Banelings that will burst.
        fighting: enemies that attack.
    """

    setup: Setup
    key: np.uint64
    loop: int
    units: list[Fighter]
    dying: list[Fighter] = field(default_factory=list)
    fighting: int = 0

    @classmethod
    def of_world(cls, world: dict[str, Any], copy: int, setup: Setup) -> "Battle":
        """Read one copy of a world."""
        key = np.uint64(randomness.episode_key(int(world["seed"][copy]), int(world["episode"][copy])))
        units = read_world(world, copy, setup.n_agents)
        return cls(setup, key, int(world["step"][copy]) * 8, units)

    @property
    def agents(self) -> list[Fighter]:
        """The agents."""
        return self.units[: self.setup.n_agents]

    @property
    def enemies(self) -> list[Fighter]:
        """The enemies."""
        return self.units[self.setup.n_agents :]

    def foes(self, unit: Fighter) -> list[Fighter]:
        """Return the other side."""
        return self.enemies if unit.friendly else self.agents

    def play_step(self, actions: list[int]) -> None:
        """Play the eight loops of one step."""
        for agent, action in zip(self.agents, actions, strict=True):
            if agent.alive:
                self.take_order(agent, action)
        for _ in range(8):
            self.play_loop()

    def take_order(self, agent: Fighter, action: int) -> None:
        """Turn an action into an order."""
        if action < 6:
            agent.forget_target()
            agent.order = "move" if action in MOVES else "hold"
            right, up = MOVES.get(action, (0.0, 0.0))
            amount = self.setup.move_amount
            agent.order_point = (agent.x + amount * right, agent.y + amount * up)
            return
        target = (self.agents if agent.kind.heal else self.enemies)[action - 6]
        if not agent.kind.heal and not can_hit(agent.kind, target.kind):
            return
        if agent.target is not target:
            agent.forget_target()
            agent.target = target
        agent.order = "target"

    def play_loop(self) -> None:
        """Play one game loop."""
        self.fighting = sum(unit.engaged for unit in self.enemies)
        for unit in self.units:
            if unit.alive:
                self.choose_target(unit)
        living = [unit for unit in self.units if unit.alive]
        for unit in living:
            self.decide(unit)
        for unit in living:
            self.set_course(unit)
        near = {unit.index: self.neighbours(unit, living, LOOK - 0.25) for unit in living}
        for unit in living:
            unit.x, unit.y = unit.x + unit.vx, unit.y + unit.vy
        self.push_apart(living, near)
        first = int(randomness.uniform(self.key, self.loop, FIRST, 0) * len(self.units))
        for unit in self.units[first:] + self.units[:first]:
            self.act(unit)
            self.burst_all()
        for unit in self.units:
            self.recover(unit)
        self.loop += 1

    def choose_target(self, unit: Fighter) -> None:
        """Drop a dead target; choose one for an enemy."""
        if unit.target is not None and not unit.target.alive:
            unit.forget_target()
            unit.look_timer = 0
            if unit.friendly:
                unit.order = "hold"
        if unit.friendly:
            return
        if unit.kind.heal:
            self.choose_patient(unit)
        elif unit.kind.weapon:
            self.choose_victim(unit)

    def choose_victim(self, unit: Fighter) -> None:
        """Choose whom an enemy attacks."""
        options, weapon, target = self.setup.options, unit.weapon, unit.target
        alarmed = self.fighting - unit.engaged > 0 or (unit.vx == 0.0 and unit.vy == 0.0)
        reach = options.alarm_range if alarmed else options.scan_range
        if target is not None and (unit.windup is not None or unit.channels):
            return
        if target is not None and within(unit, target, weapon.range):
            unit.last_attacker = None
            if unit.look_timer == 0:
                unit.look_timer = options.look_period
                found = self.best(unit, max(weapon.range, reach))
                if target.target is not unit and found is not None and found.target is unit:
                    unit.forget_target()
                    unit.target = found
            return
        unit.engaged = False
        if unit.look_timer > 0 and (target is None or within(unit, target, options.chase_range)):
            return
        unit.look_timer = options.look_period
        found = self.pursued(unit, reach) if unit.leash_timer == 0 else None
        if found is not None and self.setup.sent == SENT_TO_POINT:
            dx, dy = unit.x - unit.anchor[0], unit.y - unit.anchor[1]
            if dx * dx + dy * dy > options.leash * options.leash and not within(unit, found, weapon.range):
                found = unit.last_attacker = None
                unit.leash_timer = int(5.0 / unit.kind.speed)
        unit.target = found
        if found is None:
            unit.anchor = (unit.x, unit.y)

    def pursued(self, unit: Fighter, reach: float) -> Fighter | None:
        """Return whom an enemy without a target in range goes for."""
        chase = self.setup.options.chase_range
        found = self.best(unit, reach)
        if found is not None:
            unit.last_attacker = None
            return found
        attacker = unit.last_attacker
        if attacker is not None and not (attacker.alive and within(unit, attacker, chase)):
            unit.last_attacker = None
        found = unit.last_attacker
        if found is None and unit.target is not None and within(unit, unit.target, chase):
            found = unit.target
        if found is None and self.setup.sent == SENT_TO_UNITS:
            found = self.best(unit, math.inf)
        return found

    def best(self, unit: Fighter, reach: float) -> Fighter | None:
        """Return the agent within reach to attack: first those that attack the unit, then the nearest, edge to edge."""
        near = [agent for agent in self.agents if agent.alive and can_hit(unit.kind, agent.kind)]
        near = [agent for agent in near if within(unit, agent, reach)]
        # min() takes the first of equals.
        return min(
            near,
            key=lambda a: (a.target is not unit, math.sqrt(square_distance(unit, a)) - a.kind.radius),
            default=None,
        )

    def choose_patient(self, medivac: Fighter) -> None:
        """Choose whom an enemy Medivac heals."""
        heal, patient = medivac.heal, medivac.target
        hurt = patient is not None and patient.hp < patient.kind.hp
        if patient and hurt and medivac.energy > 0.0 and within(medivac, patient, heal.range):
            return
        medivac.target = None
        if medivac.energy < heal.least_energy:
            return
        patients = [
            u
            for u in self.enemies
            if u.alive and "biological" in u.kind.attributes and not u.kind.flies and u.hp < u.kind.hp
            if within(medivac, u, heal.scan)
        ]
        # min() takes the first of equals.
        medivac.target = min(patients, key=lambda u: (u.hp / u.kind.hp, square_distance(medivac, u)), default=None)

    def decide(self, unit: Fighter) -> None:
        """Decide what a unit does in this loop and where it wants to go."""
        unit.doing, unit.goal = "idle", (unit.x, unit.y)
        if (unit.target is not None and self.in_reach(unit, unit.target)) or unit.rest_timer > 0.0:
            unit.doing = "attack"
        elif unit.target is not None:
            unit.doing, unit.goal = "walk", (unit.target.x, unit.target.y)
        elif unit.friendly:
            if unit.order == "move":
                unit.doing, unit.goal = "walk", unit.order_point
        elif self.setup.sent == SENT_TO_POINT:
            dx, dy = unit.post[0] - unit.x, unit.post[1] - unit.y
            if dx * dx + dy * dy > 0.01 * 0.01:
                unit.doing, unit.goal = "walk", unit.post

    def set_course(self, unit: Fighter) -> None:
        """Set the velocity of a unit."""
        if unit.doing != "walk":
            unit.vx = unit.vy = 0.0
            return
        place = unit.goal if unit.kind.flies or unit.kind.tall else self.next_place(unit, unit.goal)
        to_x, to_y = place[0] - unit.x, place[1] - unit.y
        if self.accelerate(unit, to_x, to_y) and place == unit.goal:
            if unit.friendly and unit.order == "move":
                unit.order = "hold"
        elif not unit.kind.flies:
            self.steer(unit, to_x, to_y)

    def neighbours(self, unit: Fighter, living: list[Fighter], gap: float) -> list[Fighter]:
        """Return the living units of the same plane whose edges are less than `gap` beyond contact."""
        half = 0.5 * (LOOK - CLOSER)
        found = []
        for other in living:
            if other is unit or other.plane != unit.plane:
                continue
            a, b = (unit, other) if unit.index < other.index else (other, unit)
            reach = (a.kind.radius + half) + (b.kind.radius + half)
            reach = reach if gap == LOOK else reach - (LOOK - 0.5)
            if square_distance(a, b) < reach * reach:
                found.append(other)
        return found

    def steer(self, unit: Fighter, to_x: float, to_y: float) -> None:
        """Turn a walker onto the free tangent nearest to its way, once somebody stands right in it."""
        speed = math.sqrt(unit.vx * unit.vx + unit.vy * unit.vy)
        if speed == 0.0:
            return
        way_x, way_y = unit.vx / speed, unit.vy / speed
        goal = math.sqrt(to_x * to_x + to_y * to_y)
        others = []  # (dx, dy, room, sides to pass)
        blocked = False
        for other in self.neighbours(unit, [u for u in self.units if u.alive], LOOK):
            along = other.vx * way_x + other.vy * way_y
            square = other.vx * other.vx + other.vy * other.vy
            head_on = other.doing == "walk" and along < 0.0 and along * along > HEAD_ON * square
            if other is unit.target or not (head_on or other.doing == "attack"):
                continue
            dx, dy = other.x - unit.x, other.y - unit.y
            room = unit.kind.radius + other.kind.radius - CLOSER + BERTH
            ahead = dx * way_x + dy * way_y
            blocked = blocked or (dx * dx + dy * dy < room * room and ASIDE < ahead <= goal + room)
            others.append((dx, dy, room, ("right",) if head_on else ("right", "left")))
        if not blocked:
            return

        def free(x: float, y: float) -> bool:
            for dx, dy, room, _ in others:
                along = dx * x + dy * y
                across = dx * y - dy * x
                if ASIDE < along <= goal + room and across * across < room * room * 0.9995:
                    return False
            return True

        best, turned = -0.2, None
        for dx, dy, room, sides in others:
            distance = math.sqrt(dx * dx + dy * dy)
            if distance == 0.0:
                continue
            sine = min(room / distance, 1.0)
            cosine = math.sqrt(1.0 - sine * sine)
            ex, ey = dx / distance, dy / distance
            for side in sides:
                turn = -sine if side == "right" else sine
                x, y = ex * cosine - ey * turn, ey * cosine + ex * turn
                along = x * way_x + y * way_y
                if along > best and free(x, y):
                    best, turned = along, (x * speed, y * speed)
        if turned is not None:
            unit.vx, unit.vy = turned

    def in_reach(self, unit: Fighter, target: Fighter) -> bool:
        """Return whether a unit may stand and attack (or heal); start the attack if the weapon is ready."""
        weapon = unit.weapon
        if unit.windup is not None or unit.channels:
            return True
        if unit.kind.weapon is None:
            return within(unit, target, unit.heal.range)
        if not within(unit, target, weapon.range):
            unit.engaged = False
            return False
        if unit.cooldown <= 0.0:
            unit.windup = weapon.damage_point + (unit.cooldown if unit.cooldown > -1.0 else 0.0)
            unit.engaged = True
        return True

    def accelerate(self, unit: Fighter, dx: float, dy: float) -> bool:
        """Set the velocity towards a place at (dx, dy); return whether the unit gets there in this loop."""
        speed, most = unit.kind.speed, unit.kind.acceleration
        distance = math.sqrt(dx * dx + dy * dy)
        if distance == 0.0 or speed == 0.0:
            unit.vx = unit.vy = 0.0
            return distance == 0.0
        if most > 0.0:
            speed = min(speed, math.sqrt(2.0 * most * distance))
        vx, vy = dx * (speed / distance), dy * (speed / distance)
        if most > 0.0:
            change_x, change_y = vx - unit.vx, vy - unit.vy
            change = math.sqrt(change_x * change_x + change_y * change_y)
            if change > most:
                vx, vy = unit.vx + change_x * (most / change), unit.vy + change_y * (most / change)
                speed = math.sqrt(vx * vx + vy * vy)
        arrives = distance <= speed
        unit.vx, unit.vy = (dx, dy) if arrives else (vx, vy)
        return arrives

    def next_place(self, unit: Fighter, goal: Place) -> Place:
        """Return where to walk in a straight line on the way to a goal."""
        waypoint = self.setup.terrain.waypoint
        if waypoint.size == 0:
            return goal
        here = cell_of(unit.x) * SIZE + cell_of(unit.y)
        way = int(waypoint[here, cell_of(goal[0]) * SIZE + cell_of(goal[1])])
        return goal if way == here else (way // SIZE + 0.5, way % SIZE + 0.5)

    def push_apart(self, living: list[Fighter], near: dict[int, list[Fighter]]) -> None:
        """Push units in contact apart, then everybody out of the walls; near: who may be in contact with whom."""
        attacking, idle, walking = self.setup.options.push_weights
        weights = {"attack": attacking, "idle": idle, "walk": walking}
        pairs = [(a, b) for a in living for b in near[a.index] if a.index < b.index]
        for _ in range(6):
            overlapped = [push_pair(a, b, weights) for a, b in pairs]
            if not any(overlapped):
                break
        for unit in living:
            if unit.kind.flies:
                unit.x, unit.y = min(max(unit.x, 0.0), float(SIZE)), min(max(unit.y, 0.0), float(SIZE))
            else:
                unit.x, unit.y = self.onto_ground(unit)

    def onto_ground(self, unit: Fighter) -> Place:
        """Return the place nearby where the unit touches no wall."""
        terrain, layer, radius = self.setup.terrain, int(unit.kind.tall), unit.kind.inner_radius - CLOSER
        pathable = terrain.pathable[layer]

        def open_cell(c: int, r: int) -> bool:
            return 0 <= c < SIZE and 0 <= r < SIZE and bool(pathable[c, r])

        x, y = min(max(unit.x, 0.0), float(SIZE)), min(max(unit.y, 0.0), float(SIZE))
        c, r = cell_of(x), cell_of(y)
        if not open_cell(c, r):
            c, r = terrain.nearest[layer, c, r].tolist()
            x, y = min(max(x, float(c)), c + 1.0), min(max(y, float(r)), r + 1.0)
        if not open_cell(c - 1, r):
            x = max(x, c + radius)
        if not open_cell(c + 1, r):
            x = min(x, c + 1 - radius)
        if not open_cell(c, r - 1):
            y = max(y, r + radius)
        if not open_cell(c, r + 1):
            y = min(y, r + 1 - radius)
        for up in (0, 1):
            for right in (0, 1):
                across, along = c + 2 * right - 1, r + 2 * up - 1
                if not (open_cell(across, r) and open_cell(c, along)) or open_cell(across, along):
                    continue
                dx, dy = x - (c + right), y - (r + up)
                square = dx * dx + dy * dy
                if 0.0 < square < radius * radius:
                    away = radius / math.sqrt(square)
                    x, y = c + right + dx * away, r + up + dy * away
        if not open_cell(cell_of(x), cell_of(y)):
            x, y = min(max(x, c + 0.0), c + 1.0), min(max(y, r + 0.0), r + 1.0)
        return x, y

    def act(self, unit: Fighter) -> None:
        """Let a unit's missile arrive, its attack take effect, or a Medivac heal."""
        if unit.missile_target is not None and unit.missile_timer <= 0.0:
            struck, unit.missile_target = unit.missile_target, None
            self.hit(unit, struck)
        if not unit.alive or unit.target is None:
            return
        if unit.windup is not None and unit.windup <= 0.0:
            if unit.target.alive:
                self.attack(unit, unit.target, late=-unit.windup)
            else:
                unit.windup = None
        elif unit.kind.heal and unit.target.alive:
            self.heal(unit, unit.target)

    def attack(self, unit: Fighter, target: Fighter, late: float) -> None:
        """Carry out the attack that a unit has wound up, due `late` loops ago."""
        weapon, options = unit.weapon, self.setup.options
        delay = 0.0
        if options.random_delay:
            draw = randomness.uniform(self.key, self.loop, DELAY, unit.index)
            delay = DELAY_LOW + (DELAY_HIGH - DELAY_LOW) * draw
        unit.cooldown = weapon.period + delay - weapon.damage_point - late
        unit.windup = None
        if not unit.friendly:
            unit.rest_timer = max(options.backswing - late, 0.0)
        if weapon.splash == "burst":
            self.die(unit, bursts=True)
        elif weapon.splash == "line":
            for _ in range(weapon.hits):
                self.sweep(unit, target)
        elif weapon.missile_speed > 0.0 and options.missiles:
            unit.missile_target = target
            unit.missile_timer = math.sqrt(square_distance(unit, target)) / weapon.missile_speed - late
        else:
            self.hit(unit, target)
            if weapon.hits > 1:
                unit.missile_target, unit.missile_timer = target, weapon.hit_delay - late

    def hit(self, unit: Fighter, target: Fighter) -> None:
        """Damage a unit once, if it still lives."""
        if not target.alive:
            return
        weapon, options = unit.weapon, self.setup.options
        damage = weapon.damage
        if weapon.bonus_against in target.kind.attributes:
            damage += weapon.bonus
        target.shield_timer = SHIELD_DELAY
        if damage <= target.shield:
            target.shield -= damage
        else:
            target.hp -= max(damage - target.shield - target.kind.armor, LEAST_DAMAGE)
            target.shield = 0.0
        if unit.friendly and not target.friendly and options.retaliation:
            target.last_attacker = unit
            if options.call_for_help and target.help_timer == 0:
                target.help_timer = int(CALL_FOR_HELP_PERIOD)
                for friend in self.enemies:
                    near = square_distance(target, friend) <= CALL_FOR_HELP_RANGE * CALL_FOR_HELP_RANGE
                    if friend.alive and friend.last_attacker is None and friend.kind.weapon and near:
                        friend.last_attacker = unit
        if target.hp < LEAST_HP:
            self.die(target, bursts=options.death_burst)

    def die(self, unit: Fighter, bursts: bool) -> None:
        """Let a unit die; a Baneling may burst."""
        unit.hp = unit.shield = unit.vx = unit.vy = 0.0
        unit.forget_target()
        if bursts and unit.weapon.splash == "burst":
            self.dying.append(unit)

    def burst_all(self) -> None:
        """Let the dying Banelings burst, and those that die of it too."""
        for unit in self.dying:  # grows on the way
            for foe in self.foes(unit):
                reach = unit.weapon.splash_size + foe.kind.radius
                if not foe.kind.flies and square_distance(unit, foe) <= reach * reach:
                    self.hit(unit, foe)
        self.dying.clear()

    def sweep(self, unit: Fighter, target: Fighter) -> None:
        """Let one beam of a Colossus sweep across the line of fire."""
        weapon = unit.weapon
        if not self.setup.options.line_splash:
            self.hit(unit, target)
            return
        dx, dy = target.x - unit.x, target.y - unit.y
        distance = math.sqrt(dx * dx + dy * dy)
        along_x, along_y = (-dy / distance, dx / distance) if distance > 0.0 else (0.0, 1.0)
        for foe in self.foes(unit):
            if foe.kind.flies:
                continue
            off_x, off_y = foe.x - target.x, foe.y - target.y
            along = min(max(off_x * along_x + off_y * along_y, -weapon.splash_size), weapon.splash_size)
            off_x, off_y = off_x - along * along_x, off_y - along * along_y
            reach = weapon.splash_width + foe.kind.radius
            if off_x * off_x + off_y * off_y <= reach * reach:
                self.hit(unit, foe)

    def heal(self, medivac: Fighter, patient: Fighter) -> None:
        """Heal for one loop."""
        heal = medivac.heal
        missing = patient.kind.hp - patient.hp
        if missing <= 0.0 or "biological" not in patient.kind.attributes or not within(medivac, patient, heal.range):
            return
        healed = min(heal.rate, missing, medivac.energy / heal.cost)
        patient.hp = min(patient.hp + healed, float(patient.kind.hp))
        medivac.energy = max(medivac.energy - healed * heal.cost, 0.0)

    def recover(self, unit: Fighter) -> None:
        """Let one loop of time pass."""
        if unit.missile_target is not None:
            unit.missile_timer -= 1.0
        if not unit.alive:
            return
        unit.cooldown = max(unit.cooldown - 1.0, -1.0)
        if unit.windup is not None:
            unit.windup -= 1.0
        unit.help_timer = max(unit.help_timer - 1, 0)
        unit.leash_timer = max(unit.leash_timer - 1, 0)
        unit.look_timer = max(unit.look_timer - 1, 0)
        unit.rest_timer = max(unit.rest_timer - 1.0, 0.0)
        if unit.shield_timer > 0.0:
            unit.shield_timer -= 1.0
        else:
            unit.shield = min(unit.shield + SHIELD_REGEN, unit.kind.shield)
        unit.hp = min(unit.hp + unit.kind.life_regen, unit.kind.hp)
        unit.energy = min(unit.energy + unit.kind.energy_regen, unit.kind.max_energy)
