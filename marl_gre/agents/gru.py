"""The agents' shared recurrent Q network: fc1 -> ReLU -> GRU -> fc2 (PyMARL's `rnn_agent`).

One set of weights for all agents; the input of agent i is [observation, one-hot previous action, one-hot i].
"""

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from marl_gre.agents import GRU_RESULTS_VERSION, gru_acting
from marl_gre.agents.base import Actor, Agent, Memory
from marl_gre.agents.gru_unroll import unroll
from marl_gre.data import EnvSizes

NO_NOISE = np.empty((2, 0, 0))


class RecurrentAgent(Agent):
    """Maps observation histories to the values of all actions.

    Compiled code unrolls on the CPU, torch on other devices. Acting is compiled and on the CPU in both cases.

    Args:
        sizes: the environment's sizes.
        hidden_dim: width of fc1 and of the GRU.
    """

    results_version: ClassVar[int] = GRU_RESULTS_VERSION
    agent_ids: Tensor

    def __init__(self, sizes: EnvSizes, hidden_dim: int):
        super().__init__(sizes, hidden_dim)
        self.fc1 = nn.Linear(sizes.obs_dim + sizes.n_actions + sizes.n_agents, hidden_dim)
        self.rnn = nn.GRU(hidden_dim, hidden_dim)
        self.fc2 = nn.Linear(hidden_dim, sizes.n_actions)
        self.register_buffer("agent_ids", torch.eye(sizes.n_agents), persistent=False)

    def forward(self, obs: Tensor, actions: Tensor, episodes: Sequence[int]) -> Tensor:
        """See `Agent.forward`."""
        n_agents, n_actions = self.sizes.n_agents, self.sizes.n_actions
        weights = (*self.fc1.parameters(), *self.rnn.all_weights[0], *self.fc2.parameters())
        if not obs.is_cuda:
            return unroll(obs, actions, episodes, *weights)
        obs_weight, action_weight, id_weight = self.fc1.weight.split((obs.shape[-1], n_actions, n_agents), 1)
        x = F.linear(obs, obs_weight, self.fc1.bias) + id_weight.t()  # one-hot inputs select columns
        # By index: the gradient of F.embedding is a sum in no fixed order on CUDA.
        x = torch.cat((x[: episodes[0]], x[episodes[0] :] + action_weight.t()[actions]))
        rows = torch.tensor(episodes) * n_agents
        hidden = self.rnn(PackedSequence(F.relu(x).view(-1, self.hidden_dim), rows))[0].data  # [P*N, H]
        return self.fc2(hidden).view(*obs.shape[:2], n_actions)

    def initial_memory(self, num_envs: int) -> Memory:
        """See `Agent.initial_memory`: a hidden state of zeros [E,N,H]."""
        return (self.fc1.weight.new_zeros(num_envs, self.sizes.n_agents, self.hidden_dim),)

    def step(self, obs: Tensor, previous: Tensor, memory: Memory) -> tuple[Tensor, Memory]:
        """See `Agent.step`."""
        num_envs, n_agents, _ = obs.shape
        inputs = torch.cat((obs, previous, self.agent_ids.expand(num_envs, n_agents, n_agents)), dim=-1)
        x = F.relu(self.fc1(inputs)).flatten(0, 1)
        hidden = torch.gru_cell(x, memory[0].flatten(0, 1), *self.rnn.all_weights[0])  # [E*N, H]
        return self.fc2(hidden).unflatten(0, (num_envs, n_agents)), (hidden.unflatten(0, (num_envs, n_agents)),)

    def actor(self, num_envs: int) -> Actor:
        """See `Agent.actor`: the compiled kernel, on the CPU wherever the weights are."""
        return KernelActor(self, num_envs)


class KernelActor:
    """Plays with the compiled kernel, in float32 regardless of the network's precision.

    Each environment's actions are independent of the other environments.

    Args:
        agent: a `RecurrentAgent`.
        num_envs: number E of episodes.
    """

    def __init__(self, agent: "RecurrentAgent", num_envs: int):
        shape = num_envs, agent.sizes.n_agents
        self.weights = weights_of(agent)
        self.hidden = np.zeros((*shape, agent.hidden_dim), np.float32)
        self.actions = np.full(shape, -1, np.int64)
        self.agent_qs = np.zeros((*shape, agent.sizes.n_actions), np.float32)
        self.all_playing = np.ones(num_envs, bool)

    def act(
        self,
        obs: np.ndarray,
        action_mask: np.ndarray,
        epsilon: float,
        noise: np.ndarray | None,
        playing: np.ndarray | None = None,
    ) -> np.ndarray:
        """See `Actor.act`; environments that do not play cost nothing."""
        gru_acting.act(
            self.weights,
            np.ascontiguousarray(obs, np.float32),
            np.ascontiguousarray(action_mask, np.int8),
            self.all_playing if playing is None else playing,
            0.0 if noise is None else float(epsilon),
            NO_NOISE if noise is None else np.ascontiguousarray(noise),
            self.hidden,
            self.actions,
            self.agent_qs,
        )
        return self.actions.copy()


def weights_of(agent: RecurrentAgent) -> gru_acting.Weights:
    """Return a copy of a `RecurrentAgent`'s weights in the kernel's layout."""
    named = {name: np.array(value.detach().cpu().numpy().T, np.float32, order="C")
             for name, value in agent.named_parameters()}  # fmt: skip
    first = named["fc1.weight"]
    last = len(first) - agent.sizes.n_agents
    obs, action, agent_id = np.split(first, (last - agent.sizes.n_actions, last))
    return gru_acting.Weights(
        obs=obs,
        action=action,
        agent=agent_id + named["fc1.bias"],
        inputs=named["rnn.weight_ih_l0"],
        inputs_bias=named["rnn.bias_ih_l0"],
        hidden=named["rnn.weight_hh_l0"],
        hidden_bias=named["rnn.bias_hh_l0"],
        out=named["fc2.weight"],
        out_bias=named["fc2.bias"],
    )
