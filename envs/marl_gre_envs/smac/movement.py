"""Walking: who stands, who walks where, and how units push each other aside.

A unit whose target is in reach stands still and starts to attack; any other walks straight (or along way points)
to its goal. Overlapping units are pushed apart, those that attack hardly move. Air units and ground units do not touch.
"""

import numpy as np

from marl_gre_envs.compiling import inner_kernel
from marl_gre_envs.smac import pathing
from marl_gre_envs.smac.orders import HOLD, MOVE, NO_WINDUP, SENT_TO_POINT, within
from marl_gre_envs.smac.units import (
    ACCELERATION,
    DAMAGE_POINT,
    FLIES,
    HAS_WEAPON,
    HEAL_RANGE,
    RANGE,
    SEPARATION,
    SLOP,
    SPEED,
    TALL,
)

ARRIVED = 0.3  # enemies stop this close to the point they were sent to
ATTACKING, IDLE, WALKING = 0, 1, 2  # places in knobs.push_weights
PUSHES = 2  # passes over all pairs per loop


@inner_kernel
def walk(u, n_agents, table, knobs, sent, terrain, mode):
    """Start attacks and move everybody by one loop; mode [U] tells push_apart what each unit is doing."""
    for i in range(u.hp.size):
        if u.hp[i] <= 0.0:
            continue
        mode[i] = IDLE
        x, y = u.pos[i, 0], u.pos[i, 1]
        goal_x, goal_y = x, y
        target = u.target[i]
        if target >= 0:
            if _in_reach(u, i, target, table, knobs):
                mode[i] = ATTACKING
            else:
                mode[i] = WALKING
                goal_x, goal_y = u.pos[target, 0], u.pos[target, 1]
        elif i < n_agents:
            if u.order[i] == MOVE:
                mode[i] = WALKING
                goal_x, goal_y = u.order_point[i, 0], u.order_point[i, 1]
        elif sent == SENT_TO_POINT:
            goal_x, goal_y = u.attack_point[0], u.attack_point[1]
            dx, dy = goal_x - x, goal_y - y
            mode[i] = WALKING if dx * dx + dy * dy > ARRIVED * ARRIVED else IDLE
        if mode[i] != WALKING:
            u.velocity[i] = 0.0
            continue
        kind = u.unit_type[i]
        place_x, place_y = goal_x, goal_y
        if table[kind, FLIES] == 0.0 and table[kind, TALL] == 0.0:
            place_x, place_y = pathing.next_place(terrain.waypoint, x, y, goal_x, goal_y)
        there = _accelerate(u, i, table, place_x - x, place_y - y) and place_x == goal_x and place_y == goal_y
        if there and i < n_agents and u.order[i] == MOVE:
            u.order[i] = HOLD
    for i in range(u.hp.size):
        if u.hp[i] > 0.0:
            u.pos[i, 0] += u.velocity[i, 0]
            u.pos[i, 1] += u.velocity[i, 1]


@inner_kernel
def _in_reach(u, i, target, table, knobs):
    """Return whether unit i may stand and attack (or heal) its target; start the attack if the weapon is ready."""
    kind = u.unit_type[i]
    if u.windup[i] > NO_WINDUP:
        return True
    if table[kind, HAS_WEAPON] == 0.0:
        return within(u, table, i, target, table[kind, HEAL_RANGE])
    slop = table[kind, SLOP] if u.engaged[i] and knobs.range_slop else 0.0
    if not within(u, table, i, target, table[kind, RANGE] + slop):
        u.engaged[i] = False
        return False
    if u.cooldown[i] <= 0.0:
        # A weapon that was ready within the last loop starts that much earlier: fractions of loops are not lost.
        u.windup[i] = table[kind, DAMAGE_POINT] + (u.cooldown[i] if u.cooldown[i] > -1.0 else 0.0)
        u.engaged[i] = True
    return True


