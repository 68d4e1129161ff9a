"""Sound variations of the corridor: the forms in which third-party envs come."""

import numpy as np
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary

import corridor

Corridor = corridor.parallel_env


class DictObservations(Corridor):
    """The mask is in the observation, nothing in info, no state()."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        del self.state_space
        self._observation_spaces = {
            agent: Dict({"observation": space, "action_mask": MultiBinary(3)})
            for agent, space in self._observation_spaces.items()
        }

    def reset(self, seed=None, options=None):
        observations, infos = super().reset(seed, options)
        return self.with_mask(observations, infos), {agent: {} for agent in infos}

    def step(self, actions):
        observations, rewards, terminated, truncated, infos = super().step(actions)
        return self.with_mask(observations, infos), rewards, terminated, truncated, {agent: {} for agent in infos}

    def with_mask(self, observations, infos):
        return {
            agent: {"observation": observation, "action_mask": infos[agent]["action_mask"]}
            for agent, observation in observations.items()
        }

    def state(self):
        raise NotImplementedError


class Pictures(Corridor):
    """Observations are pictures [2, 3] of bytes."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self._observation_spaces = {agent: Box(0, 255, (2, 3), np.uint8) for agent in self.possible_agents}

    def observations(self):
        picture = np.zeros((2, 3), np.uint8)
        picture[np.arange(len(self.cells)), self.cells] = 255
        return {agent: picture.copy() for agent in self.possible_agents}


class NoMasks(Corridor):
    """No masks and no limit known to its users; rewards are each agent's own; actions count from 1."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.limit = self.__dict__.pop("max_cycles")
        self._action_spaces = {agent: Discrete(3, start=1) for agent in self.possible_agents}

    def reset(self, seed=None, options=None):
        self.max_cycles = self.limit
        observations, infos = super().reset(seed, options)
        return observations, {agent: {} for agent in infos}

    def step(self, actions):
        outputs = super().step({agent: action - 1 for agent, action in actions.items()})
        return *outputs[:4], {agent: {} for agent in outputs[4]}

    def rewards(self, agents, arrived):
        return {agent: float(i + 1) for i, agent in enumerate(agents)}


class LeavesEarly(Corridor):
    """An agent is gone as soon as it has arrived; the others go on."""

    def reset(self, seed=None, options=None):
        self.gone = set()
        return super().reset(seed, options)

    def step(self, actions):
        played = list(self.agents)
        observations, _, _, _, infos = super().step(actions)
        self.gone |= {agent for i, agent in enumerate(self.possible_agents) if self.cells[i] == self.length - 1}
        late = self.steps >= self.max_cycles
        self.agents = [] if late else [agent for agent in played if agent not in self.gone]
        return (
            {agent: observations[agent] for agent in played},
            dict.fromkeys(played, -1.0),
            {agent: agent in self.gone for agent in played},
            {agent: late and agent not in self.gone for agent in played},
            infos,
        )


class DifferentSizes(LeavesEarly):
    """The last agent sees only itself and cannot go left."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        last = self.possible_agents[-1]
        self._observation_spaces[last] = Box(0, 1, (1,), np.float32)
        self._action_spaces[last] = Discrete(2)  # stay, right

    def step(self, actions):
        last = self.possible_agents[-1]
        moves = {agent: (corridor.STAY, corridor.RIGHT)[a] if agent == last else a for agent, a in actions.items()}
        outputs = super().step(moves)
        return *outputs[:4], self.own_masks(outputs[4])

    def reset(self, seed=None, options=None):
        observations, infos = super().reset(seed, options)
        return observations, self.own_masks(infos)

    def own_masks(self, infos):
        last = self.possible_agents[-1]
        if last in infos:
            infos[last]["action_mask"] = infos[last]["action_mask"][[corridor.STAY, corridor.RIGHT]]
        return infos

    def observations(self):
        observations = super().observations()
        last = self.possible_agents[-1]
        return observations | {last: observations[last][:1]}


class ManyActions(corridor.parallel_env):
    """One action more than an episode's file can tell apart."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self._action_spaces = {agent: Discrete(2**15 + 1) for agent in self.possible_agents}
