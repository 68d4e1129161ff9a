"""The ground on which units can stand, and ways around walls.

Tables are made once per terrain. Walkers and tall units (a Colossus steps over cliffs) have ground of their own: layer
WALKER and layer TALL. Only the terrains of maps.NON_CONVEX need way points; elsewhere the straight way is free.
"""

from functools import cache
from typing import NamedTuple

import numpy as np

from marl_gre_envs.compiling import inner_kernel
from marl_gre_envs.smac.maps import NON_CONVEX, SIZE, between, ground_of

CELLS = SIZE * SIZE  # cell (x, y) has number x * SIZE + y
WALKER, TALL = 0, 1
STEPS = ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (1, -1), (-1, 1), (-1, -1))
COSTS = (5, 5, 5, 5, 7, 7, 7, 7)  # of a step, about 5 times its length: whole numbers, so that ties are exact
FAR = 2**30


class Terrain(NamedTuple):
    """Tables of one terrain.

    Attributes:
        pathable: [2, 32, 32] bool, by layer.
        clear: [2, 32, 32] bool, whether the cell and its eight neighbours are pathable.
        nearest: [2, 32, 32, 2] int16, the nearest pathable cell (x, y).
        waypoint: [1024, 1024] int16, for a unit in one cell (row) on its way to another (column) the cell to walk to
            in a straight line, itself where it should go straight to its goal; [0, 0] where every way is straight.
    """

    pathable: np.ndarray
    clear: np.ndarray
    nearest: np.ndarray
    waypoint: np.ndarray


@cache
def terrain_named(name: str) -> Terrain:
    """Return the tables of the ground of one of maps.TERRAINS."""
    walker = ground_of(name)
    pathable = np.stack([walker, between(walker)])  # cells between pathable ones are cliffs
    waypoint = _waypoints(walker) if name in NON_CONVEX else np.zeros((0, 0), np.int16)
    return Terrain(
        pathable, np.stack([_clear(layer) for layer in pathable]), np.stack([_nearest(p) for p in pathable]), waypoint
    )


def _clear(pathable: np.ndarray) -> np.ndarray:
    """Return for each cell whether it and its eight neighbours are pathable; outside the map nothing is."""
    padded = np.pad(pathable, 1)
    shifts = [padded[i : i + SIZE, j : j + SIZE] for i in range(3) for j in range(3)]
    return np.logical_and.reduce(shifts)


def _nearest(pathable: np.ndarray) -> np.ndarray:
    """Return for each cell the nearest pathable one, the first in cell order among equals, [32, 32, 2] int16."""
    cells, every = np.argwhere(pathable), np.argwhere(np.ones_like(pathable))
    distance = ((every[:, None] - cells[None]) ** 2).sum(-1)
    return cells[distance.argmin(1)].reshape(SIZE, SIZE, 2).astype(np.int16)


def _waypoints(pathable: np.ndarray) -> np.ndarray:
    """Return Terrain.waypoint: the furthest cell in sight on a shortest way."""
    cells = np.argwhere(pathable)
    count = len(cells)
    number = np.full((SIZE, SIZE), -1)
    number[tuple(cells.T)] = np.arange(count)
    follow = _first_steps(pathable, cells, number)  # [from, to]
    sight = _in_sight(pathable, cells)
    start, goal = np.indices((count, count))
    way = follow.copy()
    while True:
        further = follow[way, goal]
        walk = sight[start, further] & (way != further)
        if not walk.any():
            break
        way = np.where(walk, further, way)
    # In the cell of the goal, or where the goal is in sight, nothing stands in the way.
    way[way == goal] = start[way == goal]
    nearest = _nearest(pathable).reshape(CELLS, 2)
    at = number[tuple(nearest.T)]  # [1024], of the nearest pathable cell
    table = way[at[:, None], at[None, :]]
    numbers = cells @ (SIZE, 1)
    straight = table == at[:, None]
    blocked_goal = ~pathable.reshape(CELLS)[None, :] & (at[:, None] != at[None, :])
    found = np.where(straight, np.arange(CELLS)[:, None], numbers[table])
    # A goal inside a wall: first to the pathable cell next to it.
    return np.where(straight & blocked_goal, numbers[at][None, :], found).astype(np.int16)


