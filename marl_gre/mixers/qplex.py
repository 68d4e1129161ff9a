"""QPLEX: q_tot = sum_i (w_i q_i + b_i) + sum_i (lambda_i - 1) stop(w_i (q_i - max_a q_i)), a duplex dueling mixer.

https://arxiv.org/abs/2008.01062. w_i and b_i come from the state, lambda_i > 0 from state and joint action. As a
function, q_tot is sum_i (w_i m_i + b_i) + sum_i lambda_i w_i (q_i - m_i) with m_i = max_a q_i, so the agents' own best
actions form the best joint action, and agent i's credit is w_i lambda_i. The published code stops the gradient in the
second sum, so w_i trains the agents and the advantages alone train lambda_i. Both credits are measured.
"""

import itertools
import math

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from marl_gre.data import EnvSizes
from marl_gre.mixers.base import AgentValues, Mixer, MixerConfig, from_state, hypernetwork
from marl_gre.section import MAX_PARTS, MAX_WIDTH

FLOOR = 1e-10
"""Added to w_i and to the kernels' keys, as in the published code."""


class QPLEXConfig(MixerConfig):
    """Keys of QPLEX in params.yaml; the defaults are the published ones for StarCraft."""

    kernels: int = Field(
        4, ge=1, le=MAX_PARTS, description="terms K of lambda; 10 with 3 layers is the other published setting"
    )
    kernel_layers: int = Field(1, ge=1, le=3, description="layers of the networks that make the kernels")
    kernel_hidden_dim: int = Field(
        64, ge=1, le=MAX_WIDTH, description="hidden width of kernel networks of more than one layer"
    )
    hypernet_dim: int = Field(64, ge=1, le=MAX_WIDTH, description="hidden width of the networks that make w and b")


class ParallelNetworks(nn.Module):
    """K networks of the same input, evaluated as one: linear layers with ReLU between, initialised like `nn.Linear`.

    Args:
        networks: number K of networks.
        in_dim, hidden_dim, out_dim: widths of each network.
        layers: number of linear layers, 1 or more.
    """

    def __init__(self, networks: int, in_dim: int, hidden_dim: int, out_dim: int, layers: int):
        super().__init__()
        self.networks = networks
        widths = [*[hidden_dim] * (layers - 1), out_dim]
        self.first = nn.Linear(in_dim, networks * widths[0])
        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()
        for before, after in itertools.pairwise(widths):
            bound = 1 / math.sqrt(before)
            self.weights.append(torch.empty(networks, before, after).uniform_(-bound, bound))
            self.biases.append(torch.empty(networks, 1, after).uniform_(-bound, bound))

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the outputs [K,R,out_dim] of inputs [R,in_dim]."""
        outputs = self.first(inputs).unflatten(-1, (self.networks, -1)).transpose(0, 1)  # [K, R, hidden]
        for weight, bias in zip(self.weights, self.biases, strict=True):
            outputs = torch.baddbmm(bias, F.relu(outputs), weight)
        return outputs


class QPLEX(Mixer):
    """A duplex dueling mixer: any joint values of which the agents' own best actions form the best one."""

    Config = QPLEXConfig
    config: QPLEXConfig

    def __init__(self, sizes: EnvSizes, config: QPLEXConfig):
        super().__init__(sizes, config)
        n_agents, state_dim = sizes.n_agents, sizes.state_dim
        self.hyper_w = hypernetwork(state_dim, n_agents, 2, config.hypernet_dim)
        self.hyper_b = hypernetwork(state_dim, n_agents, 2, config.hypernet_dim)
        joint_dim = state_dim + n_agents * sizes.n_actions
        kernels, hidden, layers = config.kernels, config.kernel_hidden_dim, config.kernel_layers
        self.keys = ParallelNetworks(kernels, state_dim, hidden, 1, layers)
        self.agents = ParallelNetworks(kernels, state_dim, hidden, n_agents, layers)
        self.actions = ParallelNetworks(kernels, joint_dim, hidden, n_agents, layers)

    def transformation(self, state: Tensor) -> tuple[Tensor, Tensor]:
        """Return w, positive, and b for state [B,T,S], each [B,T,N]."""
        w, b = from_state(state, self.hyper_w, self.hyper_b)
        return w.abs() + FLOOR, b

    def importance(self, actions: Tensor, state: Tensor) -> Tensor:
        """Return lambda [B,T,N], positive, for actions [B,T,N] and state [B,T,S]."""
        one_hot = F.one_hot(actions, self.sizes.n_actions).flatten(-2).to(state.dtype)  # [B, T, N*A]
        states, joint = state.flatten(0, -2), torch.cat((state, one_hot), -1).flatten(0, -2)
        key = self.keys(states).abs() + FLOOR  # [K, R, 1]
        kernels = key * self.agents(states).sigmoid() * self.actions(joint).sigmoid()  # [K, R, N]
        return kernels.sum(0).view(*actions.shape)

    def forward(self, values: AgentValues, state: Tensor) -> Tensor:
        """See `Mixer.forward`."""
        w, b = self.transformation(state)
        advantages = (w * (values.chosen - values.greedy)).detach()  # [B, T, N], 0 or less
        value = (w * values.chosen + b).sum(-1)  # of the chosen actions; the 1 below takes it to the greedy ones
        return value + ((self.importance(values.actions, state) - 1) * advantages).sum(-1)

    def analytic_credits(self, values: AgentValues, state: Tensor) -> dict[str, Tensor]:
        """See `Mixer.analytic_credits`: w, the gradient that trains the agents, and w lambda, the function's."""
        w, _ = self.transformation(state)
        return {"exact": w, "function": w * self.importance(values.actions, state)}
