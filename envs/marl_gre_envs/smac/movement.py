"""Walking: which units stand, where others walk, how they get around each other, and how units push each other aside.

A unit whose target is in reach stands still and starts to attack; any other walks straight (or along way points) to its
goal, around those who stand and fight. Units in contact are pushed apart: idle ones give way most easily, and of two
that walk the one that runs into the other yields. Flyers touch only each other, and so do Colossi, who walk over
everybody else.
"""

from typing import NamedTuple

import numpy as np

from marl_gre_envs.compiling import inner_kernel
from marl_gre_envs.smac import pathing
from marl_gre_envs.smac.orders import HOLD, MOVE, NO_WINDUP, SENT_TO_POINT, channels, within
from marl_gre_envs.smac.units import (
    ACCELERATION,
    CLOSER,
    DAMAGE_POINT,
    FLIES,
    HAS_WEAPON,
    HEAL_RANGE,
    INNER_RADIUS,
    RADIUS,
    RANGE,
    SPEED,
    TALL,
)

ARRIVED = 0.01  # enemies stop this close to their place in the formation
ATTACKING, IDLE, WALKING = 0, 1, 2  # places in options.push_weights
LOOK = 0.75  # how far beyond contact a walker sees whom to walk around
BERTH = 0.125  # how far beyond contact it turns, and how much room it leaves
HEAD_ON = 0.5  # square of the cosine between a way and the opposite of another's, from which they run into each other
ASIDE = 1e-9  # a way that leads less far towards somebody leads past
SHARPEST = -0.2  # cosine of the greatest turn of a walker who does that
GRAZE = 0.9995  # of the square of the room a walker leaves: passing that close is no collision
PUSHES = 6  # most passes over all pairs in contact per loop
APART = 1e6  # distance of those who cannot touch
FARTHER = LOOK - 0.5  # of LOOK; pairs as far as the rest from contact cannot come into it in one loop
SETTLED = 2.0**-10  # overlap of a pair that needs no other pass


class Lists(NamedTuple):
    """Neighbours of units.

    Attributes:
        near, nears: [U, U], [U]: the neighbours of each unit, and how many.
        pairs, n_pairs: [2, U * (U - 1) // 2], [1]: pairs i < j that may come into contact in this loop, and how many.
        ids: [U], overwritten.
    """

    near: np.ndarray
    nears: np.ndarray
    pairs: np.ndarray
    n_pairs: np.ndarray
    ids: np.ndarray


# Rows of the scratch space.
GOAL_X, GOAL_Y, X, Y, R, W = range(6)


@inner_kernel
def walk(u, n_agents, table, sent, terrain, mode, scratch, lists):
    """Start attacks and move all units by one loop; mode [U] tells push_apart what each unit is doing."""
    units = u.hp.size
    for i in range(units):
        if u.hp[i] <= 0.0:
            continue
        mode[i] = IDLE
        goal_x, goal_y = u.pos[i, 0], u.pos[i, 1]
        target = u.target[i]
        if (target >= 0 and _in_reach(u, i, target, table)) or u.rest_timer[i] > 0.0:
            mode[i] = ATTACKING
        elif target >= 0:
            mode[i] = WALKING
            goal_x, goal_y = u.pos[target, 0], u.pos[target, 1]
        elif i < n_agents:
            if u.order[i] == MOVE:
                mode[i] = WALKING
                goal_x, goal_y = u.order_point[i, 0], u.order_point[i, 1]
        elif sent == SENT_TO_POINT:
            dx, dy = u.post[i, 0] - goal_x, u.post[i, 1] - goal_y
            if dx * dx + dy * dy > ARRIVED * ARRIVED:
                mode[i] = WALKING
                goal_x, goal_y = u.post[i, 0], u.post[i, 1]
        scratch[GOAL_X, i], scratch[GOAL_Y, i] = goal_x, goal_y
    _find_neighbours(u, table, scratch, lists)
    near, nears = lists.near, lists.nears
    for i in range(units):
        if u.hp[i] <= 0.0:
            continue
        if mode[i] != WALKING:
            u.velocity[i] = 0.0
            continue
        place_x, place_y, arrives = head_for(u, i, table, terrain, scratch[GOAL_X, i], scratch[GOAL_Y, i])
        if arrives:
            if i < n_agents and u.order[i] == MOVE:
                u.order[i] = HOLD
        elif nears[i] > 0 and table[u.unit_type[i], FLIES] == 0.0:
            to_x, to_y = place_x - u.pos[i, 0], place_y - u.pos[i, 1]
            _steer(u, i, table, mode, to_x, to_y, scratch, near[i], nears[i])
    for i in range(units):
        if u.hp[i] > 0.0:
            u.pos[i, 0] += u.velocity[i, 0]
            u.pos[i, 1] += u.velocity[i, 1]


