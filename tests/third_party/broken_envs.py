"""The corridor with one defect each; the class name says which. DEFECTS maps it to what the kit must say."""

import random

import numpy as np
from gymnasium.spaces import Box, Discrete

import corridor

Corridor = corridor.parallel_env


class RandomFromStep2(Corridor):
    def observations(self):
        noise = 0.0 if self.steps < 2 else np.random.default_rng().random() / 100
        return {
            agent: (observation * (1 - noise)).astype(np.float32)
            for agent, observation in super().observations().items()
        }


class UnseededGenerator(Corridor):
    def reset(self, seed=None, options=None):
        return super().reset(np.random.default_rng().integers(2**31), options)


class IgnoredSeed(Corridor):
    def reset(self, seed=None, options=None):
        return super().reset(None if seed is None else 7, options)


class SameEpisodeAgain(Corridor):
    seed = 0

    def reset(self, seed=None, options=None):
        self.seed = self.seed if seed is None else seed
        return super().reset(self.seed, options)


class SharedBetweenInstances(Corridor):
    common = {}  # noqa: RUF012 (the defect)

    @property
    def cells(self):
        return self.common["cells"]

    @cells.setter
    def cells(self, value):
        self.common["cells"] = value


class LeaksIntoNextEpisode(Corridor):
    tired = 0

    def step(self, actions):
        self.tired += 1
        if self.tired > 40:
            self.cells[:] = 0
        return super().step(actions)

    def __init__(self):
        super().__init__(max_cycles=12)


class ReturnsViews(Corridor):
    def __init__(self):
        super().__init__()
        self.buffers = {agent: np.zeros(3, np.float32) for agent in self.possible_agents}

    def observations(self):
        for agent, observation in super().observations().items():
            self.buffers[agent][:] = observation
        return self.buffers


class TrustsReturnedArrays(Corridor):
    """Its state lives in the array that state() hands out."""

    def __init__(self):
        super().__init__()
        self.offset = np.zeros(1, np.float32)
        self.state_space = Box(-1, 1, (1,), np.float32)

    def state(self):
        return self.offset

    def observations(self):
        cells = np.append(self.cells / (self.length - 1), self.steps / self.max_cycles).astype(np.float32)
        return dict.fromkeys(self.possible_agents, cells - self.offset)


class MaskMissingAtReset(Corridor):
    def reset(self, seed=None, options=None):
        observations, infos = super().reset(seed, options)
        return observations, {agent: {} for agent in infos}


class BoolMask(Corridor):
    def mask(self, agent):
        return super().mask(agent).astype(bool)


class NothingLegal(Corridor):
    def mask(self, agent):
        return super().mask(agent) * np.int8(self.steps != 1)


class WrongDtype(Corridor):
    def observations(self):
        return {agent: observation.astype(np.float64) for agent, observation in super().observations().items()}


class WrongShape(Corridor):
    def observations(self):
        return {agent: observation[:-1] for agent, observation in super().observations().items()}


class OutsideItsSpace(Corridor):
    def observations(self):
        return {agent: 2 * observation for agent, observation in super().observations().items()}


class NanObservation(Corridor):
    def observations(self):
        observations = super().observations()
        if self.steps == 2:
            observations["agent_1"][0] = np.nan
        return observations


class InfiniteReward(Corridor):
    def rewards(self, agents, arrived):
        return {agent: float("inf") if arrived else -0.1 for agent in agents}


class WrapsAround(Corridor):
    def move(self, agent, action):
        illegal = not 0 <= action < 3
        super().move(agent, action % 3)
        return illegal


class SilentlyStays(Corridor):
    def move(self, agent, action):
        super().move(agent, action)
        return False


class MaskIsDecoration(Corridor):
    """Walks through the near wall to the far end, though it counts that."""

    def move(self, agent, action):
        i = self.possible_agents.index(agent)
        illegal = super().move(agent, action)
        if action == LEFT_WALL[0] and illegal:
            self.cells[i] = self.length - 1
        return illegal


LEFT_WALL = (corridor.LEFT,)


class RewardNotShared(Corridor):
    def rewards(self, agents, arrived):
        return {agent: float(i) for i, agent in enumerate(agents)}


class Endless(Corridor):
    def __init__(self):
        super().__init__(length=40, max_cycles=10**9)


class GoalOutOfReach(Corridor):
    def __init__(self):
        super().__init__(length=40)


class PythonRandom(Corridor):
    def reset(self, seed=None, options=None):
        random.seed(seed)
        return super().reset(seed, options)


class NumpyGlobalRandom(Corridor):
    def step(self, actions):
        self.cells = np.maximum(self.cells - (np.random.random() < 0.1), 0)  # noqa: NPY002 (the defect)
        return super().step(actions)


class StepsBeforeReset(Corridor):
    def __init__(self):
        super().__init__()
        self.reset()


class EndedButListed(Corridor):
    def step(self, actions):
        played = list(self.agents)
        outputs = super().step(actions)
        self.agents = played
        return outputs


