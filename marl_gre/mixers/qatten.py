"""Qatten: q_tot = sum_h w_h(s) sum_i a_ih(s) q_i + c(s), with attention a_h over the agents.

https://arxiv.org/abs/2002.03939. Head h has a query z_h(s) and keys k_h(u_i) of the agents' own features u_i, and a_ih
= softmax_i(z_h . k_h(u_i) / sqrt(32)). Constants and layers are those of the published code; docs/algorithms/qatten.md
lists the differences between its versions.
"""

import math
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from marl_gre.data import EnvSizes
from marl_gre.mixers.base import AgentValues, Mixer, MixerConfig, from_state, hypernetwork
from marl_gre.section import MAX_PARTS, MAX_WIDTH


class QattenConfig(MixerConfig):
    """Keys of Qatten in params.yaml; the defaults are the published code's."""

    heads: int = Field(4, ge=1, le=MAX_PARTS, description="attention heads H")
    query_hidden_dim: int = Field(64, ge=1, le=MAX_WIDTH, description="hidden width of the queries' networks")
    attention_dim: int = Field(32, ge=1, le=MAX_WIDTH, description="width D of queries and keys")
    head_hidden_dim: int = Field(
        64, ge=1, le=MAX_WIDTH, description="hidden width of the network of the heads' weights"
    )
    constant_hidden_dim: int = Field(32, ge=1, le=MAX_WIDTH, description="hidden width of the network of c")
    unit_dim: int | None = Field(
        None,
        ge=1,
        description="number of features of each agent; the state begins with them, agent by agent. null: the whole "
        "state in equal parts, without the remainder",
    )
    attention: Literal["trained", "frozen"] = Field(
        "trained",
        description="`frozen` leaves queries and keys as initialised, as in the first public code",
    )
    head_weights: Literal["state", "none"] = Field("state", description="`none` sums the heads without weights")


class Qatten(Mixer):
    """A weighted sum of the agents' values whose weights are attention over the agents; linear in the values."""

    Config = QattenConfig
    config: QattenConfig

    def __init__(self, sizes: EnvSizes, config: QattenConfig):
        super().__init__(sizes, config)
        state_dim, heads, width = sizes.state_dim, config.heads, config.attention_dim
        if state_dim < sizes.n_agents:
            raise ValueError(
                f"qatten: found a state of {state_dim} numbers for {sizes.n_agents} agents; each agent needs one or "
                "more: use another mixer."
            )
        self.unit_dim = config.unit_dim or state_dim // sizes.n_agents
        if not 1 <= self.unit_dim * sizes.n_agents <= state_dim:
            raise ValueError(
                f"qatten: found unit_dim {self.unit_dim} for {sizes.n_agents} agents and a state of {state_dim} "
                f"numbers; 1 to {state_dim // sizes.n_agents} is allowed."
            )
        queries = (hypernetwork(state_dim, width, 2, config.query_hidden_dim) for _ in range(heads))
        self.queries = nn.ModuleList(queries)
        self.keys = nn.Linear(self.unit_dim, heads * width)  # of all heads
        if config.head_weights == "state":
            self.head_weights = hypernetwork(state_dim, heads, 2, config.head_hidden_dim)
        self.constant = hypernetwork(state_dim, 1, 2, config.constant_hidden_dim)
        if config.attention == "frozen":
            self.queries.requires_grad_(False)
            self.keys.requires_grad_(False)

    def weights(self, state: Tensor) -> tuple[Tensor, Tensor]:
        """Return each agent's weight [B,T,N], 0 or more, and c [B,T] for state [B,T,S]."""
        n_agents, heads, width = self.sizes.n_agents, self.config.heads, self.config.attention_dim
        weighted = [self.head_weights] if self.config.head_weights == "state" else []
        constant, *others = from_state(state, self.constant, *weighted, *self.queries)
        queries = torch.stack(others[len(weighted) :], -2)  # [B, T, H, D]
        units = state[..., : n_agents * self.unit_dim].unflatten(-1, (n_agents, self.unit_dim))
        keys = self.keys(units).unflatten(-1, (heads, width))  # [B, T, N, H, D]
        logits = (keys * queries.unsqueeze(-3)).sum(-1) / math.sqrt(width)  # [B, T, N, H]
        attention = logits.softmax(-2)
        if weighted:
            attention = attention * others[0].abs().unsqueeze(-2)
        return attention.sum(-1), constant.squeeze(-1)

    def forward(self, values: AgentValues, state: Tensor) -> Tensor:
        """See `Mixer.forward`."""
        return self.mix_with_credits(values, state)[0]

    def analytic_credits(self, values: AgentValues, state: Tensor) -> dict[str, Tensor]:
        """See `Mixer.analytic_credits`: the weights, which do not depend on the values."""
        return {"exact": self.weights(state)[0]}

    def mix_with_credits(
        self, values: AgentValues, state: Tensor, gradient: str = "exact"
    ) -> tuple[Tensor, Tensor, Tensor]:
        """See `Mixer.mix_with_credits`; q_tot and credits share the weights."""
        if gradient != "exact":
            return super().mix_with_credits(values, state, gradient)
        weights, constant = self.weights(state)
        q_tot = (weights * values.chosen).sum(-1) + constant
        return q_tot, q_tot.new_zeros(q_tot.shape), weights
