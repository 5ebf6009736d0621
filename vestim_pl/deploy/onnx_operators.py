"""Replace recurrences by single ONNX operators, which take inputs of any length."""

import copy

import torch
from torch import Tensor, nn

from vestim_pl.networks.exponential_smoothing import ExponentialSmoothing
from vestim_pl.networks.network import State
from vestim_pl.networks.rc_pairs import RCPairs

__all__ = ["with_onnx_operators"]


def with_onnx_operators(module: nn.Module) -> nn.Module:
    """Copy a module with ONNX operators as recurrences; the copy can be exported but not run.

    ``torch.export`` unrolls a recurrent kernel on the CPU, which fixes the length; the exponential filter chooses its
    blocks by the length. In ONNX each is one operator: LSTM, GRU, and an RNN of one linear unit.

    Args:
        module: Any module; its ``nn.LSTM``, ``nn.GRU`` (one layer, one direction, batch first),
            `ExponentialSmoothing` and `RCPairs` are replaced.

    Raises:
        NotImplementedError: If a recurrent kernel has several layers, two directions or another layout.

    Example::

        >>> from vestim_pl.networks import build_network
        >>> network = with_onnx_operators(build_network({"name": "LSTM_EMA", "hidden_sizes": [8]}, features=3))
        >>> type(network.layers[0].kernel).__name__, type(network.output_filter).__name__
        ('_LSTM', '_Smoothing')

    """
    twin = copy.deepcopy(module)
    for parent in list(twin.modules()):
        for name, child in list(parent.named_children()):
            for kind, operator in _OPERATORS.items():
                if isinstance(child, kind):
                    setattr(parent, name, operator(child))
    return twin


class _Recurrence(nn.Module):
    """Weights in the layout and gate order of ONNX.

    Shape:
        weight ``[1, G * H, F]``, recurrence ``[1, G * H, H]``, bias ``[1, 2 * G * H]``, G gates.
    """

    weight: Tensor
    recurrence: Tensor
    bias: Tensor

    def __init__(self, kernel: nn.LSTM | nn.GRU, gates: tuple[int, ...]) -> None:
        super().__init__()
        if (kernel.num_layers, kernel.bidirectional, kernel.proj_size, kernel.batch_first) != (1, False, 0, True):
            raise NotImplementedError(f"{kernel} does not have one layer, one direction and batch first")
        self.hidden_size = kernel.hidden_size

        def ordered(tensor: Tensor) -> Tensor:
            parts = tensor.detach().chunk(len(gates))
            return torch.cat([parts[gate] for gate in gates])

        weight, recurrence, bias, recurrent_bias = kernel.all_weights[0]
        self.register_buffer("weight", ordered(weight).unsqueeze(0))
        self.register_buffer("recurrence", ordered(recurrence).unsqueeze(0))
        self.register_buffer("bias", torch.cat([ordered(bias), ordered(recurrent_bias)]).unsqueeze(0))

    def _run(self, operator: str, inputs: Tensor, state: State, **attributes: int) -> tuple[Tensor, State]:
        """Return outputs ``[B, L, H]`` and state ``[1, B, H]`` of an operator that takes ``[L, B, F]``."""
        batch, length, _ = inputs.shape
        shape = [1, batch, self.hidden_size]
        outputs = torch.onnx.ops.symbolic_multi_out(
            f"::{operator}",
            (inputs.transpose(0, 1), self.weight, self.recurrence, self.bias, None, *state),
            {"hidden_size": self.hidden_size, **attributes},
            dtypes=[inputs.dtype] * (1 + len(state)),
            shapes=[[length, *shape], *[shape] * len(state)],
        )
        return outputs[0].squeeze(1).transpose(0, 1), tuple(outputs[1:])


class _LSTM(_Recurrence):
    def __init__(self, kernel: nn.LSTM) -> None:
        super().__init__(kernel, gates=(0, 3, 1, 2))  # input, forget, cell, output to input, output, forget, cell

    def forward(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        return self._run("LSTM", inputs, state)


class _GRU(_Recurrence):
    def __init__(self, kernel: nn.GRU) -> None:
        super().__init__(kernel, gates=(1, 0, 2))  # reset, update, new to update, reset, new

    def forward(self, inputs: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        output, (hidden,) = self._run("GRU", inputs, (hidden,), linear_before_reset=1)
        return output, hidden


class _Smoothing(nn.Module):
    """The exponential filter as an RNN of one unit with a linear activation."""

    weight: Tensor
    recurrence: Tensor

    def __init__(self, smoothing: ExponentialSmoothing) -> None:
        super().__init__()
        alpha = smoothing.alpha.detach().view(1, 1, 1)
        self.register_buffer("weight", alpha)
        self.register_buffer("recurrence", 1 - alpha)

    def forward(self, signal: Tensor, state: State) -> tuple[Tensor, State]:
        level, started = state
        initial = torch.where(started > 0, level, signal[:, 0])
        batch, length = signal.shape
        smooth, last = torch.onnx.ops.symbolic_multi_out(
            "::RNN",
            (signal.T.unsqueeze(-1), self.weight, self.recurrence, None, None, initial.view(1, batch, 1)),
            {"hidden_size": 1, "activations": ["Affine"], "activation_alpha": [1.0], "activation_beta": [0.0]},
            dtypes=[signal.dtype] * 2,
            shapes=[[length, 1, batch, 1], [1, batch, 1]],
        )
        return smooth.view(length, batch).T, (last.view(batch), torch.ones_like(started))


class _RCPairs(nn.Module):
    """RC pairs as a GRU with one unconnected unit per pair; the update gate is the decay.

    The activations are linear, and ``h = (1 - z) n + z h_before`` with the decay ``z``.
    """

    weight: Tensor
    recurrence: Tensor

    def __init__(self, pairs: RCPairs) -> None:
        super().__init__()
        self.equations = pairs.equations
        count = len(pairs.time_constants)
        keep, drive, nothing = torch.eye(count, 2 * count), torch.eye(2 * count)[count:], torch.zeros(count, 2 * count)
        self.register_buffer("weight", torch.cat([keep, nothing, drive]).unsqueeze(0))  # update, reset, new
        self.register_buffer("recurrence", torch.zeros(1, 3 * count, count))

    def forward(self, inputs: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        log_decay, drive = self.equations(inputs)
        decay = log_decay.exp()
        batch, length, count = drive.shape
        voltages, last = torch.onnx.ops.symbolic_multi_out(
            "::GRU",
            (
                torch.cat([decay, drive / (1 - decay)], dim=-1).transpose(0, 1),
                self.weight,
                self.recurrence,
                None,
                None,
                state.unsqueeze(0),
            ),
            {
                "hidden_size": count,
                "activations": ["Affine", "Affine"],
                "activation_alpha": [1.0, 1.0],
                "activation_beta": [0.0, 0.0],
            },
            dtypes=[drive.dtype] * 2,
            shapes=[[length, 1, batch, count], [1, batch, count]],
        )
        return torch.cat([inputs, voltages.squeeze(1).transpose(0, 1)], dim=-1), last.squeeze(0)


_OPERATORS: dict[type[nn.Module], type[nn.Module]] = {
    nn.LSTM: _LSTM,
    nn.GRU: _GRU,
    ExponentialSmoothing: _Smoothing,
    RCPairs: _RCPairs,
}
