"""Lumberjacks: agents walk on a grid and fell trees; a tree of strength k takes k agents in its cell.

The rules are ma-gym's (https://github.com/koulanurag/ma-gym, 0.0.14), reimplemented for many environments at once.
`lumberjacks_v0` keeps its border defect, `lumberjacks_v1` does not.
"""

from typing import Any

import numpy as np

from marl_gre_envs import randomness
from marl_gre_envs.checks import choice, flag, number, pair, whole
from marl_gre_envs.compiling import kernel
from marl_gre_envs.core import MAX_STEPS, RUNNING, TERMINATED, TRUNCATED, Field
from marl_gre_envs.gridworld import GridWorld
from marl_gre_envs.vector import World

PLACE, STRENGTH = 0, 1  # purposes of random draws
LARGEST = 127  # positions, trees and numbers of agents are int8


class Lumberjacks(GridWorld):
    """E parallel Lumberjacks environments.

    In each step every agent receives step_cost, plus tree_cutdown_reward for each tree that falls. The episode
    terminates when no tree is left and is truncated after max_steps. Trees have strengths 1..n_agents; no agent starts
    on a tree; agents are numbered in row-major order of their start cells.

    An agent observes [its index / n_agents, row / (rows - 1), column / (columns - 1), step / max_steps], then for each
    cell of its view in row-major order [agents there / n_agents, strength there / n_agents], 0 outside the grid.

    World: agent_pos [E,N,2] (row, column), trees [E,H,W] (strength, 0 = none). Both can be given to reset().
    """

    action_names = ["noop", "down", "left", "up", "right"]  # noqa: RUF012  (part of the VectorEnv contract)
    noops = (0,)
    observed = ("agent_pos", "trees", "step")
    given = ("agent_pos", "trees")
    step_counters = ("trees_felled",)

    def __init__(
        self,
        num_envs: int = 1,
        *,
        autoreset: bool = True,
        grid_shape: tuple[int, int] = (5, 5),
        n_agents: int = 2,
        n_trees: int = 12,
        agent_view: tuple[int, int] = (1, 1),
        full_observable: bool = False,
        step_cost: float = -1,
        tree_cutdown_reward: float = 10,
        max_steps: int = 100,
        border: str = "open",
        team_reward: str = "sum",
        strict: bool = False,
    ):
        """Make the environments; call reset() next.

        Args:
            num_envs: number of parallel environments.
            autoreset: whether an environment restarts by itself when its episode ends.
            grid_shape: rows and columns, 1 to 127 each.
            n_agents: number of agents, 1 to 127; agents and trees must fit into different cells.
            n_trees: number of trees, 0 or more.
            agent_view: how many cells an agent sees up and down, and left and right.
            full_observable: whether every agent receives the observations of all agents, side by side.
            step_cost: reward of every agent in every step; negative for a cost.
            tree_cutdown_reward: reward of every agent for every tree that falls.
            max_steps: time limit in steps, 1 to 32767.
            border: "open" or "clipped"; with "clipped" every action, the no-op included, ends in a position clipped to
                rows 0..H-1-view_rows and columns 0..W-1-view_columns, so the last ones cannot be entered (ma-gym clips
                padded coordinates with the unpadded size).
            team_reward: "sum" or "mean" of the agents' rewards.
            strict: whether an illegal action raises instead of being replaced by the no-op.

        Raises:
            ValueError: a value is not allowed.
        """
        self.grid_shape = rows, columns = pair("grid_shape", grid_shape, 1, (LARGEST, LARGEST))
        self.n_agents = whole("n_agents", n_agents, 1, min(LARGEST, rows * columns))
        self.n_trees = whole("n_trees", n_trees, 0, rows * columns - self.n_agents)
        self.border = choice("border", border, ("open", "clipped"))
        # A view as large as the grid would clip every cell away.
        most = (rows - 1, columns - 1) if self.border == "clipped" else (rows, columns)
        self.agent_view = pair("agent_view", agent_view, 0, most)
        self.step_cost = number("step_cost", step_cost)
        self.tree_cutdown_reward = number("tree_cutdown_reward", tree_cutdown_reward)
        max_steps = whole("max_steps", max_steps, 1, MAX_STEPS)
        clipped = self.agent_view if self.border == "clipped" else (0, 0)
        self.last_row, self.last_column = rows - 1 - clipped[0], columns - 1 - clipped[1]

        self.n_actions = len(self.action_names)
        self.agents = [f"agent_{i}" for i in range(self.n_agents)]
        view_cells = (2 * self.agent_view[0] + 1) * (2 * self.agent_view[1] + 1)
        self._set_dims(4 + 2 * view_cells, flag("full_observable", full_observable))
        fields = {
            "agent_pos": Field((self.n_agents, 2), np.int8, 0, (rows - 1, columns - 1)),
            "trees": Field((rows, columns), np.int8, 0, self.n_agents),
        }
        super().__init__(num_envs, autoreset, fields, max_steps, team_reward, strict)

    def render(self, index: int = 0) -> np.ndarray:
        """Return a picture of environment `index`, [height, width, 3] uint8."""
        from marl_gre_envs.rendering import draw_lumberjacks

        return draw_lumberjacks(self, whole("index", index, 0, self.num_envs - 1))

    def _start(self, which: np.ndarray) -> None:
        w = self.world
        _start(which, w["seed"], w["episode"], self.n_trees, w["agent_pos"], w["trees"])

    def _start_from(self, start: World) -> None:
        for name in self.given:
            self.world[name][:] = start[name]

    def _advance(self, running: np.ndarray, actions: np.ndarray) -> None:
        w = self.world
        _advance(
            running,
            actions,
            (self.last_row, self.last_column),
            (self.step_cost, self.tree_cutdown_reward),
            self.episode_limit,
            w["agent_pos"],
            w["trees"],
            w["step"],
            w["ended"],
            self.agent_reward,
            self.info["trees_felled"],
        )

    def _look(self, world: dict[str, Any], which: np.ndarray, out: np.ndarray) -> None:
        _look(which, world["agent_pos"], world["trees"], world["step"], self.episode_limit, self.agent_view, out)


