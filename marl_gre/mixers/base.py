"""The interface of a mixer, and the building block of hypernetwork mixers."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from marl_gre.credit import differentiate
from marl_gre.data import EnvSizes
from marl_gre.errors import BadInput
from marl_gre.section import Section
from marl_gre_envs.checks import one_of


class MixerConfig(Section):
    """A mixer's own keys in an `algorithms` entry of params.yaml; a mixer without keys uses this one."""


@dataclass(frozen=True)
class AgentValues:
    """The agents' values at every step, computed by one network.

    For the online network, `chosen` are the values of the actions taken. For a target network they are the values of
    the online network's best actions (double Q-learning), so `chosen` may be below `greedy` there too.
    """

    chosen: Tensor  # Q of `actions` [B, T, N]
    greedy: Tensor  # max of Q over the available actions [B, T, N]; carries no gradient
    actions: Tensor  # int64 [B, T, N]

    def map(self, function: Callable[[Tensor], Tensor]) -> "AgentValues":
        """Return AgentValues with a function applied to each tensor."""
        return AgentValues(function(self.chosen), function(self.greedy), function(self.actions))


class Mixer(nn.Module):
    """Mixes the agents' values into one team value.

    A subclass defines `Config` (its keys in params.yaml), `results_version` (raised whenever a code change alters its
    numbers) and `forward`. Every step (b, t) is mixed by itself.

    Args:
        sizes: the environment's sizes.
        config: an instance of the class's `Config`.
    """

    Config: ClassVar[type[MixerConfig]] = MixerConfig
    results_version: ClassVar[int] = 1

    def __init__(self, sizes: EnvSizes, config: MixerConfig):
        super().__init__()
        self.sizes = sizes
        self.config = config

    def forward(self, values: AgentValues, state: Tensor) -> Tensor:
        """Return the team value; the online and the target network both use this method.

        Args:
            values: the agents' values, each [B,T,N].
            state: global state [B,T,S].

        Returns:
            q_tot [B,T].
        """
        raise NotImplementedError("a mixer defines forward(values, state)")

    def mix_and_regularise(self, values: AgentValues, state: Tensor) -> tuple[Tensor, Tensor]:
        """Return q_tot [B,T] and the weighted regulariser [B,T], zero for most mixers.

        The learner adds the regulariser's mean to the loss. A mixer with a regulariser overrides this method, so that
        both results share the mixing weights.
        """
        q_tot = self(values, state)
        return q_tot, q_tot.new_zeros(q_tot.shape)

    def analytic_credits(self, values: AgentValues, state: Tensor) -> dict[str, Tensor]:
        """Return closed forms of the credits [B,T,N] by name; empty for a mixer without any.

        "exact" must equal automatic differentiation of q_tot, which the conformance kit checks. Any other name is a
        further quantity whose entropy is measured too: a variant of the gradient, or the credits of the function where
        q_tot detaches a part of it.
        """
        return {}

    def mix_with_credits(
        self, values: AgentValues, state: Tensor, gradient: str = "exact"
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the results of `mix_and_regularise`, and the credits, attached to the mixer's parameters only.

        A mixer may override it so that both share the mixing weights.

        Args:
            values: the agents' values, each [B,T,N].
            state: global state [B,T,S].
            gradient: a name of `analytic_credits`, or "exact", which takes double differentiation where there is no
                closed form.

        Returns:
            q_tot [B,T], regulariser [B,T], credits [B,T,N].

        Raises:
            BadInput: the mixer has no gradient of that name.
        """
        q_tot, regulariser = self.mix_and_regularise(values, state)
        detached = values.map(Tensor.detach)
        analytic = self.analytic_credits(detached, state)
        if gradient in analytic:
            return q_tot, regulariser, analytic[gradient]
        if gradient == "exact":
            return q_tot, regulariser, differentiate(self, detached, state, create_graph=True)
        raise BadInput(f"gre_gradient: {one_of('gradient', gradient, dict.fromkeys(('exact', *analytic)))}")


def hypernetwork(state_dim: int, out_dim: int, layers: int, hidden_dim: int = 0) -> nn.Sequential:
    """Return a network from the state to mixing weights: one linear layer, or two with a ReLU between."""
    if layers == 1:
        return nn.Sequential(nn.Linear(state_dim, out_dim))
    return nn.Sequential(nn.Linear(state_dim, hidden_dim), nn.ReLU(), nn.Linear(hidden_dim, out_dim))


def from_state(state: Tensor, *networks: nn.Sequential) -> list[Tensor]:
    """Return the outputs of networks for the same state; one product computes all their first layers."""
    firsts = [network[0] for network in networks]
    weight, bias = (torch.cat([getattr(first, name) for first in firsts]) for name in ("weight", "bias"))
    outputs = F.linear(state, weight, bias).split([first.out_features for first in firsts], dim=-1)
    return [_after_first(network, output) for network, output in zip(networks, outputs, strict=True)]


def _after_first(network: nn.Sequential, output: Tensor) -> Tensor:
    """Pass the first layer's output through the others."""
    for layer in list(network)[1:]:
        output = layer(output)
    return output
