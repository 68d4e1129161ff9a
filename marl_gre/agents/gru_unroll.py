"""The agents' network over packed episodes on a CPU: forward and backward by hand, a few time steps at a time.

Besides its matrix products, a plain unroll costs memory traffic: arrays of all steps, far larger than the processor's
caches, are written once and read once. Here a block of about `BLOCK_ROWS` rows passes through all layers before the
next block, and one compiled pass does all that a layer needs besides its product. Equations: fc1, ReLU, torch.nn.GRU,
fc2 (https://docs.pytorch.org/docs/stable/generated/torch.nn.GRU.html). The numbers agree up to the order of sums and
the rounding of tanh.
"""

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor

from marl_gre.agents.activations import relu, sigmoid, tanh
from marl_gre_envs.compiling import fused_kernel

BLOCK_ROWS = 640
"""Rows that pass through the layers together; with H = 64 they fill 1 to 2 MB of the second-level cache."""


def unroll(obs: Tensor, actions: Tensor, episodes: Sequence[int], *weights: Tensor) -> Tensor:
    """Return agent_qs [P,N,A] of whole episodes, from a zero hidden state.

    Args:
        obs: [P,N,O], packed as in `data.Batch`.
        actions: the actions taken, int64 [Q,N].
        episodes: number of episodes that reach each time step [T+1].
        weights: of fc1 [H,O+A+N] (observation, one-hot previous action, one-hot agent), its bias [H], W_ih [3H,H],
            W_hh [3H,H], b_ih [3H], b_hh [3H], of fc2 [A,H], its bias [A].

    Raises:
        IndexError: an action is out of range; compiled code would read past the weights.
    """
    if len(actions) and not 0 <= actions.min() <= actions.max() < len(weights[-1]):
        raise IndexError(f"actions from {actions.min()} to {actions.max()}, but there are {len(weights[-1])}.")
    if torch.is_grad_enabled():
        return _Unroll.apply(obs, actions, episodes, *weights)
    return _forward(obs, actions, episodes, *weights)


class _Unroll(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, obs: Tensor, actions: Tensor, episodes: Sequence[int], *weights: Tensor) -> Tensor:
        rows, size = obs.shape[0] * obs.shape[1], weights[0].shape[0]
        kept = [obs.new_empty(rows, columns * size) for columns in _KEPT]
        ctx.episodes = episodes
        ctx.save_for_backward(obs, actions, *weights, *kept)
        return _forward(obs, actions, episodes, *weights, kept=kept)

    @staticmethod
    def backward(ctx: Any, d_agent_qs: Tensor) -> tuple[Tensor | None, ...]:
        return None, None, None, *_backward(d_agent_qs, ctx.episodes, *ctx.saved_tensors)


_KEPT = (1, 3, 1, 1)  # columns, in units of H, of what a row's backward pass needs: x; r, z, n; W_hn h + b_hn; h


def _forward(
    obs: Tensor, actions: Tensor, episodes: Sequence[int], *weights: Tensor, kept: Sequence[Tensor] | None = None
) -> Tensor:
    """r, z = sigmoid(i + k), n = tanh(i + r k), h' = n + z (h - n), where i = W_ih x + b_ih and k = W_hh h + b_hh."""
    w_fc1, b_fc1, w_ih, w_hh, b_ih, b_hh, w_fc2, b_fc2 = (weight.detach() for weight in weights)
    steps, n_agents, obs_dim = obs.shape
    n_actions, size = w_fc2.shape
    obs, previous = obs.reshape(-1, obs_dim), actions.reshape(-1).numpy()
    counts = [count * n_agents for count in episodes]
    starts = [0, *accumulate(counts)]
    w_obs, w_action, w_agent = w_fc1.t().contiguous().split((obs_dim, n_actions, n_agents))
    by_agent, by_action = (w_agent + b_fc1).numpy(), w_action.numpy()
    w_ih, w_hh, w_fc2 = w_ih.t().contiguous(), w_hh.t().contiguous(), w_fc2.t()
    biases = torch.cat((b_ih[: 2 * size] + b_hh[: 2 * size], b_ih[2 * size :], b_hh[2 * size :])).numpy()
    agent_qs = obs.new_empty(len(obs), n_actions)
    state, recurrent = obs.new_zeros(counts[0], size), obs.new_empty(counts[0], 3 * size)
    of_step = state.numpy(), recurrent.numpy(), biases
    for block in _blocks(counts):
        rows = slice(starts[block[0]], starts[block[-1] + 1])
        if kept is None:
            x, gates, hidden_n, hidden = (obs.new_empty(rows.stop - rows.start, width * size) for width in _KEPT)
        else:
            x, gates, hidden_n, hidden = (values[rows] for values in kept)
        torch.mm(obs[rows], w_obs, out=x)
        _embed(x.numpy(), by_agent, by_action, previous, rows.start, counts[0])
        torch.mm(x, w_ih, out=gates)
        of_block = gates.numpy(), hidden_n.numpy(), hidden.numpy()
        for time in block:
            count = counts[time]
            if count < len(state):
                state, recurrent = state[:count], recurrent[:count]
            torch.mm(state, w_hh, out=recurrent)
            _gru_step(*of_block, *of_step, starts[time] - rows.start, count)
        torch.addmm(b_fc2, hidden, w_fc2, out=agent_qs[rows])
    return agent_qs.view(steps, n_agents, n_actions)


