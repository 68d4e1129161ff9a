"""The LSTM agent with one defect each; the class name says which. DEFECTS maps it to what the kit must say."""

import copy

import numpy as np
import torch
from torch import nn

from lstm_agent import LSTMAgent
from marl_gre.agents.base import TorchActor


class ForgetsPreviousActions(LSTMAgent):
    def forward(self, obs, actions, episodes):
        return super().forward(obs, torch.zeros_like(actions), episodes)


class MixesEpisodes(LSTMAgent):
    def step(self, obs, previous, memory):
        values, memory = super().step(obs, previous, memory)
        return values - values.mean(0), memory


class LooksAhead(LSTMAgent):
    def forward(self, obs, actions, episodes):
        return super().forward(obs - obs.mean(0), actions, episodes)


class MissingAgentAxis(LSTMAgent):
    def forward(self, obs, actions, episodes):
        return super().forward(obs, actions, episodes).flatten(0, 1)


class OneActionTooMany(LSTMAgent):
    def __init__(self, sizes, hidden_dim):
        super().__init__(sizes, hidden_dim)
        self.values = nn.Linear(hidden_dim, sizes.n_actions + 1)


class GlobalRandom(LSTMAgent):
    def forward(self, obs, actions, episodes):
        return nn.functional.dropout(super().forward(obs, actions, episodes))


class Remembers(LSTMAgent):
    last = None

    def initial_memory(self, num_envs):
        fresh = super().initial_memory(num_envs)
        return fresh if self.last is None else tuple(part + self.last for part in fresh)

    def step(self, obs, previous, memory):
        values, memory = super().step(obs, previous, memory)
        self.last = float(values.detach().mean())
        return values, memory


class Blind(LSTMAgent):
    def step(self, obs, previous, memory):
        return super().step(torch.zeros_like(obs), previous, memory)


class Detached(LSTMAgent):
    def forward(self, obs, actions, episodes):
        return super().forward(obs, actions, episodes).detach()


class UnusedParameter(LSTMAgent):
    def __init__(self, sizes, hidden_dim):
        super().__init__(sizes, hidden_dim)
        self.forgotten = nn.Linear(2, 2)


class IncompleteStateDict(LSTMAgent):
    def __init__(self, sizes, hidden_dim):
        super().__init__(sizes, hidden_dim, scale=torch.rand(()).item())


class SharesParametersWhenCopied(LSTMAgent):
    def __deepcopy__(self, memo):
        return copy.copy(self)


class IgnoresTheMask(LSTMAgent):
    def actor(self, num_envs):
        actor = TorchActor(self, num_envs)

        class Anything:
            def act(self, obs, action_mask, *others):
                return actor.act(obs, np.ones_like(action_mask), *others)

        return Anything()


class ActsWithOtherValues(LSTMAgent):
    def actor(self, num_envs):
        actor = TorchActor(self, num_envs)

        class Negated:
            def act(self, obs, *others):
                return actor.act(-obs, *others)

        return Negated()


class ActsByTheNumberOfEnvironments(LSTMAgent):
    def actor(self, num_envs):
        actor = TorchActor(self, num_envs)

        class Scaled:
            def act(self, obs, *others):
                return actor.act(obs * num_envs, *others)

        return Scaled()


class UnrollsWithItsFirstWeights(LSTMAgent):
    first = None

    def step(self, obs, previous, memory):
        if self.first is None:
            self.first = self.values.weight.detach().clone()
        values, memory = super().step(obs, previous, memory)
        return values + memory[0] @ (self.first.to(obs) - self.values.weight.detach()).T, memory


class ActsWithItsFirstWeights(LSTMAgent):
    def actor(self, num_envs):
        if "first" not in vars(self):
            vars(self)["first"] = copy.deepcopy(self)
        return TorchActor(self.first, num_envs)


class NeverExploits(LSTMAgent):
    """Takes the absence of noise for noise of 0."""

    def actor(self, num_envs):
        actor = TorchActor(self, num_envs)

        class Explores:
            def act(self, obs, action_mask, epsilon, noise, playing=None):
                noise = np.zeros((2, *obs.shape[:2])) if noise is None else noise
                return actor.act(obs, action_mask, epsilon, noise, playing)

        return Explores()


class StopsWithTheFirstEnd(LSTMAgent):
    def actor(self, num_envs):
        actor = TorchActor(self, num_envs)

        class Stops:
            def act(self, obs, action_mask, epsilon, noise, playing=None):
                if playing is not None and not playing.all():
                    return action_mask.argmax(-1)
                return actor.act(obs, action_mask, epsilon, noise, playing)

        return Stops()


class ActsInFloats(LSTMAgent):
    def actor(self, num_envs):
        actor = TorchActor(self, num_envs)

        class Floats:
            def act(self, *inputs):
                return actor.act(*inputs).astype(np.float32)

        return Floats()


class SeesEpisodesThroughAClosedGate(LSTMAgent):
    """What passes between episodes is multiplied by a weight that begins at 0."""

    def __init__(self, sizes, hidden_dim):
        super().__init__(sizes, hidden_dim)
        self.gate = nn.Parameter(torch.zeros(()))

    def forward(self, obs, actions, episodes):
        agent_qs = super().forward(obs, actions, episodes)
        return agent_qs + self.gate * agent_qs.mean()


class AlwaysZeroGradient(LSTMAgent):
    def __init__(self, sizes, hidden_dim):
        super().__init__(sizes, hidden_dim)
        self.shift = nn.Parameter(torch.zeros(()))

    def step(self, obs, previous, memory):
        values, memory = super().step(obs, previous, memory)
        return values + 0 * self.shift, memory


class NoVersion(LSTMAgent):
    results_version = None


class NeedsAnOption(LSTMAgent):
    def __init__(self, sizes, hidden_dim, layers):
        super().__init__(sizes, hidden_dim)


DEFECTS = {
    "ForgetsPreviousActions": "the unroll is not what stepping gives: .* differ at step 1",
    "MixesEpisodes": "the unroll is not what stepping gives",
    "LooksAhead": "the unroll is not what stepping gives",
    "MissingAgentAxis": r"forward returned torch.float64 \[45, 5\]; it must be torch.float64 \[15, 3, 5\]",
    "OneActionTooMany": r"forward returned torch.float64 \[15, 3, 6\]",
    "GlobalRandom": r"forward draws from the global random state \(torch\)",
    "Remembers": "forward is not repeatable",
    "Blind": "the values do not depend on the observations",
    "Detached": "the values carry no gradient",
    "UnusedParameter": "no gradient reaches forgotten.weight, forgotten.bias",
    "IncompleteStateDict": "the state_dict is not complete",
    "SharesParametersWhenCopied": "a deepcopy shares parameters",
    "IgnoresTheMask": "chose an action that is not available",
    "ActsWithOtherValues": "greedy acting does not choose the action that step values highest",
    "ActsByTheNumberOfEnvironments": "environments are not independent: acting",
    "UnrollsWithItsFirstWeights": "the state_dict is not complete",
    "ActsWithItsFirstWeights": "does not choose the action that step values highest after the weights have changed",
    "NeverExploits": "acting without noise is not greedy",
    "StopsWithTheFirstEnd": r"chose other actions once some environments had ended \(`playing`\)",
    "ActsInFloats": r"act returned float32 \[5, 3\]; it must return integers \[5, 3\]",
    "SeesEpisodesThroughAClosedGate": "the unroll is not what stepping gives",
    "AlwaysZeroGradient": "the gradient of shift is always 0",
    "NoVersion": "results_version is None",
    "NeedsAnOption": "building the agent raised TypeError",
}
