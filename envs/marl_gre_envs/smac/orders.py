"""The agents' orders, and the enemies' choice of targets to attack or heal.

Agents obey the order of the step and do nothing of their own accord. Enemies attack-move: every few loops they look
around and attack those who attack them, then the nearest; they answer attacks from further away, and otherwise go to
their places in the formation where they were sent.
"""

import numpy as np

from marl_gre_envs.compiling import inner_kernel
from marl_gre_envs.smac.interface import EAST, FIRST_TARGET, NORTH, SOUTH, STOP, WEST
from marl_gre_envs.smac.units import (
    BIOLOGICAL,
    FLIES,
    HAS_HEAL,
    HAS_WEAPON,
    HEAL_LEAST_ENERGY,
    HEAL_RANGE,
    HEAL_SCAN,
    HIT_DELAY,
    HITS_AIR,
    HP,
    RADIUS,
    RANGE,
    SPEED,
)

HOLD, MOVE, TARGET = 0, 1, 2  # values of world["order"]
NOBODY = -1  # in world["target"], "last_attacker" and "missile_target"
NO_WINDUP = -1.0  # in world["windup"]
SENT_NOWHERE, SENT_TO_POINT, SENT_TO_UNITS = 0, 1, 2  # what the enemies were told
LEASH_RESET = 5.0  # distance a unit that gave up a chase walks before it looks around again


@inner_kernel
def channels(u, table, i):
    """Return whether unit i is between two blows of one attack."""
    return u.missile_target[i] >= 0 and table[u.unit_type[i], HIT_DELAY] > 0.0


@inner_kernel
def drop_target(u, table, i):
    """Drop the target of unit i; an attack in its wind-up is lost, and so is a second blow."""
    if channels(u, table, i):
        u.missile_target[i] = NOBODY
    u.target[i] = NOBODY
    u.windup[i] = NO_WINDUP
    u.engaged[i] = False


@inner_kernel
def take_orders(u, actions, n_agents, move_amount, table):
    """Turn the actions of a step into orders."""
    for i in range(n_agents):
        if u.hp[i] <= 0.0:
            continue
        action = actions[i]
        if action < FIRST_TARGET:
            drop_target(u, table, i)
            u.order[i] = HOLD if action <= STOP else MOVE
            u.order_point[i, 0] = u.pos[i, 0] + move_amount * ((action == EAST) - (action == WEST))
            u.order_point[i, 1] = u.pos[i, 1] + move_amount * ((action == NORTH) - (action == SOUTH))
            continue
        heals = table[u.unit_type[i], HAS_HEAL] > 0.0
        target = action - FIRST_TARGET + (0 if heals else n_agents)
        if not heals and not can_hit(table, u.unit_type[i], u.unit_type[target]):
            continue  # refused, the order before stays
        if u.target[i] != target:
            drop_target(u, table, i)
            u.target[i] = target
        u.order[i] = TARGET


@inner_kernel
def can_hit(table, kind, other):
    """Return whether a kind of unit has a weapon that reaches another kind."""
    return table[kind, HAS_WEAPON] > 0.0 and (table[other, FLIES] == 0.0 or table[kind, HITS_AIR] > 0.0)


@inner_kernel
def square_distance(u, i, j):
    """Return the square of the distance between the centres of two units."""
    dx, dy = u.pos[j, 0] - u.pos[i, 0], u.pos[j, 1] - u.pos[i, 1]
    return dx * dx + dy * dy


@inner_kernel
def within(u, table, i, j, reach):
    """Return whether the edges of two units are at most `reach` apart."""
    limit = reach + table[u.unit_type[i], RADIUS] + table[u.unit_type[j], RADIUS]
    return square_distance(u, i, j) <= limit * limit


@inner_kernel
def form_up(u, n_agents):
    """Give each enemy its place at the attack point according to the current formation."""
    x, y, count = 0.0, 0.0, 0
    for i in range(n_agents, u.hp.size):
        if u.hp[i] > 0.0:
            x += u.pos[i, 0]
            y += u.pos[i, 1]
            count += 1
    for i in range(u.hp.size):
        u.post[i] = 0.0
        if count > 0 and i >= n_agents:
            u.post[i, 0] = u.attack_point[0] + (u.pos[i, 0] - x / count)
            u.post[i, 1] = u.attack_point[1] + (u.pos[i, 1] - y / count)


