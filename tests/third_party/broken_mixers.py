"""The weighted sum with one defect each; the class name says which. DEFECTS maps it to what the kit must say."""

import copy

import torch
from torch import nn

from sound_mixer import WeightedSum


class NotMonotonic(WeightedSum):
    credits = None

    def forward(self, chosen_qs, state):
        weights = self.weight(state)  # of any sign
        return (weights * chosen_qs).sum(-1), torch.square(weights).mean(-1)


class MixesBatchRows(WeightedSum):
    def forward(self, chosen_qs, state):
        q_tot, penalty = super().forward(chosen_qs, state)
        return q_tot - q_tot.detach().mean(), penalty


class MixesTime(WeightedSum):
    def forward(self, chosen_qs, state):
        q_tot, penalty = super().forward(chosen_qs, state)
        return q_tot, penalty.cumsum(1)


class PenaltyReachesAgents(WeightedSum):
    def forward(self, chosen_qs, state):
        q_tot, penalty = super().forward(chosen_qs, state)
        return q_tot, penalty + 1e-3 * chosen_qs.square().mean(-1)


class WrongCredits(WeightedSum):
    def credits(self, chosen_qs, state):
        return torch.sigmoid(self.weight(state))  # the derivative of the weights, not the weights

    def forward(self, chosen_qs, state):
        q_tot = (super().credits(chosen_qs, state) * chosen_qs).sum(-1)
        return q_tot, torch.zeros_like(q_tot)


class WrongCreditsShape(WeightedSum):
    def credits(self, chosen_qs, state):
        return super().credits(chosen_qs, state).sum(-1)

    def forward(self, chosen_qs, state):
        q_tot = (super().credits(chosen_qs, state) * chosen_qs).sum(-1)
        return q_tot, torch.zeros_like(q_tot)


class KeepsLastAxis(WeightedSum):
    def forward(self, chosen_qs, state):
        q_tot, penalty = super().forward(chosen_qs, state)
        return q_tot.unsqueeze(-1), penalty


class ScalarPenalty(WeightedSum):
    def forward(self, chosen_qs, state):
        q_tot, penalty = super().forward(chosen_qs, state)
        return q_tot, penalty.mean()


class OneOutput(WeightedSum):
    def forward(self, chosen_qs, state):
        return super().forward(chosen_qs, state)[0]


class Float32Only(WeightedSum):
    def forward(self, chosen_qs, state):
        q_tot, penalty = super().forward(chosen_qs, state)
        return q_tot.float(), penalty.float()


class NanAtLargeQ(WeightedSum):
    def forward(self, chosen_qs, state):
        q_tot, penalty = super().forward(chosen_qs, state)
        return q_tot + (chosen_qs.exp() / (1 + chosen_qs.exp())).sum(-1), penalty


class NanGradientAtLargeQ(WeightedSum):
    """The masked-out branch of a where still gets a gradient: 0 times infinity."""

    def forward(self, chosen_qs, state):
        q_tot, penalty = super().forward(chosen_qs, state)
        return q_tot + torch.where(chosen_qs < 0, chosen_qs.exp(), 1 + chosen_qs).sum(-1), penalty


class GlobalRandom(WeightedSum):
    def forward(self, chosen_qs, state):
        q_tot, penalty = super().forward(chosen_qs, state)
        return q_tot + 0.01 * torch.randn_like(q_tot), penalty


class Remembers(WeightedSum):
    calls = 0

    def forward(self, chosen_qs, state):
        self.calls += 1
        q_tot, penalty = super().forward(chosen_qs, state)
        return q_tot / self.calls, penalty


class ChangesItsInput(WeightedSum):
    def forward(self, chosen_qs, state):
        state.clamp_(-0.5, 0.5)
        return super().forward(chosen_qs, state)


class Detached(WeightedSum):
    def forward(self, chosen_qs, state):
        return super().forward(chosen_qs.detach(), state)


class IncompleteStateDict(WeightedSum):
    def __init__(self, n_agents, state_dim, config):
        super().__init__(n_agents, state_dim, config)
        self.shift = torch.randn(()).item()

    def forward(self, chosen_qs, state):
        q_tot, penalty = super().forward(chosen_qs, state)
        return q_tot + self.shift, penalty


class KeepsResults(WeightedSum):
    def forward(self, chosen_qs, state):
        self.last = super().forward(chosen_qs, state)
        return self.last


class SharesParametersWhenCopied(WeightedSum):
    def __deepcopy__(self, memo):
        return copy.copy(self)


class NeedsThreeAgents(WeightedSum):
    def __init__(self, n_agents, state_dim, config):
        super().__init__(n_agents, state_dim, config)
        self.triple = nn.Linear(3, n_agents - 3)


class NoVersion(WeightedSum):
    results_version = None


class PlainConfig(WeightedSum):
    Config = dict


DEFECTS = {
    "NotMonotonic": "not monotonic: a credit dq_tot/dq_i is -",
    "MixesBatchRows": "steps are not independent: q_tot .* the other steps of the batch changed",
    "MixesTime": "steps are not independent: penalty",
    "PenaltyReachesAgents": "the penalty reaches the agents' Q values",
    "WrongCredits": "the analytic credits differ from autograd's dq_tot/dq_i",
    "WrongCreditsShape": r"analytic credits have shape \[3, 4\]",
    "KeepsLastAxis": r"wrong shape: q_tot is \[1, 1, 1\]",
    "ScalarPenalty": r"wrong shape: penalty is \[\]",
    "OneOutput": r"forward returned Tensor; it must return \(q_tot, penalty\)",
    "Float32Only": "wrong dtype: q_tot is torch.float32 for torch.float64 inputs",
    "NanAtLargeQ": r"q_tot is not finite .* Q values of \+-1000 in float64",
    "NanGradientAtLargeQ": r"the gradient of chosen_qs is not finite .* \+-1000",
    "GlobalRandom": r"forward draws from the global random state \(torch\)",
    "Remembers": "forward is not repeatable",
    "ChangesItsInput": "forward changed its inputs in place",
    "Detached": "q_tot carries no gradient to chosen_qs",
    "IncompleteStateDict": "the state_dict is not complete",
    "KeepsResults": "deepcopy of the mixer after a forward raised",
    "SharesParametersWhenCopied": "a deepcopy shares parameters",
    "NeedsThreeAgents": "building the mixer with 1 agents raised",
    "NoVersion": "results_version is None",
    "PlainConfig": "Config is <class 'dict'>",
}
