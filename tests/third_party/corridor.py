"""A small env written as a third party would: agents walk to the end of a corridor against the wind.

Random starts, gusts that push back, masks at the walls, a shared reward, a goal and a time limit. It knows nothing of
marl_gre; the conformance tests break it in one place at a time.
"""

import numpy as np
from gymnasium.spaces import Box, Discrete
from pettingzoo import ParallelEnv

STAY, LEFT, RIGHT = 0, 1, 2


class parallel_env(ParallelEnv):
    """Agents walk to the end of a corridor."""

    metadata = {"name": "corridor_v0", "render_modes": [], "is_parallelizable": True}  # noqa: RUF012

    def __init__(self, n_agents: int = 2, length: int = 3, max_cycles: int = 12):
        self.possible_agents = [f"agent_{i}" for i in range(n_agents)]
        self.agents = []
        self.length = length
        self.max_cycles = max_cycles
        self.render_mode = None
        self._rng = None
        self._action_spaces = {agent: Discrete(3) for agent in self.possible_agents}
        self._observation_spaces = {agent: Box(0, 1, (n_agents + 1,), np.float32) for agent in self.possible_agents}
        self.state_space = Box(0, 1, (n_agents + 1,), np.float32)

    def observation_space(self, agent):
        return self._observation_spaces[agent]

    def action_space(self, agent):
        return self._action_spaces[agent]

    def reset(self, seed=None, options=None):
        if seed is not None or self._rng is None:
            self._rng = np.random.default_rng(seed)
        self.agents = list(self.possible_agents)
        self.cells = self._rng.integers(self.length - 1, size=len(self.agents))
        self.steps = 0
        return self.observations(), {agent: {"action_mask": self.mask(agent)} for agent in self.agents}

    def step(self, actions):
        illegal = {agent: self.move(agent, action) for agent, action in actions.items()}
        self.steps += 1
        gusts = self._rng.random(len(self.cells)) < 0.2
        self.cells = np.maximum(self.cells - gusts, 0)
        arrived = bool((self.cells == self.length - 1).all())
        late = self.steps >= self.max_cycles and not arrived
        played = self.agents
        if arrived or late:
            self.agents = []
        infos = {agent: {"action_mask": self.mask(agent), "illegal_actions": int(illegal[agent])} for agent in played}
        return (
            {agent: observation for agent, observation in self.observations().items() if agent in played},
            self.rewards(played, arrived),
            dict.fromkeys(played, arrived),
            dict.fromkeys(played, late),
            infos,
        )

    def rewards(self, agents, arrived):
        return dict.fromkeys(agents, 1.0 if arrived else -0.1)

    def move(self, agent, action):
        """Move an agent; an illegal action means to stay. Return whether it was illegal."""
        i = self.possible_agents.index(agent)
        illegal = not 0 <= action < 3 or not self.mask(agent)[action]
        if not illegal:
            self.cells[i] += {STAY: 0, LEFT: -1, RIGHT: 1}[int(action)]
        return illegal

    def mask(self, agent):
        cell = self.cells[self.possible_agents.index(agent)]
        return np.array([1, cell > 0, cell < self.length - 1], np.int8)

    def state(self):
        return self.view()

    def view(self):
        cells = self.cells / (self.length - 1)
        return np.append(cells, self.steps / self.max_cycles).astype(np.float32)

    def observations(self):
        """Each agent sees its own cell first, then the others', then the time."""
        whole = self.view()
        own = {agent: i for i, agent in enumerate(self.possible_agents)}
        return {agent: np.append(np.roll(whole[:-1], -i), whole[-1]) for agent, i in own.items()}
