"""How far back through a window the gradient of the loss reaches."""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vestim_pl.errors import ConfigurationError
from vestim_pl.lightning_support.attention_calls import AttentionCall, recorded_attention
from vestim_pl.lightning_support.unrolled_recurrence import RecurrentStep, unrolled

__all__ = ["FlowVerdict", "GradientFlow", "describe_flow", "measure_gradient_flow", "summarize_flow"]

VANISHED = 0.01
EXPLODED = 10.0
SAME = 1e-3
"""Relative difference from which two gradients count as different."""


class FlowVerdict(StrEnum):
    """What becomes of the gradient on its way back.

    Attributes:
        VANISHES: Over the farthest tenth of the lags less than 1 % of that over the nearest tenth is left.
        EXPLODES: It is more than ten times that.
        CARRIES: Neither.
        NO_GRADIENT: The loss does not depend on the hidden states.

    """

    VANISHES = "vanishes"
    EXPLODES = "explodes"
    CARRIES = "carries"
    NO_GRADIENT = "no gradient"


@dataclass(frozen=True)
class GradientFlow:
    """Gradient of the loss with respect to what one layer remembers, by lag.

    That is the hidden states of a recurrent layer, and the keys and values of an attention layer.

    Attributes:
        layer: Name of the layer.
        hidden_norms: Norm of dLoss/dh over batch and hidden units (keys and values in attention); index is the lag, 0
            the last step.
        cell_norms: Likewise for the cell state of an LSTM, else empty.
        effective_memory: Number of last steps that hold the asked share of the sum of ``hidden_norms``.
        far_to_near: Mean norm over the farthest tenth of the lags, over that of the nearest tenth.
        factor_per_step: Factor by which the norm changes from one lag to the next, from a straight line through its
            logarithm.
        verdict: What becomes of the gradient.
        from_last_step: Whether the loss reads other steps than the last too, so that, to be comparable, only the part
            of the gradient that comes in at the last step of the last layer was followed.

    """

    layer: str
    hidden_norms: list[float]
    cell_norms: list[float]
    effective_memory: int
    far_to_near: float
    factor_per_step: float
    verdict: FlowVerdict
    from_last_step: bool

    def as_dict(self) -> dict[str, Any]:
        """Plain dictionary, ready for JSON."""
        return asdict(self) | {"verdict": self.verdict.value}


