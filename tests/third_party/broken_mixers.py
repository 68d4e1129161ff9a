"""The weighted sum with one defect each; the class name says which. DEFECTS maps it to what the kit must say."""

import copy
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from marl_gre.mixers import MixerConfig
from sound_mixer import WeightedSum


class NotMonotonic(WeightedSum):
    def weights(self, state):
        return self.weight(state)  # of any sign


class MixesBatchRows(WeightedSum):
    def forward(self, values, state):
        q_tot = super().forward(values, state)
        return q_tot - q_tot.detach().mean()


class MixesTime(WeightedSum):
    def mix_and_regularise(self, values, state):
        q_tot, regulariser = super().mix_and_regularise(values, state)
        return q_tot, regulariser.cumsum(1)


class RegulariserReachesAgents(WeightedSum):
    def mix_and_regularise(self, values, state):
        q_tot, regulariser = super().mix_and_regularise(values, state)
        return q_tot, regulariser + 1e-3 * values.chosen.square().mean(-1)


class RegularisesAnother(WeightedSum):
    def mix_and_regularise(self, values, state):
        q_tot, regulariser = super().mix_and_regularise(values, state)
        return q_tot + 1e-3, regulariser


class WrongCredits(WeightedSum):
    def analytic_credits(self, values, state):
        return {"exact": torch.sigmoid(self.weight(state))}  # the derivative of the weights, not the weights


class WrongCreditsShape(WeightedSum):
    def analytic_credits(self, values, state):
        return {"even": self.weights(state).sum(-1)}


class WrongFunctionCredits(WeightedSum):
    def analytic_credits(self, values, state):
        return {"function": 2 * self.weights(state)}


class CreditsReachAgents(WeightedSum):
    def mix_with_credits(self, values, state, gradient="exact"):
        q_tot, regulariser = self.mix_and_regularise(values, state)
        return q_tot, regulariser, self.weights(state) + values.chosen - values.chosen.detach()


class OtherCreditsForTraining(WeightedSum):
    def mix_with_credits(self, values, state, gradient="exact"):
        return *self.mix_and_regularise(values, state), self.weights(state).square()


class KeepsLastAxis(WeightedSum):
    def forward(self, values, state):
        return super().forward(values, state).unsqueeze(-1)


class ScalarRegulariser(WeightedSum):
    def mix_and_regularise(self, values, state):
        q_tot, regulariser = super().mix_and_regularise(values, state)
        return q_tot, regulariser.mean()


class TwoOutputs(WeightedSum):
    def forward(self, values, state):
        return super().forward(values, state), 0

    def mix_and_regularise(self, values, state):
        return self(values, state)[0], torch.zeros_like(values.chosen[..., 0])


class Float32Only(WeightedSum):
    def forward(self, values, state):
        return super().forward(values, state).float()


class NanAtLargeQ(WeightedSum):
    def forward(self, values, state):
        qs = values.chosen
        return super().forward(values, state) + (qs.exp() / (1 + qs.exp())).sum(-1)


class NanGradientAtLargeQ(WeightedSum):
    """The masked-out branch of a where still gets a gradient: 0 times infinity."""

    def forward(self, values, state):
        qs = values.chosen
        return super().forward(values, state) + torch.where(qs < 0, qs.exp(), 1 + qs).sum(-1)


class GlobalRandom(WeightedSum):
    def forward(self, values, state):
        q_tot = super().forward(values, state)
        return q_tot + 0.01 * torch.randn_like(q_tot)


class Remembers(WeightedSum):
    calls = 0

    def forward(self, values, state):
        self.calls += 1
        return super().forward(values, state) / self.calls


class ChangesItsInput(WeightedSum):
    def forward(self, values, state):
        state.clamp_(-0.5, 0.5)
        return super().forward(values, state)


class ChangesItsValues(WeightedSum):
    def forward(self, values, state):
        values.greedy.clamp_(min=0)
        return super().forward(values, state)


class Detached(WeightedSum):
    def forward(self, values, state):
        return super().forward(values.map(torch.Tensor.detach), state)