def _first_steps(pathable: np.ndarray, cells: np.ndarray, number: np.ndarray) -> np.ndarray:
    """Return the next cell on a shortest way between any two cells, [from, to]; diagonals cut no corners."""
    count = len(cells)
    padded = np.pad(pathable, 1)
    neighbours = np.full((len(STEPS), count), -1)
    for k, (dx, dy) in enumerate(STEPS):
        x, y = cells[:, 0] + 1, cells[:, 1] + 1
        free = padded[x + dx, y + dy] & padded[x + dx, y] & padded[x, y + dy]
        neighbours[k, free] = number[cells[free, 0] + dx, cells[free, 1] + dy]
    distance = np.where(np.eye(count, dtype=bool), 0, FAR)
    while True:
        before = distance.copy()
        for k, cost in enumerate(COSTS):
            free = neighbours[k] >= 0
            distance[free] = np.minimum(distance[free], distance[neighbours[k, free]] + cost)
        if (before == distance).all():
            break
    if (distance >= FAR).any():
        raise ValueError("the terrain is not connected.")
    onward = np.full((len(STEPS), count, count), FAR)
    for k, cost in enumerate(COSTS):
        free = neighbours[k] >= 0
        onward[k, free] = distance[neighbours[k, free]] + cost
    step = onward.argmin(0)
    follow = neighbours[step, np.arange(count)[:, None]]
    np.fill_diagonal(follow, np.arange(count))
    return follow


def _in_sight(pathable: np.ndarray, cells: np.ndarray) -> np.ndarray:
    """Return whether the straight line between the centres of two cells touches pathable cells only, [n, n] bool.

    A line from cell a to cell b touches a cell at offset c from a if |cross(b - a, c)| <= (|bx - ax| + |by - ay|) / 2
    and c lies in the box of both: whole numbers, so it is exact.
    """
    count = len(cells)
    walls = np.argwhere(~pathable)
    sight = np.ones((count, count), bool)
    for a in range(count):
        to = cells - cells[a]  # [n, 2]
        low, high = np.minimum(to, 0), np.maximum(to, 0)
        wall = walls - cells[a]  # [w, 2]
        inside = ((wall[None] >= low[:, None]) & (wall[None] <= high[:, None])).all(-1)
        cross = to[:, None, 0] * wall[None, :, 1] - to[:, None, 1] * wall[None, :, 0]
        touched = inside & (2 * np.abs(cross) <= np.abs(to).sum(1)[:, None])
        sight[a] = ~touched.any(1)
    return sight


@inner_kernel
def cell_of(place):
    """Return the column or row of a coordinate; the far border belongs to the last cell."""
    return min(max(int(place), 0), SIZE - 1)


@inner_kernel
def next_place(waypoint, x, y, goal_x, goal_y):
    """Return where to walk in a straight line on the way to a goal."""
    if waypoint.size == 0:
        return goal_x, goal_y
    here = cell_of(x) * SIZE + cell_of(y)
    way = waypoint[here, cell_of(goal_x) * SIZE + cell_of(goal_y)]
    if way == here:
        return goal_x, goal_y
    return way // SIZE + 0.5, way % SIZE + 0.5


@inner_kernel
def onto_ground(terrain, layer, x, y, radius):
    """Return the place nearby where a disc of that radius touches no wall.

    First out of a wall into the nearest pathable cell, then away from the sides and corners of walls around that cell.
    The centre ends in a pathable cell in any case.
    """
    x, y = min(max(x, 0.0), float(SIZE)), min(max(y, 0.0), float(SIZE))
    column, row = cell_of(x), cell_of(y)
    if terrain.clear[layer, column, row]:
        return x, y
    pathable = terrain.pathable[layer]
    if not pathable[column, row]:
        column, row = terrain.nearest[layer, column, row, 0], terrain.nearest[layer, column, row, 1]
        x, y = min(max(x, float(column)), column + 1.0), min(max(y, float(row)), row + 1.0)
    west = column == 0 or not pathable[column - 1, row]
    east = column == SIZE - 1 or not pathable[column + 1, row]
    south = row == 0 or not pathable[column, row - 1]
    north = row == SIZE - 1 or not pathable[column, row + 1]
    if west:
        x = max(x, column + radius)
    if east:
        x = min(x, column + 1 - radius)
    if south:
        y = max(y, row + radius)
    if north:
        y = min(y, row + 1 - radius)
    for side in range(4):
        right, up = side % 2, side // 2
        if (east if right else west) or (north if up else south):
            continue  # the sides have done it
        if pathable[column + 2 * right - 1, row + 2 * up - 1]:
            continue
        dx, dy = x - (column + right), y - (row + up)
        square = dx * dx + dy * dy
        if 0.0 < square < radius * radius:
            away = radius / np.sqrt(square)
            x, y = column + right + dx * away, row + up + dy * away
    if not pathable[cell_of(x), cell_of(y)]:
        x, y = min(max(x, column + 0.0), column + 1.0), min(max(y, row + 0.0), row + 1.0)
    return x, y