def summarize_flow(norms: Sequence[float], mass: float = 0.99) -> tuple[int, float, float, FlowVerdict]:
    """Effective memory, far-to-near ratio, factor per step and verdict of gradient norms by lag.

    Args:
        norms: Norm of dLoss/dh; index is the lag.
        mass: Share of the sum of the norms that the effective memory holds.

    Example::

        >>> memory, far, factor, verdict = summarize_flow([0.5**lag for lag in range(50)])
        >>> memory, factor, verdict.value
        (7, 0.5, 'vanishes')

    """
    values = np.asarray(norms, dtype=np.float64)
    if not values.size or not np.isfinite(values).all() or values.sum() == 0:
        verdict = FlowVerdict.EXPLODES if not np.isfinite(values).all() else FlowVerdict.NO_GRADIENT
        return 0, math.nan, math.nan, verdict
    memory = int(np.searchsorted(np.cumsum(values), mass * values.sum() * (1 - 1e-12))) + 1
    tenth = max(1, len(values) // 10)
    near = values[:tenth].mean()
    far_to_near = float(values[-tenth:].mean() / near) if near else math.inf
    lags = np.flatnonzero(values > 0)
    slope = np.polyfit(lags, np.log(values[lags]), 1)[0] if len(lags) > 1 else 0.0
    verdict = FlowVerdict.CARRIES
    if far_to_near < VANISHED:
        verdict = FlowVerdict.VANISHES
    elif far_to_near > EXPLODED:
        verdict = FlowVerdict.EXPLODES
    return memory, far_to_near, round(float(np.exp(slope)), 6), verdict


def describe_flow(flow: GradientFlow, mass: float = 0.99) -> str:
    """One sentence for a person: how far the gradient reaches, and what that says about the window."""
    length = len(flow.hidden_norms)
    if flow.verdict is FlowVerdict.NO_GRADIENT:
        return f"gradient flow: the loss does not depend on the hidden states of {flow.layer}"
    if not flow.effective_memory:
        return f"gradient flow: the gradient of {flow.layer} is not finite within {length} steps"
    sentence = (
        f"gradient flow: {100 * mass:g} % of the gradient of {flow.layer} lies within the last {flow.effective_memory}"
        f" of {length} steps and it {flow.verdict} (x {flow.factor_per_step:.3g} a step)"
    )
    if flow.verdict is FlowVerdict.VANISHES and flow.effective_memory <= length // 2:
        return f"{sentence}: steps farther back hardly teach it anything as it stands"
    return sentence


def measure_gradient_flow(model: nn.Module, loss_of: Callable[[], Tensor], mass: float = 0.99) -> list[GradientFlow]:
    """Follow the gradient of a loss back through every recurrent layer, step by step, or to what attention reads.

    Recurrent layers run unrolled while ``loss_of`` is called; the gradients of parameters are not touched. Memory: the
    graph of the unrolled layers, about 15 numbers a hidden unit, step and sample.

    A loss over a whole sequence reaches every hidden state directly, so its gradient by lag says nothing about memory.
    Where the gradient does not all come in at the last step, only what does is followed: from the last step of the
    layer that was called last.

    A model without recurrent layers is measured where it calls torch's ``scaled_dot_product_attention``: the gradient
    with respect to each step's keys and values.

    Args:
        model: Module whose layers are looked at.
        loss_of: Computes the loss with them.
        mass: Share that the effective memory holds.

    Returns:
        One entry a recurrent layer (and layer within it), or one an attention layer, in the order of the calls.

    Raises:
        ConfigurationError: If ``model`` called no recurrent layer that runs step by step, and no attention.

    Example::

        >>> gru = nn.GRU(3, 8, batch_first=True)
        >>> flow, = measure_gradient_flow(gru, lambda: gru(torch.randn(4, 20, 3))[0][:, -1].square().mean())
        >>> len(flow.hidden_norms), flow.from_last_step
        (20, False)

    """
    hidden: dict[str, list[Tensor]] = {}
    cells: dict[str, list[Tensor]] = {}

    def record(name: str, step: RecurrentStep) -> None:
        if step.reverse or not step.hidden.requires_grad:
            return
        name = name or type(model).__name__
        key = f"{name}[{step.layer}]" if step.layer else name
        hidden.setdefault(key, []).append(step.hidden)
        if step.cell is not None:
            cells.setdefault(key, []).append(step.cell)

    with torch.enable_grad(), unrolled(model, record), recorded_attention(model) as attention:
        loss = loss_of()
    if not hidden and attention:
        return _attention_flows(loss, list(attention.values()), mass)
    if not hidden:
        raise ConfigurationError(
            f"gradient flow: {type(model).__name__} calls no nn.LSTM, nn.GRU or nn.RNN with trainable weights"
            " that runs step by step (with padded tensors, no proj_size, no forward of its own), and no"
            " scaled_dot_product_attention; leave the probe out"
        )
    total = _gradients(loss, hidden, cells)
    top = list(hidden)[-1]
    last = hidden[top][-1]
    incoming = total[0][top][-1]
    chosen, from_last_step = total, False
    if incoming.any():
        from_last = _gradients(last, hidden, cells, incoming)
        if not _same(from_last[0][top], total[0][top]):
            chosen, from_last_step = from_last, True
    return [_flow(name, chosen[0][name], chosen[1].get(name, []), mass, from_last_step) for name in hidden]


def _attention_flows(loss: Tensor, calls: list[AttentionCall], mass: float) -> list[GradientFlow]:
    """Gradient with respect to keys and values; of the last query of the last layer only, where others matter too."""
    top = calls[-1].output
    [incoming] = torch.autograd.grad(loss, top, retain_graph=True)
    from_last_step = bool(incoming[..., :-1, :].any())
    output, weight = (top[..., -1, :], incoming[..., -1, :]) if from_last_step else (loss, None)
    read = [tensor for call in calls for tensor in (call.key, call.value)]
    found = torch.autograd.grad(output, read, weight, retain_graph=True, allow_unused=True)
    each = [torch.zeros_like(tensor) if grad is None else grad for tensor, grad in zip(read, found, strict=True)]
    return [
        _flow(call.layer, list(torch.cat([key, value], -1).unbind(-2)), [], mass, from_last_step)
        for call, key, value in zip(calls, each[::2], each[1::2], strict=True)
    ]


Gradients = tuple[dict[str, list[Tensor]], dict[str, list[Tensor]]]


def _gradients(
    output: Tensor, hidden: dict[str, list[Tensor]], cells: dict[str, list[Tensor]], incoming: Tensor | None = None
) -> Gradients:
    """Gradient of ``output`` with respect to every hidden and cell state; zeros where it does not depend on one."""
    states = [state for group in (hidden, cells) for name in group for state in group[name]]
    found = torch.autograd.grad(output, states, incoming, retain_graph=True, allow_unused=True)
    each = iter(torch.zeros_like(state) if grad is None else grad for state, grad in zip(states, found, strict=True))
    return (
        {name: [next(each) for _ in hidden[name]] for name in hidden},
        {name: [next(each) for _ in cells[name]] for name in cells},
    )


def _same(left: list[Tensor], right: list[Tensor]) -> bool:
    difference = torch.stack(left) - torch.stack(right)
    return bool(difference.norm() <= SAME * torch.stack(right).norm())


def _flow(name: str, hidden: list[Tensor], cells: list[Tensor], mass: float, from_last_step: bool) -> GradientFlow:
    norms = _norms_by_lag(hidden)
    memory, far_to_near, factor, verdict = summarize_flow(norms, mass)
    return GradientFlow(name, norms, _norms_by_lag(cells), memory, far_to_near, factor, verdict, from_last_step)


def _norms_by_lag(gradients: list[Tensor]) -> list[float]:
    """Norms, last step first, in double precision: squares of small float32 gradients would be zero."""
    if not gradients:
        return []
    return torch.stack(gradients[::-1]).double().flatten(1).norm(dim=1).tolist()
