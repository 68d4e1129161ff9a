"""A GRU over packed episodes, with a hand-written backward pass for the CPU.

torch's own CPU kernel multiplies for the weights' gradients at every time step; here everything that does not depend on
the previous step is one large matrix product over all steps. Same equations as torch.nn.GRU
(https://docs.pytorch.org/docs/stable/generated/torch.nn.GRU.html), same float32 rounding up to the order of sums.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence


def unroll(gru: nn.GRU, inputs: Tensor, rows: Sequence[int]) -> Tensor:
    """Return the hidden states of all steps, from a zero hidden state.

    Args:
        gru: one layer, with biases.
        inputs: packed inputs, all first steps, then all second ones, ... [R,H]; longer sequences come first.
        rows: how many sequences have a step at each time, never rising; sums to R.

    Returns:
        Hidden states, packed alike [R,H].
    """
    if inputs.is_cuda:  # the vendor's kernels
        return gru(PackedSequence(inputs, torch.tensor(rows)))[0].data
    return _Unroll.apply(inputs, list(rows), *gru.all_weights[0])


class _Unroll(torch.autograd.Function):
    """r, z = sigmoid(i + k), n = tanh(i + r k), h' = n + z (h - n), where i = W_ih x + b_ih and k = W_hh h + b_hh."""

    @staticmethod
    def forward(
        ctx: Any, inputs: Tensor, rows: list[int], w_ih: Tensor, w_hh: Tensor, b_ih: Tensor, b_hh: Tensor
    ) -> Tensor:
        size = w_hh.shape[1]
        gates = torch.addmm(b_ih, inputs, w_ih.t())  # [R, 3H]; becomes r, z, n in place
        recurrent = torch.empty_like(gates)  # W_hh h + b_hh of every step
        hidden = inputs.new_empty(len(inputs), size)
        previous = inputs.new_zeros(rows[0], size)
        w_hh_t = w_hh.t()
        start = 0
        for count in rows:
            step = slice(start, start + count)
            previous = previous[:count]
            h = torch.addmm(b_hh, previous, w_hh_t, out=recurrent[step])
            gate = gates[step]
            rz = gate[:, : 2 * size]
            rz.add_(h[:, : 2 * size]).sigmoid_()
            n = gate[:, 2 * size :]
            n.addcmul_(rz[:, :size], h[:, 2 * size :]).tanh_()
            previous = torch.lerp(n, previous, rz[:, size:], out=hidden[step])
            start += count
        ctx.rows = rows
        ctx.save_for_backward(inputs, gates, recurrent, hidden, w_ih, w_hh)
        return hidden

    @staticmethod
    def backward(ctx: Any, d_hidden: Tensor) -> tuple[Tensor | None, ...]:
        inputs, gates, recurrent, hidden, w_ih, w_hh = ctx.saved_tensors
        rows, size = ctx.rows, w_hh.shape[1]
        r, z, n = gates.split(size, dim=1)
        # hidden states before each step: zeros, then those of the step before; a packed sequence drops its last rows
        before = hidden.new_zeros(hidden.shape)
        before[rows[0] :] = hidden[previous_rows(rows, hidden.device)]
        # d(gates before their nonlinearity) = d_h * these factors; of n once as seen by W_ih, once (times r) by W_hh
        factor_n = (1 - z) * (1 - n * n)
        factors = torch.empty_like(gates)
        torch.mul(factor_n * recurrent[:, 2 * size :], r * (1 - r), out=factors[:, :size])
        torch.mul(before - n, z * (1 - z), out=factors[:, size : 2 * size])
        torch.mul(factor_n, r, out=factors[:, 2 * size :])

        d_total = d_hidden.clone()  # [R, H]; receives what later steps pass back
        d_recurrent = torch.empty_like(gates)
        start = len(d_total)
        for index in range(len(rows) - 1, -1, -1):
            count = rows[index]
            start -= count
            step = slice(start, start + count)
            d = d_total[step]
            d_gate = d_recurrent[step]
            torch.mul(d.unsqueeze(1), factors[step].view(count, 3, size), out=d_gate.view(count, 3, size))
            if index > 0:
                back = d_total[start - rows[index - 1] : start][:count]
                back.addcmul_(d, z[step]).addmm_(d_gate, w_hh)
        d_input_gates = d_recurrent.clone()
        torch.mul(d_total, factor_n, out=d_input_gates[:, 2 * size :])
        d_inputs = d_input_gates @ w_ih if ctx.needs_input_grad[0] else None
        return (
            d_inputs,
            None,
            d_input_gates.t() @ inputs,
            d_recurrent.t() @ before,
            d_input_gates.sum(0),
            d_recurrent.sum(0),
        )


def previous_rows(rows: Sequence[int], device: torch.device) -> Tensor:
    """Return, for every packed row from the second step on, the row of the same sequence one step before."""
    counts = torch.tensor(rows)
    behind = torch.repeat_interleave(counts[:-1], counts[1:])  # a row lies as far behind as the step before is long
    return (torch.arange(rows[0], int(counts.sum())) - behind).to(device)
