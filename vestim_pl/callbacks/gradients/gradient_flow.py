"""Measure how far back through a window the gradient of the loss reaches."""

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
"""Far-to-near ratio below which the gradient vanishes."""
EXPLODED = 10.0
"""Far-to-near ratio above which the gradient explodes."""
SAME = 1e-3
"""Relative difference up to which two gradients count as equal."""


class FlowVerdict(StrEnum):
    """How the gradient changes on its way back through the window.

    Attributes:
        VANISHES: Its mean norm over the farthest tenth of the lags is below 1 % of that over the nearest tenth.
        EXPLODES: Its mean norm over the farthest tenth is more than ten times that over the nearest tenth.
        CARRIES: It does neither.
        NO_GRADIENT: The loss does not depend on the hidden states.

    """

    VANISHES = "vanishes"
    EXPLODES = "explodes"
    CARRIES = "carries"
    NO_GRADIENT = "no gradient"


@dataclass(frozen=True)
class GradientFlow:
    """Gradient of the loss with respect to the memory of one layer, by lag.

    The memory is the hidden states of a recurrent layer, or the keys and values of an attention layer.

    Attributes:
        layer: Name of the layer.
        hidden_norms: Norm of dLoss/dh over batch and hidden units (or keys and values), indexed by lag; lag 0 is the
            last step.
        cell_norms: The same norm for the cell state of an LSTM, else empty.
        effective_memory: Number of last steps that hold the requested share of the sum of ``hidden_norms``.
        far_to_near: Mean norm over the farthest tenth of the lags divided by that over the nearest tenth.
        factor_per_step: Factor by which the norm changes per lag, from a linear fit to its logarithm.
        verdict: How the gradient changes on its way back.
        from_last_step: Whether only the gradient entering at the last step of the last layer was followed, because
            the loss reads earlier steps too.

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
        """Convert for JSON."""
        return asdict(self) | {"verdict": self.verdict.value}


def summarize_flow(norms: Sequence[float], mass: float = 0.99) -> tuple[int, float, float, FlowVerdict]:
    """Compute effective memory, far-to-near ratio, factor per step and verdict from gradient norms, indexed by lag.

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
    """Describe in one sentence how far the gradient reaches, and what that means for the window."""
    length = len(flow.hidden_norms)
    if flow.verdict is FlowVerdict.NO_GRADIENT:
        return f"gradient flow: the loss does not depend on the hidden states of {flow.layer}"
    if not flow.effective_memory:
        return f"gradient flow: the gradient of {flow.layer} is non-finite within {length} steps"
    sentence = (
        f"gradient flow: {100 * mass:g} % of the gradient of {flow.layer} lies within the last {flow.effective_memory}"
        f" of {length} steps and it {flow.verdict} (x {flow.factor_per_step:.3g} a step)"
    )
    if flow.verdict is FlowVerdict.VANISHES and flow.effective_memory <= length // 2:
        return f"{sentence}; the network currently learns almost nothing from earlier steps"
    return sentence


def measure_gradient_flow(model: nn.Module, loss_of: Callable[[], Tensor], mass: float = 0.99) -> list[GradientFlow]:
    """Follow the gradient of a loss back through every recurrent layer step by step, or to the inputs of attention.

    ``loss_of`` runs the module and returns the loss. Recurrent layers run unrolled during this call, whose graph needs
    memory for about 15 numbers per hidden unit, step and sample. The gradients of parameters are not touched. In a
    model without recurrent layers, the gradient is taken with respect to each step's keys and values in torch's
    ``scaled_dot_product_attention``.

    A loss over a whole sequence reaches every hidden state directly, so its gradient by lag says nothing about memory.
    If some of the gradient enters before the last step, only the part that enters at the last step of the last layer
    called is followed.

    Returns:
        One entry per recurrent layer (and per layer within it) or per attention layer, in the order of the calls.

    Raises:
        ConfigurationError: If ``model`` calls neither a recurrent layer that can run step by step nor attention.

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
            " scaled_dot_product_attention; remove the probe"
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
    """Compute gradients for keys and values, from the last layer's last query only if earlier ones have a gradient."""
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
    """Compute the gradient of ``output`` for every hidden and cell state; zeros where ``output`` does not depend."""
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
    """Compute norms, last step first, in double precision because squares of small float32 gradients underflow."""
    if not gradients:
        return []
    return torch.stack(gradients[::-1]).double().flatten(1).norm(dim=1).tolist()