class UnusedParameter(WeightedSum):
    def __init__(self, sizes, config):
        super().__init__(sizes, config)
        self.forgotten = nn.Linear(2, 2)


class IncompleteStateDict(WeightedSum):
    def __init__(self, sizes, config):
        super().__init__(sizes, config)
        self.shift = torch.randn(()).item()

    def forward(self, values, state):
        return super().forward(values, state) + self.shift


class LayersInADict(WeightedSum):
    """Not registered with the module, so neither trained nor copied nor saved."""

    def __init__(self, sizes, config):
        super().__init__(sizes, config)
        self.layers = {"more": nn.Linear(sizes.state_dim, 1, dtype=torch.float64)}

    def forward(self, values, state):
        return super().forward(values, state) + self.layers["more"](state.double()).squeeze(-1).to(state.dtype)


class KeepsResults(WeightedSum):
    def forward(self, values, state):
        self.last = super().forward(values, state)
        return self.last


class SharesParametersWhenCopied(WeightedSum):
    def __deepcopy__(self, memo):
        return copy.copy(self)


class NeedsThreeAgents(WeightedSum):
    def __init__(self, sizes, config):
        super().__init__(sizes, config)
        self.triple = nn.Linear(3, sizes.n_agents - 3)


class NotMonotonicOnceTrained(WeightedSum):
    """The weights begin at 1, but nothing keeps them above 0."""

    def __init__(self, sizes, config):
        super().__init__(sizes, config)
        self.factor = nn.Parameter(torch.ones(sizes.n_agents))

    def weights(self, state):
        return super().weights(state) * self.factor


class NotMonotonicAtLargeQ(WeightedSum):
    def forward(self, values, state):
        large = (values.chosen - 50).clamp(min=0)
        return super().forward(values, state) - (2 * self.weights(state).detach() * large).sum(-1)

    def analytic_credits(self, values, state):
        return {}


class LeavesOutTheLastAgent(WeightedSum):
    def weights(self, state):
        weights = super().weights(state)
        return torch.cat((weights[..., :-1], 0 * weights[..., -1:]), -1) if weights.shape[-1] > 1 else weights


class AlwaysZeroGradient(WeightedSum):
    def __init__(self, sizes, config):
        super().__init__(sizes, config)
        self.shift = nn.Parameter(torch.zeros(()))

    def forward(self, values, state):
        return super().forward(values, state) + 0 * self.shift


class ForgetsABiasInItsCredits(WeightedSum):
    def __init__(self, sizes, config):
        super().__init__(sizes, config)
        self.bias = nn.Parameter(torch.zeros(sizes.n_agents))

    def forward(self, values, state):
        return super().forward(values, state) + (self.bias.square() * values.chosen).sum(-1)


class MixesStepsThroughAClosedGate(WeightedSum):
    """What passes between steps is multiplied by a weight that begins at 0."""

    def __init__(self, sizes, config):
        super().__init__(sizes, config)
        self.gate = nn.Parameter(torch.zeros(()))

    def forward(self, values, state):
        q_tot = super().forward(values, state)
        return q_tot + self.gate * state.mean()


class KeepsItsFirstWeights(WeightedSum):
    first = None

    def weights(self, state):
        if self.first is None:
            self.first = self.weight.weight.detach().clone()
        return F.softplus(state @ self.first.to(state).T + self.weight(state) - self.weight(state).detach())


class CreditsAsATensor(WeightedSum):
    def analytic_credits(self, values, state):
        return self.weights(state)


class NoCredits(WeightedSum):
    def analytic_credits(self, values, state):
        return None


class CreditsRaise(WeightedSum):
    def analytic_credits(self, values, state):
        raise RuntimeError("not today")


class NoSuper(WeightedSum):
    def __init__(self, sizes, config):
        pass


class NoVersion(WeightedSum):
    results_version = None


class ConfigWithATuple(WeightedSum):
    """A record's JSON makes a list of it."""

    class Config(MixerConfig):
        layers: tuple[int, ...] = (32, 32)


