"""Compute a GRU over all steps, with a backward pass that does little work step by step.

Shape legend: B batch (or lanes), L steps, F features, H hidden.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

__all__ = ["gated_recurrence"]

_BLOCK_ELEMENTS = 2**18


def gated_recurrence(
    inputs: Tensor,
    initial: Tensor,
    input_weight: Tensor,
    recurrent_weight: Tensor,
    input_bias: Tensor,
    recurrent_bias: Tensor,
) -> Tensor:
    r"""Compute the hidden states of a single-layer GRU as PyTorch defines it.

    .. math::
        r, z &= \sigma(W_i x_t + b_i + W_h h_{t-1} + b_h) \\
        n &= \tanh(W_{in} x_t + b_{in} + r\,(W_{hn} h_{t-1} + b_{hn})) \\
        h_t &= (1 - z)\, n + z\, h_{t-1}

    PyTorch's GRU has no fused kernel on the CPU. It records about 14 small operations per step, and its backward pass
    computes the gradients of the weights step by step. Here the loop contains only what depends on the previous step:
    five operations forward and three backward. The input projection, the factors of the gates' derivatives and the
    gradients of the weights are products over all steps at once. Values and gradients equal those of ``nn.GRU``; second
    derivatives are not supported.

    Args:
        inputs: ``[B, L, F]`` inputs.
        initial: ``[B, H]`` hidden state before the first step.
        input_weight: ``[3 H, F]`` weights of reset, update and candidate, in this order.
        recurrent_weight: ``[3 H, H]`` weights in the same order.
        input_bias: ``[3 H]`` bias in the same order.
        recurrent_bias: ``[3 H]`` bias in the same order.

    Returns:
        ``[B, L, H]`` hidden states.

    Example::

        >>> kernel = torch.nn.GRU(3, 4, batch_first=True)
        >>> inputs = torch.randn(2, 5, 3)
        >>> outputs = gated_recurrence(inputs, torch.zeros(2, 4), *kernel.parameters())
        >>> torch.allclose(outputs, kernel(inputs)[0], atol=1e-6)
        True

    """
    outputs: Tensor = _GatedRecurrence.apply(
        inputs, initial, input_weight, recurrent_weight, input_bias, recurrent_bias
    )
    return outputs


class _GatedRecurrence(torch.autograd.Function):
    """Forward and backward pass; time is the first dimension inside, so that every step is contiguous in memory."""

    @staticmethod
    @torch.amp.custom_fwd(device_type="cpu", cast_inputs=torch.float32)  # float32 under autocast too
    def forward(
        ctx: Any,
        inputs: Tensor,
        initial: Tensor,
        input_weight: Tensor,
        recurrent_weight: Tensor,
        input_bias: Tensor,
        recurrent_bias: Tensor,
    ) -> Tensor:
        samples = inputs.transpose(0, 1).contiguous()
        size = initial.shape[1]
        open_bias = recurrent_bias.clone()
        open_bias[2 * size :] = 0  # reset gates the candidate's recurrent part before the input's part is added
        gates = torch.nn.functional.linear(samples, input_weight, input_bias + open_bias)
        candidate = gates[..., 2 * size :].clone()
        gates[..., 2 * size :] = recurrent_bias[2 * size :]
        states = initial.new_empty(len(samples) + 1, *initial.shape)
        states[0] = initial
        _advance(gates, candidate, states, recurrent_weight.t())
        ctx.save_for_backward(samples, input_weight, recurrent_weight, gates, candidate, states)
        return states[1:].transpose(0, 1)

    @staticmethod
    @once_differentiable
    @torch.amp.custom_bwd(device_type="cpu")
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        samples, input_weight, recurrent_weight, gates, candidate, states = ctx.saved_tensors
        grad_samples = torch.empty_like(samples) if ctx.needs_input_grad[0] else None
        grad_input_weight, grad_recurrent_weight = torch.zeros_like(input_weight), torch.zeros_like(recurrent_weight)
        grad_input_bias, grad_recurrent_bias = gates.new_zeros(2, gates.shape[2])
        carried = torch.zeros_like(states[0])
        # Blocks fit in the CPU cache; temporary tensors over all steps would cost more than the arithmetic.
        block = max(1, _BLOCK_ELEMENTS // gates[0].numel())
        for start in reversed(range(0, len(samples), block)):
            part = slice(start, start + block)
            before, update = states[:-1][part], gates[part].chunk(3, dim=-1)[1]
            grad_gates, through = _slopes(gates[part], candidate[part], before)
            grad_states = torch.cat([torch.zeros_like(states[:1]), grad_outputs[0].transpose(0, 1)[part]])
            grad_states[-1] += carried
            _retreat(grad_gates, grad_states, update, recurrent_weight)
            carried = grad_states[0]
            flat = grad_gates.flatten(0, 1)
            grad_recurrent_weight.addmm_(flat.t(), before.flatten(0, 1))
            grad_recurrent_bias += flat.sum(0)
            # From here on, the last third holds the gradient of the candidate's input part.
            torch.mul(grad_states[1:], through, out=grad_gates[..., -states.shape[2] :])
            grad_input_weight.addmm_(flat.t(), samples[part].flatten(0, 1))
            grad_input_bias += flat.sum(0)
            if grad_samples is not None:
                torch.matmul(grad_gates, input_weight, out=grad_samples[part])
        grad_inputs = None if grad_samples is None else grad_samples.transpose(0, 1)
        return grad_inputs, carried, grad_input_weight, grad_recurrent_weight, grad_input_bias, grad_recurrent_bias


def _slopes(gates: Tensor, candidate: Tensor, before: Tensor) -> tuple[Tensor, Tensor]:
    """Compute derivatives of the new state, by the arguments of reset, update and recurrent part, and of the tanh."""
    reset, update, gated = gates.chunk(3, dim=-1)
    through = (1 - update) * (1 - candidate.square())
    by_gated = through * reset
    by_reset = by_gated * (1 - reset) * gated
    by_update = (before - candidate) * update * (1 - update)
    return torch.cat([by_reset, by_update, by_gated], dim=-1), through


def _advance(gates: Tensor, candidate: Tensor, states: Tensor, recurrent_weight: Tensor) -> None:
    """Run the steps in place; ``gates`` become reset, update and gated part, and the other two tensors are filled."""
    size = candidate.shape[2]
    opened = gates[..., : 2 * size].unbind()
    reset, update, gated = (part.unbind() for part in gates.chunk(3, dim=-1))
    hidden = states.unbind()
    for step, (gate, fresh) in enumerate(zip(gates.unbind(), candidate.unbind(), strict=True)):
        gate.addmm_(hidden[step], recurrent_weight)
        opened[step].sigmoid_()
        fresh.addcmul_(reset[step], gated[step]).tanh_()
        torch.lerp(fresh, hidden[step], update[step], out=hidden[step + 1])


def _retreat(grad_gates: Tensor, grad_states: Tensor, update: Tensor, recurrent_weight: Tensor) -> None:
    """Run the steps backwards in place, turning derivatives into gradients."""
    size = update.shape[2]
    kept, gates = update.unbind(), grad_gates.unbind()
    by_gate = grad_gates.unflatten(-1, (3, size)).unbind()
    hidden, spread = grad_states.unbind(), grad_states.unsqueeze(2).unbind()
    for step in reversed(range(len(kept))):
        by_gate[step].mul_(spread[step + 1])
        hidden[step].addcmul_(hidden[step + 1], kept[step]).addmm_(gates[step], recurrent_weight)