def _backward(
    d_agent_qs: Tensor, episodes: Sequence[int], obs: Tensor, actions: Tensor, *saved: Tensor
) -> tuple[Tensor, ...]:
    """Return the gradients of the weights, in their order."""
    w_fc1, _, w_ih, w_hh, _, _, w_fc2, _, x, gates, hidden_n, hidden = (tensor.detach() for tensor in saved)
    n_agents, obs_dim = obs.shape[1:]
    n_actions, size = w_fc2.shape
    obs, previous = obs.reshape(-1, obs_dim), actions.reshape(-1).numpy()
    d_agent_qs = d_agent_qs.reshape(-1, n_actions)
    counts = [count * n_agents for count in episodes]
    starts = [0, *accumulate(counts)]
    # The gates' gradients of a row stand as n, r, z, n: first n as W_ih sees it, then as W_hh does (times r), so that
    # each matrix finds its three side by side.
    w_ih_nrz = torch.cat((w_ih[2 * size :], w_ih[: 2 * size]))
    d_fc1 = obs.new_zeros(w_fc1.shape[::-1])  # [O+A+N, H]
    d_obs, d_action, d_agent = d_fc1.split((obs_dim, n_actions, n_agents))
    d_ih, d_hh, d_fc2 = torch.zeros_like(w_ih), torch.zeros_like(w_hh), torch.zeros_like(w_fc2)
    d_bias = obs.new_zeros(4 * size)
    carried = obs.new_zeros(counts[0], size)  # what a step passes back to the hidden state before it
    hidden_values, carried_values = hidden.numpy(), carried.numpy()
    blocks = _blocks(counts)
    most_rows = max(starts[block[-1] + 1] - starts[block[0]] for block in blocks)
    of_block = [obs.new_empty(most_rows, width * size) for width in (4, 1, 1, 1)]
    for block in reversed(blocks):
        rows = slice(starts[block[0]], starts[block[-1] + 1])
        d_gates, before, d_hidden, d_x = (values[: rows.stop - rows.start] for values in of_block)
        torch.mm(d_agent_qs[rows], w_fc2, out=d_hidden)
        arrays = tuple(values.numpy() for values in (gates[rows], hidden_n[rows], d_hidden, d_gates, before))
        for time in reversed(block):
            count, first = counts[time], starts[time] - rows.start
            _gru_step_backward(*arrays, hidden_values, carried_values, first, count, starts[time - 1] if time else -1)
            carried[:count].addmm_(d_gates[first : first + count, size:], w_hh)
        d_fc2.addmm_(d_agent_qs[rows].t(), hidden[rows])
        d_ih.addmm_(d_gates[:, : 3 * size].t(), x[rows])
        d_hh.addmm_(d_gates[:, size:].t(), before)
        d_bias += d_gates.sum(0)
        torch.mm(d_gates[:, : 3 * size], w_ih_nrz, out=d_x)
        _embed_backward(
            d_x.numpy(), x[rows].numpy(), d_agent.numpy(), d_action.numpy(), previous, rows.start, counts[0]
        )
        d_obs.addmm_(obs[rows].t(), d_x)
    n, r, z, recurrent_n = d_bias.split(size)
    return (
        d_fc1.t(),
        d_agent.sum(0),  # every row has one agent
        torch.cat((d_ih[size:], d_ih[:size])),
        d_hh,
        torch.cat((r, z, n)),
        torch.cat((r, z, recurrent_n)),
        d_fc2,
        d_agent_qs.sum(0),
    )


def _blocks(counts: Sequence[int]) -> list[range]:
    """Return the times in runs of about `BLOCK_ROWS` rows."""
    blocks, first, rows = [], 0, 0
    for time, count in enumerate(counts):
        rows += count
        if rows >= BLOCK_ROWS or time == len(counts) - 1:
            blocks.append(range(first, time + 1))
            first, rows = time + 1, 0
    return blocks


@fused_kernel
def _embed(x, by_agent, by_action, previous, start, n_first):
    """Add the columns of fc1 that agent and previous action select, and its bias; then ReLU."""
    n_agents, size = by_agent.shape
    for i in range(len(x)):
        row = start + i
        agent = by_agent[row % n_agents]
        if row < n_first:
            for j in range(size):
                x[i, j] = relu(x[i, j] + agent[j])
        else:
            action = by_action[previous[row - n_first]]
            for j in range(size):
                x[i, j] = relu(x[i, j] + agent[j] + action[j])