class ConfigWithAPath(WeightedSum):
    class Config(MixerConfig):
        file: Path = Path("mixing.npz")


class ConfigWithAnothersKey(WeightedSum):
    class Config(MixerConfig):
        central: bool = True


class PlainConfig(WeightedSum):
    Config = dict


DEFECTS = {
    "NotMonotonic": "not monotonic: a credit dq_tot/dq_i is -",
    "MixesBatchRows": "steps are not independent: q_tot .* the other steps of the batch changed",
    "MixesTime": "steps are not independent: regulariser",
    "RegulariserReachesAgents": "the regulariser reaches the agents' Q values",
    "RegularisesAnother": "mix_and_regularise and forward give q_tot that differ",
    "WrongCredits": "the analytic credits 'exact' differ from autograd's dq_tot/dq_i",
    "WrongCreditsShape": r"analytic credits 'even' have shape \[3, 4\]",
    "WrongFunctionCredits": "the analytic credits 'function' differ from the slopes of q_tot",
    "CreditsReachAgents": "the credits 'exact' of mix_with_credits reach the agents' Q values",
    "OtherCreditsForTraining": "mix_with_credits gives other credits 'exact' than are measured",
    "KeepsLastAxis": r"wrong shape: q_tot is \[1, 1, 1\]",
    "ScalarRegulariser": r"wrong shape: regulariser is \[\]",
    "TwoOutputs": "wrong shape: q_tot of forward is tuple",
    "Float32Only": "wrong dtype: q_tot is torch.float32 for torch.float64 inputs",
    "NanAtLargeQ": r"q_tot is not finite .* Q values of \+-1000 in float64",
    "NanGradientAtLargeQ": r"the gradient of the chosen values is not finite .* \+-1000",
    "GlobalRandom": r"mixing draws from the global random state \(torch\)",
    "Remembers": "mixing is not repeatable",
    "ChangesItsInput": "mixing changed its inputs in place",
    "ChangesItsValues": "mixing changed its inputs in place",
    "Detached": "q_tot carries no gradient to values.chosen",
    "UnusedParameter": "no gradient reaches forgotten.weight, forgotten.bias",
    "IncompleteStateDict": "the state_dict is not complete",
    "LayersInADict": "the state_dict is not complete",
    "KeepsResults": "deepcopy of the mixer after a forward raised",
    "SharesParametersWhenCopied": "a deepcopy shares parameters",
    "NeedsThreeAgents": "building the mixer with 1 agents raised",
    "NotMonotonicOnceTrained": "not monotonic: a credit dq_tot/dq_i is -",
    "NotMonotonicAtLargeQ": r"not monotonic: a credit dq_tot/dq_i is -.* with 1 agent and Q values of about \+-30",
    "LeavesOutTheLastAgent": "no gradient to the values of agent 1 of 2, counted from 0, at any step",
    "AlwaysZeroGradient": "the gradient of shift is always 0 with 2 agents",
    "ForgetsABiasInItsCredits": "the analytic credits 'exact' differ from autograd's dq_tot/dq_i",
    "MixesStepsThroughAClosedGate": "steps are not independent: q_tot",
    "KeepsItsFirstWeights": "the state_dict is not complete",
    "CreditsAsATensor": "analytic_credits returned Tensor; it must be a dict of tensors",
    "NoCredits": "analytic_credits returned NoneType; it must be a dict of tensors",
    "CreditsRaise": "analytic_credits raised RuntimeError: not today",
    "NoSuper": "building the mixer with 1 agents raised AttributeError",
    "NoVersion": "results_version is None",
    "ConfigWithATuple": r"ConfigWithATuple.Config does not survive a run's record: layers: found \[32, 32\]",
    "ConfigWithAPath": r"does not survive a run's record: file: found PosixPath\('mixing.npz'\), a PosixPath",
    "ConfigWithAnothersKey": "Config has a field central, a key of every algorithm",
    "PlainConfig": "Config is <class 'dict'>",
}
