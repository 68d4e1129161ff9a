"""Acting on the CPU: one compiled kernel from observations to actions.

Every row (one agent in one environment) is computed by itself, in a fixed order of operations and without fused
multiply-add, so an agent's actions do not depend on the batch or on the type of x86 processor.
"""

from typing import NamedTuple

import numpy as np

from marl_gre.agents.activations import relu, sigmoid, tanh
from marl_gre_envs.compiling import inner_kernel, kernel

BLOCK = 16  # rows that share one reading of the weights
ZERO = np.float32(0.0)


class Weights(NamedTuple):
    """The weights of `RecurrentAgent` in float32; matrices are [inputs, outputs], which makes outputs contiguous."""

    obs: np.ndarray  # [O,H]
    action: np.ndarray  # [A,H]
    agent: np.ndarray  # [N,H], with the bias of fc1
    inputs: np.ndarray  # [H,3H]: reset, update, new
    inputs_bias: np.ndarray  # [3H]
    hidden: np.ndarray  # [H,3H]
    hidden_bias: np.ndarray  # [3H]
    out: np.ndarray  # [H,A]
    out_bias: np.ndarray  # [A]


@inner_kernel
def _copy(values, out):
    """Write values [M] to out [M]."""
    for j in range(out.size):
        out[j] = values[j]


@inner_kernel
def _add_sparse(values, weight, used, out):
    """Add values [K] @ weight [K,M] to out [M], leaving zeros out; used [K+1] is scratch."""
    count = 0
    for k in range(values.size):
        used[count] = k
        count += values[k] != ZERO
    fours = count - count % 4
    for at in range(0, fours, 4):  # out is read and written once for four products
        k0, k1, k2, k3 = used[at], used[at + 1], used[at + 2], used[at + 3]
        v0, v1, v2, v3 = values[k0], values[k1], values[k2], values[k3]
        for j in range(out.size):
            out[j] = (((out[j] + v0 * weight[k0, j]) + v1 * weight[k1, j]) + v2 * weight[k2, j]) + v3 * weight[k3, j]
    for at in range(fours, count):
        k0 = used[at]
        v0 = values[k0]
        for j in range(out.size):
            out[j] += v0 * weight[k0, j]


@inner_kernel
def _add_dense(rows, values, weight, out):
    """Add values [R,K] @ weight [K,M] to out [R,M], for the first rows of them, and one more if they are odd.

    Two rows share each weight that is read, and four products each sum.
    """
    size = weight.shape[0]
    fours = size - size % 4
    for k in range(0, fours, 4):
        for r in range(0, rows, 2):
            a0, a1, a2, a3 = values[r, k], values[r, k + 1], values[r, k + 2], values[r, k + 3]
            b0, b1, b2, b3 = values[r + 1, k], values[r + 1, k + 1], values[r + 1, k + 2], values[r + 1, k + 3]
            for j in range(out.shape[1]):
                w0, w1, w2, w3 = weight[k, j], weight[k + 1, j], weight[k + 2, j], weight[k + 3, j]
                out[r, j] = (((out[r, j] + a0 * w0) + a1 * w1) + a2 * w2) + a3 * w3
                out[r + 1, j] = (((out[r + 1, j] + b0 * w0) + b1 * w1) + b2 * w2) + b3 * w3
    for k in range(fours, size):
        for r in range(rows):
            for j in range(out.shape[1]):
                out[r, j] += values[r, k] * weight[k, j]


@inner_kernel
def _first_layer(weights, agent, action, obs, used, x):
    """Write what fc1 and ReLU make of an agent's input to x [H]."""
    _copy(weights.agent[agent], x)
    if action >= 0:
        for j in range(x.size):
            x[j] += weights.action[action, j]
    _add_sparse(obs, weights.obs, used, x)
    for j in range(x.size):
        x[j] = relu(x[j])


@inner_kernel
def _advance_hidden(from_x, from_h, h):
    """Replace h [H] by what a GRU makes of it, given its two products [3H]: reset, update, new."""
    size = h.size
    for j in range(2 * size):
        from_x[j] = sigmoid(from_x[j] + from_h[j])
    for j in range(size):
        new = tanh(from_x[2 * size + j] + from_x[j] * from_h[2 * size + j])
        h[j] = new + from_x[size + j] * (h[j] - new)


@inner_kernel
def _best(agent_qs, action_mask):
    """Return the available action of the highest value, the first of equal ones."""
    best = -1
    for a in range(action_mask.size):
        if action_mask[a] and (best < 0 or agent_qs[a] > agent_qs[best]):
            best = a
    return best


@inner_kernel
def _random(action_mask, uniform):
    """Return an available action, all with equal probability, as a number in [0, 1) decides."""
    count = 0
    for a in range(action_mask.size):
        count += action_mask[a] != 0
    left = int(uniform * count)
    for a in range(action_mask.size):
        if action_mask[a] != 0:
            if left == 0:
                return a
            left -= 1
    return -1


@kernel
def act(weights, obs, action_mask, playing, epsilon, noise, hidden, actions, agent_qs):
    """Choose the actions of one step of `RecurrentAgent` epsilon-greedily in the environments that play.

    Args:
        weights: Weights.
        obs: float32 [E,N,O].
        action_mask: 1 = available [E,N,A].
        playing: bool [E], the environments that play; nothing is written for the others.
        epsilon: probability of a random available action; at 0 the noise is not read.
        noise: uniform numbers in [0, 1) [2,E,N]: whether to explore, and which action.
        hidden: float32 [E,N,H], overwritten by the next hidden state.
        actions: the previous actions, -1 for none, int64 [E,N]; overwritten by the chosen ones.
        agent_qs: float32 [E,N,A], overwritten by the values.
    """
    copies, n_agents, size = hidden.shape
    used = np.empty(max(obs.shape[2], size) + 1, np.int64)
    copy, agent = np.empty(BLOCK, np.int64), np.empty(BLOCK, np.int64)
    x = np.empty((BLOCK, size), np.float32)
    h = np.empty((BLOCK, size), np.float32)
    from_x = np.empty((BLOCK, 3 * size), np.float32)
    from_h = np.empty((BLOCK, 3 * size), np.float32)
    qs = np.empty((BLOCK, agent_qs.shape[2]), np.float32)
    row, end = 0, copies * n_agents
    while row < end:
        rows = 0
        while rows < BLOCK and row < end:
            if playing[row // n_agents]:
                copy[rows], agent[rows] = divmod(row, n_agents)
                rows += 1
            row += 1
        for r in range(rows):
            e, i = copy[r], agent[r]
            _first_layer(weights, i, actions[e, i], obs[e, i], used, x[r])
            _copy(hidden[e, i], h[r])
            _copy(weights.inputs_bias, from_x[r])
            _copy(weights.hidden_bias, from_h[r])
            _copy(weights.out_bias, qs[r])
        _add_dense(rows, x, weights.inputs, from_x)
        _add_dense(rows, h, weights.hidden, from_h)
        for r in range(rows):
            _advance_hidden(from_x[r], from_h[r], h[r])
        _add_dense(rows, h, weights.out, qs)
        for r in range(rows):
            e, i = copy[r], agent[r]
            _copy(h[r], hidden[e, i])
            _copy(qs[r], agent_qs[e, i])
            if epsilon > 0.0 and noise[0, e, i] < epsilon:
                actions[e, i] = _random(action_mask[e, i], noise[1, e, i])
            else:
                actions[e, i] = _best(qs[r], action_mask[e, i])