@fused_kernel
def _embed_backward(d_x, x, d_agent, d_action, previous, start, n_first):
    """Pass d_x back through the ReLU, in place, and add it to what agent and previous action select."""
    n_agents, size = d_agent.shape
    zero = x.dtype.type(0)
    for i in range(len(x)):
        row = start + i
        for j in range(size):
            d_x[i, j] = d_x[i, j] if x[i, j] > zero else zero
        agent = d_agent[row % n_agents]
        for j in range(size):
            agent[j] += d_x[i, j]
        if row >= n_first:
            action = d_action[previous[row - n_first]]
            for j in range(size):
                action[j] += d_x[i, j]


@fused_kernel
def _gru_step(gates, hidden_n, hidden, state, recurrent, biases, first, count):
    """Turn W_ih x in `gates` and W_hh h in `recurrent` into r, z, n, the latter's part of n, and h'."""
    rows = slice(first, first + count)
    gates, hidden_n, hidden = gates[rows], hidden_n[rows], hidden[rows]
    _add_sigmoid(gates, recurrent, biases)
    _add_tanh(gates, hidden_n, recurrent, biases)
    _interpolate(gates, state, hidden)


# One loop for each idea: with more arrays at once the compiler no longer computes several numbers in one instruction.


@fused_kernel
def _add_sigmoid(gates, recurrent, biases):
    """Make r, z = sigmoid(i + k)."""
    for i in range(len(gates)):
        rz, k = gates[i], recurrent[i]
        for j in range(len(biases) // 2):
            rz[j] = sigmoid(rz[j] + k[j] + biases[j])


@fused_kernel
def _add_tanh(gates, hidden_n, recurrent, biases):
    """Make n = tanh(i + r k)."""
    size = hidden_n.shape[1]
    b_n, b_k = biases[2 * size : 3 * size], biases[3 * size :]
    for i in range(len(gates)):
        r, n, k, kept = gates[i, :size], gates[i, 2 * size :], recurrent[i, 2 * size :], hidden_n[i]
        for j in range(size):
            kept[j] = k[j] + b_k[j]
        for j in range(size):
            n[j] = tanh(n[j] + b_n[j] + r[j] * kept[j])


@fused_kernel
def _interpolate(gates, state, hidden):
    """Make h' = n + z (h - n)."""
    size = hidden.shape[1]
    for i in range(len(gates)):
        z, n, h, after = gates[i, size : 2 * size], gates[i, 2 * size :], state[i], hidden[i]
        for j in range(size):
            h[j] = n[j] + z[j] * (h[j] - n[j])
        for j in range(size):
            after[j] = h[j]


@fused_kernel
def _gru_step_backward(gates, hidden_n, d_hidden, d_gates, before, hidden, carried, first, count, behind):
    """Turn dh' into the gradients of the gates before their nonlinearities; leave in `carried` what z passes on."""
    rows = slice(first, first + count)
    gates, hidden_n, d_hidden = gates[rows], hidden_n[rows], d_hidden[rows]
    d_gates, before = d_gates[rows], before[rows]
    for i in range(count):
        row = before[i]
        for j in range(len(row)):
            row[j] = 0 if behind < 0 else hidden[behind + i, j]
    _interpolate_backward(gates, before, d_hidden, d_gates, carried)
    _gates_backward(gates, hidden_n, d_gates)


@fused_kernel
def _interpolate_backward(gates, before, d_hidden, d_gates, carried):
    """Fill in d_n and d_z, but for the gates' own derivatives."""
    size = before.shape[1]
    for i in range(len(gates)):
        z, n, h, d_h, c = gates[i, size : 2 * size], gates[i, 2 * size :], before[i], d_hidden[i], carried[i]
        for j in range(size):
            d_h[j] += c[j]
        for j in range(size):
            c[j] = d_h[j] * z[j]
        d_n, d_z = d_gates[i, :size], d_gates[i, 2 * size : 3 * size]
        for j in range(size):
            d_n[j] = d_h[j] - c[j]
        for j in range(size):
            d_z[j] = d_n[j] * z[j] * (h[j] - n[j])


@fused_kernel
def _gates_backward(gates, hidden_n, d_gates):
    """Fill in the rest."""
    size = hidden_n.shape[1]
    one = gates.dtype.type(1)
    for i in range(len(gates)):
        r, n, k_n = gates[i, :size], gates[i, 2 * size :], hidden_n[i]
        d_n, d_r, d_k = d_gates[i, :size], d_gates[i, size : 2 * size], d_gates[i, 3 * size :]
        for j in range(size):
            d_n[j] *= one - n[j] * n[j]
        for j in range(size):
            d_k[j] = d_n[j] * r[j]
        for j in range(size):
            d_r[j] = d_k[j] * k_n[j] * (one - r[j])
