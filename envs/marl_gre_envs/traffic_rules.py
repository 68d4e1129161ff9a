"""The rules of TrafficJunction as kernels over E environments; traffic_junction.py describes world and options."""

from typing import NamedTuple

import numpy as np

from marl_gre_envs import randomness
from marl_gre_envs.compiling import kernel
from marl_gre_envs.core import TERMINATED, TRUNCATED

GATE, ROUTE, ARRIVAL = 0, 1, 2  # purposes of random draws
GAS, BRAKE = 0, 1
STRAIGHT, RIGHT, LEFT = 1, 2, 3  # routes; -1 = none yet


class Cars(NamedTuple):
    """The fields of the world that the kernels share; TrafficJunction's docstring describes them."""

    pos: np.ndarray
    on_road: np.ndarray
    finished: np.ndarray
    route: np.ndarray
    direction: np.ndarray
    turned: np.ndarray
    age: np.ndarray


class Rules(NamedTuple):
    """The options; TrafficJunction's constructor describes them."""

    size: int  # rows and columns of the grid
    block: bool  # whether cars block each other
    step_cost: float
    collision_reward: float
    max_steps: int
    arrive_prob: float
    per_gate: bool  # whether cars arrive at each gate


@kernel
def _enter(cars, e, car, gate, route):
    """Put a car of environment e on the road at a gate (row, column, row step, column step)."""
    cars.pos[e, car, 0], cars.pos[e, car, 1] = gate[0], gate[1]
    cars.direction[e, car, 0], cars.direction[e, car, 1] = gate[2], gate[3]
    cars.on_road[e, car] = True
    cars.turned[e, car] = False
    cars.route[e, car] = route


@kernel
def start(which, seed, episode, gates, observe_off_road, cars, corner_car, scripted, arrivals):
    """Put the first four cars at the gates in random order with random routes; the others wait."""
    n_cars = cars.on_road.shape[1]
    order = np.empty(4, np.int64)
    for e in range(which.size):
        if not which[e]:
            continue
        key = randomness.episode_key(seed[e], episode[e])
        cars.pos[e] = 0
        cars.on_road[e] = False
        cars.finished[e] = False
        cars.route[e] = -1
        cars.direction[e] = 0
        cars.turned[e] = False
        cars.age[e] = 0
        corner_car[e] = n_cars - 1 if observe_off_road and n_cars > 4 else -1
        if scripted[e]:
            scripted[e] = False
            arrivals[e] = -1
        for g in range(4):
            order[g] = g
        randomness.shuffle(order, 4, key, 0, GATE)
        for car in range(min(4, n_cars)):
            _enter(cars, e, car, gates[order[car]], 1 + randomness.below(3, key, 0, ROUTE, car))


@kernel
def advance(running, actions, cars, rules, gates, seed, episode, step, ended, scripted, arrivals, reward, collisions):
    """Take one step in the running environments, in one kernel, because each call from Python costs microseconds."""
    _drive(running, actions, cars, rules, reward, collisions)
    _end(running, cars.finished, step, rules.max_steps, ended)
    _arrive(running, cars, rules, gates, seed, episode, step, scripted, arrivals)


@kernel
def _drive(running, actions, cars, rules, agent_reward, collisions):
    """Move the cars one by one and pay them."""
    size, block = rules.size, rules.block
    step_cost, collision_reward = rules.step_cost, rules.collision_reward
    n_cars = cars.on_road.shape[1]
    half = size // 2
    for e in range(running.size):
        if not running[e]:
            continue
        pos, finished, age, reward = cars.pos[e], cars.finished[e], cars.age[e], agent_reward[e]
        for i in range(n_cars):
            if not cars.on_road[e, i] or finished[i]:
                continue
            age[i] += 1
            if actions[e, i] == GAS:
                _turn(cars, e, i, half)
                row, column = pos[i, 0] + cars.direction[e, i, 0], pos[i, 1] + cars.direction[e, i, 1]
                inside = 0 <= row < size and 0 <= column < size
                if not inside or not (half - 1 <= row <= half or half - 1 <= column <= half):
                    pass  # no road ahead, which only a given world can lead to
                elif block and _car_at(cars, e, row, column):
                    reward[i] += collision_reward
                    collisions[e] += 1
                else:
                    pos[i, 0], pos[i, 1] = row, column
            reward[i] += step_cost * age[i]
            row, column = pos[i, 0], pos[i, 1]
            finished[i] = (
                (row == half and column == size - 1)
                or (row == 0 and column == half)
                or (row == half - 1 and column == 0)
                or (row == size - 1 and column == half - 1)
            )
        if not block:
            collisions[e] = _overlaps(pos, cars.on_road[e], finished, collision_reward, reward)


@kernel
def _turn(cars, e, car, half):
    """Turn a car where its route turns: right at the first crossing cell of its lane, left at the second.

    Whoever drives in direction (r, c) has (c, -r) to the right; the crossing's centre is (half - 1/2, half - 1/2), and
    the lane's crossing cells lie half a cell to the right of it, half a cell before and after it.
    """
    if cars.route[e, car] == STRAIGHT or cars.turned[e, car]:
        return
    r, c = cars.direction[e, car]
    along = -1 if cars.route[e, car] == RIGHT else 1
    row, column = cars.pos[e, car]
    if 2 * row == 2 * half - 1 + c + along * r and 2 * column == 2 * half - 1 - r + along * c:
        cars.direction[e, car, 0], cars.direction[e, car, 1] = -along * c, along * r
        cars.turned[e, car] = True