class TerminatedAndTruncated(Corridor):
    def step(self, actions):
        observations, rewards, terminated, truncated, infos = super().step(actions)
        if any(terminated.values()):
            truncated = dict(terminated)
        return observations, rewards, terminated, truncated, infos


class NewSpaceEachTime(Corridor):
    def action_space(self, agent):
        return Discrete(3)


class ContinuousActions(Corridor):
    def action_space(self, agent):
        return self.state_space


class StateWithoutSpace(Corridor):
    def __init__(self):
        super().__init__()
        del self.state_space


class ClosesOnce(Corridor):
    closed = False

    def close(self):
        if self.closed:
            raise RuntimeError("already closed")
        self.closed = True


class ForgetsWhenPickled(Corridor):
    def __init__(self, max_cycles=12):
        super().__init__(max_cycles=max_cycles)

    def __reduce__(self):
        return type(self), (5,)


class RaisesInStep(Corridor):
    def step(self, actions):
        if self.steps == 3:
            raise KeyError("agent_9")
        return super().step(actions)


class StrictAboutMasksThatAllowNothing(NothingLegal):
    def step(self, actions):
        if any(not 0 <= action < 3 or not self.mask(agent)[action] for agent, action in actions.items()):
            raise ValueError("illegal action")
        return super().step(actions)


class StrictAboutMasksOfAnotherSize(Corridor):
    def mask(self, agent):
        return np.append(super().mask(agent), np.int8(1))

    def step(self, actions):
        if any(not 0 <= action < 3 for action in actions.values()):
            raise ValueError("illegal action")
        return super().step(actions)


class ResetWithoutOptions(Corridor):
    def reset(self, seed=None):
        return super().reset(seed)


class ObservesAStranger(Corridor):
    def observations(self):
        observations = super().observations()
        return observations | {"agent_7": observations["agent_0"]}

    def step(self, actions):
        observations, *others = super().step(actions)
        return observations | {"agent_7": observations["agent_0"]}, *others


class NeedsArguments(Corridor):
    def __init__(self, difficulty):
        super().__init__(length=difficulty)


class GymnasiumStyle(Corridor):
    def reset(self, seed=None, options=None):
        return super().reset(seed, options)[0]


DEFECTS = {
    "RandomFromStep2": r"not reproducible: two instances .* step 2: observation\['agent_0'\] differs",
    "UnseededGenerator": "not reproducible: two instances",
    "IgnoredSeed": "the seed is ignored",
    "SameEpisodeAgain": r"reset\(\) without a seed repeats",
    "SharedBetweenInstances": "instances share state",
    "LeaksIntoNextEpisode": "leaks from earlier episodes",
    "ReturnsViews": r"later steps overwrite .* observation\['agent_0'\]",
    "TrustsReturnedArrays": "writing into returned arrays",
    "MaskMissingAtReset": r"action_mask of agent_0 is missing \(seed 0, episode 0, at reset\)",
    "BoolMask": r"action_mask of agent_0 is bool \[3\]; it must be int8 \[3\]",
    "NothingLegal": "leaves no legal action .* step 1",
    "WrongDtype": "wrong dtype: observation of agent_0 is float64, its space says float32",
    "WrongShape": r"wrong shape: observation of agent_0 is \(2,\)",
    "OutsideItsSpace": "outside its space",
    "NanObservation": r"observation of agent_1 holds NaN or infinity \(seed 0, episode 0, step 2\)",
    "InfiniteReward": "the reward of agent_0 is inf",
    "WrapsAround": "wraps around: -1 and -2",
    "SilentlyStays": "silently accepted",
    "MaskIsDecoration": "not replaced by a legal one",
    "RewardNotShared": "reward is not shared",
    "Endless": "no end is reached",
    "GoalOutOfReach": "never reached: no agent was terminated",
    "PythonRandom": r"global random state \(random\)",
    "NumpyGlobalRandom": r"global random state \(numpy.random\)",
    "StepsBeforeReset": "step before the first reset",
    "EndedButListed": "ended but is still in agents",
    "TerminatedAndTruncated": "terminated and truncated at once",
    "NewSpaceEachTime": r"action_space\('agent_0'\) is a new object",
    "ContinuousActions": "plays envs with Discrete actions",
    "StateWithoutSpace": "no state_space",
    "ClosesOnce": r"close\(\) called twice raised RuntimeError: already closed",
    "ForgetsWhenPickled": "what is unpickled plays another episode",
    "RaisesInStep": "step raised KeyError: 'agent_9' on legal input",
    "StrictAboutMasksThatAllowNothing": r"agent_0 leaves no legal action \(step 1\); step raised ValueError",
    "StrictAboutMasksOfAnotherSize": r"action_mask of agent_0 is int8 \[4\]; it must be int8 \[3\]",
    "ResetWithoutOptions": "reset raised TypeError: .* unexpected keyword argument 'options'",
    "ObservesAStranger": "observation is given for 'agent_7' .* which is not in possible_agents",
    "NeedsArguments": "the factory, called without arguments, raised TypeError",
    "GymnasiumStyle": r"reset must return \(observations, infos\)",
}
