"""Recurrent layers in a Python loop that exposes every intermediate tensor.

``nn.LSTM`` and ``nn.GRU`` are one fused call over the whole sequence, so no hook sees the hidden state of a time step.
These functions compute the same values from the same weights, step by step. They are slow: use them in probes and
replays only.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from vestim_pl.errors import ConfigurationError

__all__ = ["RecurrentStep", "unrolled", "unrolled_recurrence", "why_fused"]

State = Tensor | tuple[Tensor, Tensor]


class RecurrentStep(NamedTuple):
    """The tensors of one layer at one time step.

    Shape legend: B batch, F input features, H hidden, G gates (4 for LSTM, 3 for GRU, 1 for RNN).

    Attributes:
        layer: Layer within the module, from 0.
        reverse: Whether it is the backward direction of a bidirectional layer.
        time: Time step, from 0.
        input: ``[B, F]``.
        gates: ``[B, G H]`` pre-activations, for LSTM in the order input, forget, cell, output, for GRU reset, update,
            new.
        hidden: ``[B, H]`` after the step.
        cell: ``[B, H]`` after the step; LSTM only, else None.

    """

    layer: int
    reverse: bool
    time: int
    input: Tensor
    gates: Tensor
    hidden: Tensor
    cell: Tensor | None


Observer = Callable[[RecurrentStep], None]


def unrolled_recurrence(
    module: nn.RNNBase, inputs: Tensor, state: State | None = None, observe: Observer | None = None
) -> tuple[Tensor, State]:
    """Compute output and final state of an ``nn.LSTM``, ``nn.GRU`` or ``nn.RNN`` step by step.

    Same arguments and results as ``module(inputs, state)``, in the module's layout. ``observe`` is called after every
    step of every layer. The graph contains every observed tensor, so each can have a gradient.

    Raises:
        ConfigurationError: For packed sequences and ``proj_size``.

    Example::

        >>> lstm = nn.LSTM(3, 8, batch_first=True)
        >>> inputs = torch.randn(2, 5, 3)
        >>> torch.allclose(unrolled_recurrence(lstm, inputs)[0], lstm(inputs)[0], atol=1e-6)
        True

    """
    if why := why_fused(module, inputs):
        raise ConfigurationError(
            f"{type(module).__name__}: cannot run step by step because {why}; pass padded tensors and use proj_size=0"
        )
    unbatched = inputs.ndim == 2
    sequence = inputs.unsqueeze(1) if unbatched else inputs.transpose(0, 1) if module.batch_first else inputs
    parts = _initial(module, sequence, state, unbatched)  # the sequence is [L, B, F]
    if not torch.is_autocast_enabled(sequence.device.type):  # the state may be in half precision from autocast
        sequence, *parts = (tensor.to(next(module.parameters()).dtype) for tensor in (sequence, *parts))
    directions = 2 if module.bidirectional else 1
    finals: list[tuple[Tensor, ...]] = []
    for layer in range(module.num_layers):
        if layer and module.dropout and module.training:
            sequence = nn.functional.dropout(sequence, module.dropout)
        outputs = []
        for direction in range(directions):
            place = layer * directions + direction
            start = tuple(part[place] for part in parts)
            output, final = _run_layer(module, layer, bool(direction), sequence, start, observe)
            outputs.append(output)
            finals.append(final)
        sequence = torch.cat(outputs, dim=-1)
    states = tuple(torch.stack(part) for part in zip(*finals, strict=True))
    if unbatched:
        sequence, states = sequence.squeeze(1), tuple(part.squeeze(1) for part in states)
    elif module.batch_first:
        sequence = sequence.transpose(0, 1)
    return sequence, (states[0], states[1]) if isinstance(module, nn.LSTM) else states[0]


def why_fused(module: nn.RNNBase, inputs: Any) -> str:
    """Say why the layer cannot run step by step on these inputs, as a clause; empty if it can.

    Example::

        >>> why_fused(nn.LSTM(3, 8, proj_size=2), torch.zeros(5, 2, 3))
        'it has a proj_size'

    """
    if module.proj_size:
        return "it has a proj_size"
    if not isinstance(inputs, Tensor):
        return "it was given a packed sequence"
    if not isinstance(vars(module).get("forward"), _Stepwise | None) or not _computes_as_base(type(module)):
        return "it has its own forward"
    return ""


@contextmanager
def unrolled(model: nn.Module, observe: Callable[[str, RecurrentStep], None]) -> Iterator[list[str]]:
    """Run every ``nn.LSTM``, ``nn.GRU`` and ``nn.RNN`` of ``model`` step by step within this context.

    A layer for which `why_fused` gives a reason runs fused and unobserved: one with ``proj_size``, one called with a
    packed sequence, and a subclass with its own ``forward`` unless that class declares ``computes_as_base = True``.

    It replaces ``forward`` on the instances, because torch has no hook inside the fused call. Tested with torch 2.13.0.

    Args:
        model: Any module.
        observe: Called with the layer's name and each of its steps.

    Yields:
        Names of the layers that run step by step.

    """
    recurrent = {name: module for name, module in model.named_modules() if isinstance(module, nn.RNNBase)}
    layers = {name: module for name, module in recurrent.items() if not why_fused(module, torch.empty(0))}
    for name, module in layers.items():
        module.forward = _Stepwise(name, module, observe)
    try:
        yield list(layers)
    finally:
        for module in layers.values():
            del module.forward


class _Stepwise:
    """Replaces a layer's ``forward`` within `unrolled`; packed sequences still run fused."""

    def __init__(self, name: str, module: nn.RNNBase, observe: Callable[[str, RecurrentStep], None]) -> None:
        self.name, self.module, self.observe, self.fused = name, module, observe, module.forward

    def __call__(self, input: Any, hx: State | None = None) -> Any:  # noqa: A002 - torch's own names
        if why_fused(self.module, input):
            return self.fused(input, hx)
        return unrolled_recurrence(self.module, input, hx, lambda step: self.observe(self.name, step))