@inner_kernel
def _accelerate(u, i, table, dx, dy):
    """Set the velocity of unit i on its way to a place at (dx, dy); return whether it gets there in this loop."""
    kind = u.unit_type[i]
    speed, most = table[kind, SPEED], table[kind, ACCELERATION]
    distance = np.sqrt(dx * dx + dy * dy)
    if distance == 0.0 or speed == 0.0:
        u.velocity[i] = 0.0
        return distance == 0.0
    wish_x, wish_y = dx * (speed / distance), dy * (speed / distance)
    if most > 0.0:
        change_x, change_y = wish_x - u.velocity[i, 0], wish_y - u.velocity[i, 1]
        change = np.sqrt(change_x * change_x + change_y * change_y)
        if change > most:
            wish_x = u.velocity[i, 0] + change_x * (most / change)
            wish_y = u.velocity[i, 1] + change_y * (most / change)
            speed = np.sqrt(wish_x * wish_x + wish_y * wish_y)
    if distance <= speed:
        u.velocity[i, 0], u.velocity[i, 1] = dx, dy
        return True
    u.velocity[i, 0], u.velocity[i, 1] = wish_x, wish_y
    return False


@inner_kernel
def push_apart(u, table, knobs, terrain, mode, scratch):
    """Push overlapping units of the same plane apart, then everybody out of the walls.

    Args:
        u: the units.
        table: UNIT_TABLE.
        knobs: the settings.
        terrain: its tables.
        mode: what each unit does, [U].
        scratch: [4, U] float64, overwritten.
    """
    flying = 0
    for plane in range(2):
        if plane == 1 and flying == 0:
            return
        count = 0
        for i in range(u.hp.size):
            if u.hp[i] <= 0.0:
                continue
            kind = u.unit_type[i]
            if (table[kind, FLIES] > 0.0) != (plane == 1):
                flying += 1
                continue
            scratch[0, count], scratch[1, count] = u.pos[i, 0], u.pos[i, 1]
            scratch[2, count] = table[kind, SEPARATION]
            scratch[3, count] = knobs.push_weights[mode[i]] if table[kind, SPEED] > 0.0 else 0.0
            count += 1
        for _ in range(PUSHES):
            _push_pairs(scratch[0], scratch[1], scratch[2], scratch[3], count)
        at = 0
        for i in range(u.hp.size):
            kind = u.unit_type[i]
            if u.hp[i] <= 0.0 or (table[kind, FLIES] > 0.0) != (plane == 1):
                continue
            x, y = scratch[0, at], scratch[1, at]
            at += 1
            if plane == 1:
                x = min(max(x, 0.0), float(pathing.SIZE))
                y = min(max(y, 0.0), float(pathing.SIZE))
            else:
                layer = pathing.TALL if table[kind, TALL] > 0.0 else pathing.WALKER
                x, y = pathing.onto_ground(terrain, layer, x, y, table[kind, SEPARATION])
            u.pos[i, 0], u.pos[i, 1] = x, y


@inner_kernel
def _push_pairs(x, y, radius, weight, count):
    """Push the pairs i < j of discs apart one after the other, each by its share of the weights."""
    for i in range(count):
        touching = 0
        for j in range(i + 1, count):  # a loop that the compiler turns into vector instructions
            touch = radius[i] + radius[j]
            dx, dy = x[j] - x[i], y[j] - y[i]
            touching += dx * dx + dy * dy < touch * touch
        if touching == 0:
            continue
        for j in range(i + 1, count):
            touch = radius[i] + radius[j]
            dx, dy = x[j] - x[i], y[j] - y[i]
            square = dx * dx + dy * dy
            total = weight[i] + weight[j]
            if square >= touch * touch or total == 0.0:
                continue
            distance = np.sqrt(square)
            if distance > 0.0:
                nx, ny = dx / distance, dy / distance
            else:
                nx, ny = 1.0, 0.0
            overlap = (touch - distance) / total
            x[i] -= nx * (overlap * weight[i])
            y[i] -= ny * (overlap * weight[i])
            x[j] += nx * (overlap * weight[j])
            y[j] += ny * (overlap * weight[j])