@inner_kernel
def head_for(u, i, table, terrain, goal_x, goal_y):
    """Set the velocity of unit i on its way to a goal; return the next place on it and whether this loop ends there."""
    kind, x, y = u.unit_type[i], u.pos[i, 0], u.pos[i, 1]
    place_x, place_y = goal_x, goal_y
    if table[kind, FLIES] == 0.0 and table[kind, TALL] == 0.0:
        place_x, place_y = pathing.next_place(terrain.waypoint, x, y, goal_x, goal_y)
    arrives = _accelerate(u, i, table, place_x - x, place_y - y)
    return place_x, place_y, arrives and place_x == goal_x and place_y == goal_y


@inner_kernel
def _in_reach(u, i, target, table):
    """Return whether unit i may stand and attack (or heal) its target; start the attack if the weapon is ready."""
    kind = u.unit_type[i]
    if u.windup[i] > NO_WINDUP or channels(u, table, i):
        return True
    if table[kind, HAS_WEAPON] == 0.0:
        return within(u, table, i, target, table[kind, HEAL_RANGE])
    if not within(u, table, i, target, table[kind, RANGE]):
        u.engaged[i] = False
        return False
    if u.cooldown[i] <= 0.0:
        # A weapon that was ready within the last loop starts that much earlier: fractions of loops are not lost.
        u.windup[i] = table[kind, DAMAGE_POINT] + (u.cooldown[i] if u.cooldown[i] > -1.0 else 0.0)
        u.engaged[i] = True
    return True


@inner_kernel
def _accelerate(u, i, table, dx, dy):
    """Set the velocity of unit i on its way to a place at (dx, dy); return whether it gets there in this loop.

    Units that need time to accelerate need it to brake, too.
    """
    kind = u.unit_type[i]
    speed, most = table[kind, SPEED], table[kind, ACCELERATION]
    distance = np.sqrt(dx * dx + dy * dy)
    if distance == 0.0 or speed == 0.0:
        u.velocity[i] = 0.0
        return distance == 0.0
    if most > 0.0:
        speed = min(speed, np.sqrt(2.0 * most * distance))
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
def _find_neighbours(u, table, scratch, lists):
    """List for each living unit who of its plane is within LOOK of contact, and all pairs that may touch soon."""
    near, nears, pairs = lists.near, lists.nears, lists.pairs
    x, y, r, squares, ids = scratch[X], scratch[Y], scratch[R], scratch[W], lists.ids
    count, found = 0, 0
    for i in range(u.hp.size):
        if u.hp[i] <= 0.0:
            continue
        nears[i] = 0
        plane = table[u.unit_type[i], FLIES] + 2.0 * table[u.unit_type[i], TALL]
        x[count], y[count] = u.pos[i, 0] + APART * plane, u.pos[i, 1]
        r[count] = table[u.unit_type[i], RADIUS] + 0.5 * (LOOK - CLOSER)
        ids[count] = i
        count += 1
    for a in range(count):
        close = 0
        for b in range(a + 1, count):  # a loop that the compiler turns into vector instructions
            reach, dx, dy = r[a] + r[b], x[b] - x[a], y[b] - y[a]
            square = dx * dx + dy * dy
            squares[b] = square
            close += square < reach * reach
        if close == 0:
            continue
        i = ids[a]
        for b in range(a + 1, count):
            reach = r[a] + r[b]
            if squares[b] < reach * reach:
                j = ids[b]
                near[i, nears[i]] = j
                nears[i] += 1
                near[j, nears[j]] = i
                nears[j] += 1
                if squares[b] < (reach - FARTHER) * (reach - FARTHER):
                    pairs[0, found], pairs[1, found] = i, j
                    found += 1
    lists.n_pairs[0] = found


@inner_kernel
def _steer(u, i, table, mode, to_x, to_y, scratch, near, count):
    """Turn the velocity of walker i onto the free tangent nearest to its way, once somebody stands right in it."""
    speed = np.sqrt(u.velocity[i, 0] * u.velocity[i, 0] + u.velocity[i, 1] * u.velocity[i, 1])
    if speed == 0.0:
        return
    way_x, way_y = u.velocity[i, 0] / speed, u.velocity[i, 1] / speed
    goal = np.sqrt(to_x * to_x + to_y * to_y)
    others, blocked = 0, False
    for k in range(count):
        j = near[k]
        head_on = mode[j] == WALKING and _head_on(u.velocity[j, 0], u.velocity[j, 1], way_x, way_y)
        if j == u.target[i] or not (head_on or mode[j] == ATTACKING):
            continue
        dx, dy = u.pos[j, 0] - u.pos[i, 0], u.pos[j, 1] - u.pos[i, 1]
        room = table[u.unit_type[i], RADIUS] + table[u.unit_type[j], RADIUS] - CLOSER + BERTH
        along = dx * way_x + dy * way_y
        if dx * dx + dy * dy < room * room and ASIDE < along <= goal + room:
            blocked = True
        scratch[X, others], scratch[Y, others], scratch[R, others] = dx, dy, room
        scratch[W, others] = 1.0 if head_on else 2.0  # whoever comes towards it is passed on the right
        others += 1
    if not blocked:
        return
    best, best_x, best_y = SHARPEST, 0.0, 0.0
    for k in range(others):
        dx, dy = scratch[X, k], scratch[Y, k]
        distance = np.sqrt(dx * dx + dy * dy)
        if distance == 0.0:
            continue
        sine = min(scratch[R, k] / distance, 1.0)
        cosine = np.sqrt(1.0 - sine * sine)
        dx, dy = dx / distance, dy / distance
        for side in range(int(scratch[W, k])):
            turn = -sine if side == 0 else sine
            x, y = dx * cosine - dy * turn, dy * cosine + dx * turn
            along = x * way_x + y * way_y
            if along > best and _free(scratch, others, x, y, goal):
                best, best_x, best_y = along, x, y
    if best > SHARPEST:
        u.velocity[i, 0], u.velocity[i, 1] = best_x * speed, best_y * speed