@kernel
def _start(which, seed, episode, n_trees, agent_pos, trees):
    """Place agents and trees in different cells, uniformly; agents in row-major order."""
    num_envs, n_agents, _ = agent_pos.shape
    _, rows, columns = trees.shape
    cells = np.empty(rows * columns, np.int64)
    for e in range(num_envs):
        if not which[e]:
            continue
        key = randomness.episode_key(seed[e], episode[e])
        for c in range(cells.size):
            cells[c] = c
        randomness.shuffle(cells, n_agents + n_trees, key, 0, PLACE)
        cells[:n_agents].sort()
        for i in range(n_agents):
            agent_pos[e, i, 0] = cells[i] // columns
            agent_pos[e, i, 1] = cells[i] % columns
        trees[e] = 0
        for t in range(n_trees):
            cell = cells[n_agents + t]
            trees[e, cell // columns, cell % columns] = 1 + randomness.below(n_agents, key, 0, STRENGTH, t)


@kernel
def _advance(running, actions, last, rewards, max_steps, agent_pos, trees, step, ended, agent_reward, felled):
    """Move the agents, let trees fall, pay rewards, end episodes."""
    num_envs, n_agents, _ = agent_pos.shape
    _, rows, columns = trees.shape
    step_cost, tree_reward = rewards
    for e in range(num_envs):
        if not running[e]:
            continue
        step[e] += 1
        pos = agent_pos[e]
        for i in range(n_agents):
            action = actions[e, i]
            pos[i, 0] = min(max(pos[i, 0] + (action == 1) - (action == 3), 0), last[0])
            pos[i, 1] = min(max(pos[i, 1] + (action == 4) - (action == 2), 0), last[1])

        fallen = 0
        for i in range(n_agents):
            row, column = pos[i, 0], pos[i, 1]
            strength = trees[e, row, column]
            if strength == 0:
                continue
            present = 0
            for j in range(n_agents):
                present += pos[j, 0] == row and pos[j, 1] == column
            if present >= strength:
                trees[e, row, column] = 0
                fallen += 1
        felled[e] = fallen
        for i in range(n_agents):
            agent_reward[e, i] = step_cost + fallen * tree_reward

        standing = False
        for row in range(rows):
            for column in range(columns):
                if trees[e, row, column] > 0:
                    standing = True
                    break
            if standing:
                break
        if not standing:
            ended[e] = TERMINATED
        elif step[e] >= max_steps:
            ended[e] = TRUNCATED
        else:
            ended[e] = RUNNING


@kernel
def _look(which, agent_pos, trees, step, max_steps, view, out):
    """Write the agents' own observations side by side: out [M, N * own_dim and more]."""
    size, n_agents, _ = agent_pos.shape
    _, rows, columns = trees.shape
    height, width = 2 * view[0] + 1, 2 * view[1] + 1
    own_dim = 4 + 2 * height * width
    row_scale, column_scale = max(rows - 1, 1), max(columns - 1, 1)  # a single row has coordinate 0
    for m in range(size):
        if not which[m]:
            continue
        pos = agent_pos[m]
        for i in range(n_agents):
            own = out[m, i * own_dim : (i + 1) * own_dim]
            own[0] = i / n_agents
            own[1] = pos[i, 0] / row_scale
            own[2] = pos[i, 1] / column_scale
            own[3] = step[m] / max_steps
            top, left = pos[i, 0] - view[0], pos[i, 1] - view[1]
            at = 4
            for row in range(top, top + height):
                for column in range(left, left + width):
                    own[at] = 0.0
                    inside = 0 <= row < rows and 0 <= column < columns
                    own[at + 1] = trees[m, row, column] / n_agents if inside else 0.0
                    at += 2
            for j in range(n_agents):
                row, column = pos[j, 0] - top, pos[j, 1] - left
                if 0 <= row < height and 0 <= column < width:
                    own[4 + 2 * (row * width + column)] += 1.0
            for at in range(4, own_dim, 2):
                own[at] /= n_agents