@inner_kernel
def choose_targets(u, n_agents, table, options, sent):
    """Drop dead targets and choose the enemies' targets."""
    fighting = 0
    for i in range(n_agents, u.hp.size):
        fighting += u.engaged[i]
    for i in range(u.hp.size):
        if u.hp[i] <= 0.0:
            continue
        if u.target[i] >= 0 and u.hp[u.target[i]] <= 0.0:
            drop_target(u, table, i)
            u.look_timer[i] = 0
            if i < n_agents:
                u.order[i] = HOLD
        if i < n_agents:
            continue
        if table[u.unit_type[i], HAS_HEAL] > 0.0:
            _choose_patient(u, i, n_agents, table)
        elif table[u.unit_type[i], HAS_WEAPON] > 0.0:
            alarmed = fighting - u.engaged[i] > 0 or (u.velocity[i, 0] == 0.0 and u.velocity[i, 1] == 0.0)
            _choose_victim(u, i, n_agents, table, options, sent, options.alarm_range if alarmed else options.scan_range)


@inner_kernel
def _choose_victim(u, i, n_agents, table, options, sent, reach):
    """Choose whom enemy i attacks, looking as far as reach."""
    kind, target = u.unit_type[i], u.target[i]
    if target >= 0:
        if u.windup[i] > NO_WINDUP or channels(u, table, i):
            return
        if within(u, table, i, target, table[kind, RANGE]):
            u.last_attacker[i] = NOBODY
            if u.look_timer[i] > 0:
                return
            u.look_timer[i] = options.look_period
            if u.target[target] != i:
                found = nearest(u, i, n_agents, table, max(table[kind, RANGE], reach))
                if found >= 0 and u.target[found] == i:
                    drop_target(u, table, i)
                    u.target[i] = found
            return
    u.engaged[i] = False
    if u.look_timer[i] > 0 and (target < 0 or within(u, table, i, target, options.chase_range)):
        return
    u.look_timer[i] = options.look_period
    found = NOBODY
    if u.leash_timer[i] == 0:
        found = nearest(u, i, n_agents, table, reach)
        if found >= 0:
            u.last_attacker[i] = NOBODY
        else:
            attacker = u.last_attacker[i]
            if attacker >= 0 and u.hp[attacker] <= 0.0:
                u.last_attacker[i] = attacker = NOBODY
            if attacker >= 0 and not within(u, table, i, attacker, options.chase_range):
                u.last_attacker[i] = attacker = NOBODY
            found = attacker
            if found < 0 and target >= 0 and within(u, table, i, target, options.chase_range):
                found = target
        if found < 0 and sent == SENT_TO_UNITS:
            found = nearest(u, i, n_agents, table, np.inf)
    if found >= 0 and sent == SENT_TO_POINT:
        dx, dy = u.pos[i, 0] - u.anchor[i, 0], u.pos[i, 1] - u.anchor[i, 1]
        if dx * dx + dy * dy > options.leash * options.leash and not within(u, table, i, found, table[kind, RANGE]):
            found = u.last_attacker[i] = NOBODY
            u.leash_timer[i] = int(LEASH_RESET / table[kind, SPEED])
    u.target[i] = found
    if found < 0:
        u.anchor[i, 0], u.anchor[i, 1] = u.pos[i, 0], u.pos[i, 1]


@inner_kernel
def nearest(u, i, n_agents, table, reach):
    """Return the agent within reach that enemy i would attack, or NOBODY.

    Agents that attack it come first, then the nearest, edge to edge, then the lowest number.
    """
    kind, found, attacked = u.unit_type[i], NOBODY, False
    least = np.inf
    for j in range(n_agents):
        if u.hp[j] <= 0.0 or not can_hit(table, kind, u.unit_type[j]):
            continue
        attacks = u.target[j] == i
        if attacked and not attacks:
            continue
        limit = reach + table[kind, RADIUS] + table[u.unit_type[j], RADIUS]
        square = square_distance(u, i, j)
        if square > limit * limit:
            continue
        distance = np.sqrt(square) - table[u.unit_type[j], RADIUS]
        if distance < least or (attacks and not attacked):
            found, least, attacked = j, distance, attacks
    return found


@inner_kernel
def _choose_patient(u, i, n_agents, table):
    """Choose whom an enemy Medivac heals: the friend with the lowest share of its hp, then the nearest."""
    kind, target = u.unit_type[i], u.target[i]
    hurt = target >= 0 and u.hp[target] < table[u.unit_type[target], HP]
    if hurt and u.energy[i] > 0.0 and within(u, table, i, target, table[kind, HEAL_RANGE]):
        return
    found, least, near = NOBODY, 1.0, 0.0
    if u.energy[i] >= table[kind, HEAL_LEAST_ENERGY]:
        for j in range(n_agents, u.hp.size):
            other = u.unit_type[j]
            if u.hp[j] <= 0.0 or table[other, BIOLOGICAL] == 0.0 or table[other, FLIES] > 0.0:
                continue
            if u.hp[j] >= table[other, HP] or not within(u, table, i, j, table[kind, HEAL_SCAN]):
                continue
            share, square = u.hp[j] / table[other, HP], square_distance(u, i, j)
            if share < least or (share == least and square < near):
                found, least, near = j, share, square
    u.target[i] = found