@inner_kernel
def _head_on(velocity_x, velocity_y, way_x, way_y):
    """Return whether somebody with this velocity comes towards a walker, within 45 degrees of its way."""
    along = velocity_x * way_x + velocity_y * way_y
    return along < 0.0 and along * along > HEAD_ON * (velocity_x * velocity_x + velocity_y * velocity_y)


@inner_kernel
def _free(scratch, others, x, y, goal):
    """Return whether a walker can go in direction (x, y) to its goal without coming too near to one of the others."""
    for k in range(others):
        dx, dy, room = scratch[X, k], scratch[Y, k], scratch[R, k]
        along = dx * x + dy * y
        if along <= ASIDE or along > goal + room:
            continue
        across = dx * y - dy * x
        if across * across < room * room * GRAZE:
            return False
    return True


@inner_kernel
def push_apart(u, table, options, terrain, mode, scratch, lists):
    """Push units in contact apart, then all units out of walls.

    Args:
        u: the units.
        table: UNIT_TABLE.
        options: the engine's options.
        terrain: its tables.
        mode: what each unit is doing, [U].
        scratch: [6, U] float64, overwritten.
        lists: the neighbours, from walk().
    """
    if lists.n_pairs[0] > 0:
        for i in range(u.hp.size):
            scratch[R, i] = table[u.unit_type[i], RADIUS] - 0.5 * CLOSER
            scratch[W, i] = options.push_weights[mode[i]] if table[u.unit_type[i], SPEED] > 0.0 else 0.0
        for _ in range(PUSHES):
            if not _push_pairs(u, mode, scratch[R], scratch[W], lists.pairs, lists.n_pairs[0]):
                break
    for i in range(u.hp.size):
        if u.hp[i] <= 0.0:
            continue
        kind = u.unit_type[i]
        x, y = u.pos[i, 0], u.pos[i, 1]
        if table[kind, FLIES] > 0.0:
            x = min(max(x, 0.0), float(pathing.SIZE))
            y = min(max(y, 0.0), float(pathing.SIZE))
        else:
            layer = pathing.TALL if table[kind, TALL] > 0.0 else pathing.WALKER
            x, y = pathing.onto_ground(terrain, layer, x, y, table[kind, INNER_RADIUS] - CLOSER)
        u.pos[i, 0], u.pos[i, 1] = x, y


@inner_kernel
def _push_pairs(u, mode, radius, weight, pairs, count):
    """Push pairs apart one after the other, each by its share; return whether another pass is needed."""
    again = False
    for k in range(count):
        i, j = pairs[0, k], pairs[1, k]
        contact = radius[i] + radius[j]
        dx, dy = u.pos[j, 0] - u.pos[i, 0], u.pos[j, 1] - u.pos[i, 1]
        square = dx * dx + dy * dy
        if square >= contact * contact:
            continue
        distance = np.sqrt(square)
        if distance > 0.0:
            nx, ny = dx / distance, dy / distance
        else:
            nx, ny = 1.0, 0.0
        mine, other = weight[i], weight[j]
        if mode[i] == WALKING and mode[j] == WALKING:
            closing = max(u.velocity[i, 0] * nx + u.velocity[i, 1] * ny, 0.0)
            coming = max(-(u.velocity[j, 0] * nx + u.velocity[j, 1] * ny), 0.0)
            if closing + coming > 0.0:
                mine, other = closing, coming
        total = mine + other
        if total == 0.0:
            continue
        again = again or contact - distance > SETTLED
        overlap = (contact - distance) / total
        u.pos[i, 0] -= nx * (overlap * mine)
        u.pos[i, 1] -= ny * (overlap * mine)
        u.pos[j, 0] += nx * (overlap * other)
        u.pos[j, 1] += ny * (overlap * other)
    return again
