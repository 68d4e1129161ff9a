"""What a mixer is: the one question the learner asks, and the building block that the hypernetwork mixers share."""

from typing import ClassVar

import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn


class MixerConfig(BaseModel):
    """A mixer's own keys in an `algorithms` entry of params.yaml; a mixer without keys uses this one."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Mixer(nn.Module):
    """Mix the agents' chosen Q values into one team value.

    A subclass defines `Config` (its keys in params.yaml), `results_version` (raised whenever a change of code changes
    what it computes) and `forward`. Every step (b, t) is mixed on its own. A mixer with an analytic gradient also
    offers `credits(chosen_qs, state) -> [B,T,N]`; it is tested against automatic differentiation.
    """

    Config: ClassVar[type[MixerConfig]] = MixerConfig
    results_version: ClassVar[int] = 1

    def __init__(self, n_agents: int, state_dim: int, config: MixerConfig):
        super().__init__()
        self.n_agents = n_agents
        self.state_dim = state_dim
        self.config = config

    def forward(self, chosen_qs: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Return the team value and this mixer's weighted regulariser.

        Args:
            chosen_qs: Q of the actions taken [B,T,N].
            state: global state [B,T,S].

        Returns:
            q_tot [B,T] and penalty [B,T]; the penalty is zero for most mixers and moves mixer parameters only.
        """
        raise NotImplementedError


def hypernetwork(state_dim: int, out_dim: int, layers: int, hidden_dim: int = 0) -> nn.Sequential:
    """Return a network from the state to mixing weights: one linear layer, or two with a ReLU between."""
    if layers == 1:
        return nn.Sequential(nn.Linear(state_dim, out_dim))
    return nn.Sequential(nn.Linear(state_dim, hidden_dim), nn.ReLU(), nn.Linear(hidden_dim, out_dim))


def from_state(state: Tensor, *networks: nn.Sequential) -> list[Tensor]:
    """Return what networks make of the same state; their first layers are one product, so the state is read once."""
    firsts = [network[0] for network in networks]
    weight, bias = (torch.cat([getattr(first, name) for first in firsts]) for name in ("weight", "bias"))
    outputs = F.linear(state, weight, bias).split([first.out_features for first in firsts], dim=-1)
    return [_after_first(network, output) for network, output in zip(networks, outputs, strict=True)]


def _after_first(network: nn.Sequential, output: Tensor) -> Tensor:
    """Pass the first layer's output through the others."""
    for layer in list(network)[1:]:
        output = layer(output)
    return output