@kernel
def _car_at(cars, e, row, column):
    """Return whether a car drives in a cell of environment e."""
    found = False
    for j in range(cars.on_road.shape[1]):
        here = cars.pos[e, j, 0] == row and cars.pos[e, j, 1] == column
        found |= here and cars.on_road[e, j] and not cars.finished[e, j]
    return found


@kernel
def _overlaps(pos, on_road, finished, collision_reward, reward):
    """Return how many pairs of cars share a cell; each of the two pays half of the collision."""
    pairs = 0
    for i in range(on_road.size):
        if not on_road[i] or finished[i]:
            continue
        for j in range(i):
            if pos[i, 0] == pos[j, 0] and pos[i, 1] == pos[j, 1] and on_road[j] and not finished[j]:
                pairs += 1
                reward[i] += 0.5 * collision_reward
                reward[j] += 0.5 * collision_reward
    return pairs


@kernel
def _end(running, finished, step, max_steps, ended):
    """Count the step and end the episodes in which all cars are finished or the time is over."""
    for e in range(running.size):
        if running[e]:
            step[e] += 1
            if finished[e].all():
                ended[e] = TERMINATED
            elif step[e] >= max_steps:
                ended[e] = TRUNCATED


@kernel
def _arrive(running, cars, rules, gates, seed, episode, step, scripted, arrivals):
    """Let new cars arrive, as listed or by chance."""
    for e in range(running.size):
        if not running[e]:
            continue
        if scripted[e]:
            listed = arrivals[e, step[e] - 1]
            for k in range(listed.shape[0]):
                if listed[k, 0] >= 0 and not cars.on_road[e, listed[k, 0]]:
                    for gate in gates:
                        if gate[0] == listed[k, 1] and gate[1] == listed[k, 2]:
                            _enter(cars, e, listed[k, 0], gate, listed[k, 3])
            continue
        car = _first_waiting(cars.on_road[e])
        if car < 0:
            continue
        key = randomness.episode_key(seed[e], episode[e])
        if rules.per_gate:
            for g in range(4):
                arrives = randomness.uniform(key, step[e], ARRIVAL, g) < rules.arrive_prob
                if arrives and car >= 0 and _is_free(gates[g], cars.pos[e]):
                    _enter(cars, e, car, gates[g], 1 + randomness.below(3, key, step[e], ROUTE, car))
                    car = _first_waiting(cars.on_road[e])
        elif randomness.uniform(key, step[e], ARRIVAL, 0) < rules.arrive_prob:
            free = np.empty(4, np.int64)
            n_free = 0
            for g in range(4):
                if _is_free(gates[g], cars.pos[e]):
                    free[n_free] = g
                    n_free += 1
            if n_free:
                gate = gates[free[randomness.below(n_free, key, step[e], GATE, 0)]]
                _enter(cars, e, car, gate, 1 + randomness.below(3, key, step[e], ROUTE, car))


@kernel
def _first_waiting(on_road):
    """Return the lowest-numbered car that has not entered, or -1."""
    for i in range(on_road.size):
        if not on_road[i]:
            return i
    return -1


@kernel
def _is_free(gate, pos):
    """Return whether no car stands at the gate."""
    free = True
    for i in range(pos.shape[0]):
        free &= pos[i, 0] != gate[0] or pos[i, 1] != gate[1]
    return free


@kernel
def look(which, pos, on_road, finished, route, corner_car, size, observe_off_road, out):
    """Write the cars' own observations side by side: out [M, N * own_dim and more]."""
    n_cars = on_road.shape[1]
    features = n_cars + 5
    own_dim = 9 * features
    for m in range(which.size):
        if not which[m]:
            continue
        out[m, : n_cars * own_dim] = 0.0
        for i in range(n_cars):
            if not observe_off_road and (finished[m, i] or not on_road[m, i]):
                continue
            top, left = pos[m, i, 0] - 1, pos[m, i, 1] - 1
            own = i * own_dim
            for j in range(n_cars):
                row, column = pos[m, j, 0] - top, pos[m, j, 1] - left
                if 0 <= row < 3 and 0 <= column < 3 and on_road[m, j] and not finished[m, j]:
                    _show(out[m], own + (3 * row + column) * features, n_cars, j, pos[m, j], route[m, j], size)
            corner = corner_car[m]
            if corner >= 0 and top <= 0 and left <= 0:  # cell (0, 0) is in view
                cell = 3 * -top - left
                _show(out[m], own + cell * features, n_cars, corner, pos[m, corner], route[m, corner], size)


@kernel
def _show(out, at, n_cars, car, pos, route, size):
    """Write the features of a car into its cell of an observation."""
    out[at + car] = 1.0
    out[at + n_cars] = pos[0] / (size - 1)
    out[at + n_cars + 1] = pos[1] / (size - 1)
    bit = route - 1 if route >= STRAIGHT else RIGHT - 1  # ma-gym shows a car without a route with the middle bit
    out[at + n_cars + 2 + bit] = 1.0