def _computes_as_base(kind: type) -> bool:
    """Whether the class uses torch's ``forward``, or declares that its own computes the same values."""
    owner = next(base for base in kind.__mro__ if "forward" in vars(base))
    return owner in (nn.LSTM, nn.GRU, nn.RNN) or bool(vars(owner).get("computes_as_base"))


def _initial(module: nn.RNNBase, sequence: Tensor, state: State | None, unbatched: bool) -> list[Tensor]:
    """Initial states ``[layers x directions, B, H]``: hidden, and cell for LSTM."""
    if state is not None:
        parts = state if isinstance(state, tuple) else (state,)
        return [part.unsqueeze(1) for part in parts] if unbatched else list(parts)
    shape = (module.num_layers * (2 if module.bidirectional else 1), sequence.shape[1], module.hidden_size)
    return [sequence.new_zeros(shape) for _ in range(2 if isinstance(module, nn.LSTM) else 1)]


def _run_layer(
    module: nn.RNNBase, layer: int, reverse: bool, sequence: Tensor, start: tuple[Tensor, ...], observe: Observer | None
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Run one layer in one direction over ``[L, B, F]``; returns its output ``[L, B, H]`` and its final state."""
    suffix = f"_l{layer}" + ("_reverse" if reverse else "")
    weight_ih, weight_hh = getattr(module, f"weight_ih{suffix}"), getattr(module, f"weight_hh{suffix}")
    bias_ih = getattr(module, f"bias_ih{suffix}") if module.bias else None
    bias_hh = getattr(module, f"bias_hh{suffix}") if module.bias else None
    step = _STEPS[module.mode]
    hidden, cell = start[0], start[1] if len(start) > 1 else None
    outputs: dict[int, Tensor] = {}
    times = range(len(sequence))
    for time in reversed(times) if reverse else times:
        from_input = nn.functional.linear(sequence[time], weight_ih, bias_ih)
        from_hidden = nn.functional.linear(hidden, weight_hh, bias_hh)
        gates, hidden, cell = step(from_input, from_hidden, hidden, cell)
        outputs[time] = hidden
        if observe is not None:
            observe(RecurrentStep(layer, reverse, time, sequence[time], gates, hidden, cell))
    stacked = torch.stack([outputs[time] for time in times])
    return stacked, (hidden,) if cell is None else (hidden, cell)


def _lstm_step(
    from_input: Tensor, from_hidden: Tensor, hidden: Tensor, cell: Tensor | None
) -> tuple[Tensor, Tensor, Tensor | None]:
    assert cell is not None  # noqa: S101 - an LSTM's state has two parts
    gates = from_input + from_hidden
    enter, forget, new, leave = gates.chunk(4, dim=-1)
    cell = forget.sigmoid() * cell + enter.sigmoid() * new.tanh()
    return gates, leave.sigmoid() * cell.tanh(), cell


def _gru_step(
    from_input: Tensor, from_hidden: Tensor, hidden: Tensor, cell: Tensor | None
) -> tuple[Tensor, Tensor, Tensor | None]:
    reset_i, update_i, new_i = from_input.chunk(3, dim=-1)
    reset_h, update_h, new_h = from_hidden.chunk(3, dim=-1)
    reset, update = reset_i + reset_h, update_i + update_h
    new = new_i + reset.sigmoid() * new_h
    candidate = new.tanh()
    hidden = candidate + update.sigmoid() * (hidden - candidate)
    return torch.cat([reset, update, new], dim=-1), hidden, None


def _rnn_step(activation: Callable[[Tensor], Tensor]) -> Callable[..., tuple[Tensor, Tensor, Tensor | None]]:
    def step(
        from_input: Tensor, from_hidden: Tensor, hidden: Tensor, cell: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        gates = from_input + from_hidden
        return gates, activation(gates), None

    return step


_STEPS: dict[str, Callable[..., tuple[Tensor, Tensor, Tensor | None]]] = {
    "LSTM": _lstm_step,
    "GRU": _gru_step,
    "RNN_TANH": _rnn_step(torch.tanh),
    "RNN_RELU": _rnn_step(torch.relu),
}
