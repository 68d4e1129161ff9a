"""Probe environments: one idea each, with an optimal team value that is known on paper.

A failing probe names the broken part of the trainer: value fitting, observations, bootstrapping, actions, memory,
masks. Two agents, two actions, VDN and the QMIX family all have to solve them. RESULTS are hand-worked in test_probes.
"""

import numpy as np
from gymnasium.spaces import Box, Discrete
from pettingzoo import ParallelEnv


class Probe(ParallelEnv):
    """Common parts: two agents, one observation number each, an episode of `limit` steps that ends truly."""

    metadata = {"name": "probe", "render_modes": []}  # noqa: RUF012
    limit = 1

    def __init__(self):
        self.possible_agents = ["agent_0", "agent_1"]
        self.agents = []
        self.render_mode = None
        self._box = Box(-1, 1, (1,), np.float32)
        self._actions = Discrete(2)

    def observation_space(self, agent):
        return self._box

    def action_space(self, agent):
        return self._actions

    def reset(self, seed=None, options=None):
        self.cue = 1.0 if np.random.default_rng(seed).random() < 0.5 else -1.0
        self.steps = 0
        self.agents = self.possible_agents[:]
        return self._observations(), {agent: self._info() for agent in self.agents}

    def step(self, actions):
        reward = self.reward([int(actions[agent]) for agent in self.possible_agents])
        self.steps += 1
        ended = self.steps >= self.limit
        result = (
            self._observations(),
            dict.fromkeys(self.agents, reward / 2),  # the team's reward is the sum
            dict.fromkeys(self.agents, ended),
            dict.fromkeys(self.agents, False),
            {agent: self._info() for agent in self.agents},
        )
        if ended:
            self.agents = []
        return result

    def _observations(self):
        return {agent: np.array([self.observe()], np.float32) for agent in self.possible_agents}

    def _info(self):
        return {"action_mask": np.ones(2, np.int8)}

    def observe(self):
        return 0.0

    def reward(self, actions):
        raise NotImplementedError


class Constant(Probe):
    """Reward 1, whatever happens: can a value be fitted at all?"""

    def reward(self, actions):
        return 1.0


class Cue(Probe):
    """Reward = the observed number, +1 or -1: do observations reach the value?"""

    def observe(self):
        return self.cue

    def reward(self, actions):
        return self.cue


class Delay(Probe):
    """Two steps, reward 0 then 1: is the value bootstrapped and discounted?"""

    limit = 2

    def observe(self):
        return float(self.steps)

    def reward(self, actions):
        return float(self.steps == 1)


class Choice(Probe):
    """Reward = a_0 - 2 a_1: does each agent learn its own best action?"""

    def reward(self, actions):
        return float(actions[0] - 2 * actions[1])


class Memory(Probe):
    """The cue is shown at step 0 only; at step 1 each agent earns 1 for action 1 if the cue was +1, else for 0."""

    limit = 2

    def observe(self):
        return self.cue if self.steps == 0 else 0.0

    def reward(self, actions):
        return float(sum(action == (self.cue > 0) for action in actions)) if self.steps == 1 else 0.0


class Masked(Probe):
    """Action 1 would earn 10 but is never available, action 0 earns 1: do unavailable actions stay out?"""

    limit = 2

    def observe(self):
        return float(self.steps)

    def reward(self, actions):
        assert actions == [0, 0]
        return 1.0

    def _info(self):
        return {"action_mask": np.array([1, 0], np.int8)}
