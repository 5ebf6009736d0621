"""Voltage of an equivalent circuit whose elements depend on the state of charge."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from vestim_pl.functional.errors import ConfigurationError
from vestim_pl.networks.initialization import initialize_linear
from vestim_pl.networks.options import check_hidden_sizes

__all__ = ["EquivalentCircuit"]


class EquivalentCircuit(nn.Module):
    r"""Open-circuit voltage and resistances as functions of the state of charge, learned.

    .. math:: v = U(s) + \sum_k R_k(s)\, x_k

    with the state of charge :math:`s` and every other input but the temperature as :math:`x_k`: the current, and
    voltages over :class:`~vestim_pl.networks.rc_pairs.RCPairs`, in which the temperature is already. A multilayer
    perceptron (tanh) of the state of charge alone gives :math:`U` and :math:`R_k`. What the circuit cannot express,
    such as a cell that answers a large current with less than twice the voltage of half of it, is left to the memory
    beside it.

    Args:
        inputs: Names of the inputs, F of them.
        sizes: Sizes of the perceptron's hidden layers.
        state_of_charge: Name of the state of charge's column.
        temperature: Name of the temperature's column, if there is one.

    Shape:
        inputs ``[B, L, F]``, scaled; output ``[B, L]``, scaled.

    Raises:
        ConfigurationError: If a size is not positive, or the state of charge is not among the inputs.

    Example::

        >>> circuit = EquivalentCircuit(["SOC", "Current", "Temp", "RC pair of 50 steps"], [8])
        >>> inputs = torch.rand(1, 3, 4)
        >>> voltage = circuit(inputs)
        >>> inputs[..., 2] += 5.0  # the temperature
        >>> voltage.shape, torch.equal(circuit(inputs), voltage)
        (torch.Size([1, 3]), True)

    """

    def __init__(
        self,
        inputs: Sequence[str],
        sizes: Sequence[int] = (24, 24),
        state_of_charge: str = "SOC",
        temperature: str = "Temp",
    ) -> None:
        super().__init__()
        names = list(inputs)
        if state_of_charge not in names:
            raise ConfigurationError(
                f"network.circuit.state_of_charge: {state_of_charge!r} is not among the inputs ({', '.join(names)});"
                " add it to data.features, or do without a circuit: network.circuit=null"
            )
        self._state_of_charge = names.index(state_of_charge)
        self._driving = [k for k, name in enumerate(names) if name not in (state_of_charge, temperature)]
        widths = (1, *check_hidden_sizes(sizes, "circuit.sizes"))
        layers: list[nn.Module] = []
        for width, size in pairwise(widths):
            layers += [nn.Linear(width, size), nn.Tanh()]
        self.elements = nn.Sequential(*layers, nn.Linear(widths[-1], 1 + len(self._driving)))
        for layer in self.elements:
            if isinstance(layer, nn.Linear):
                initialize_linear(layer)

    def forward(self, inputs: Tensor) -> Tensor:
        """Voltage of every step."""
        elements = self.elements(inputs[..., self._state_of_charge, None])
        driving = torch.stack([inputs[..., k] for k in self._driving], dim=-1) if self._driving else inputs[..., :0]
        voltage: Tensor = elements[..., 0] + (elements[..., 1:] * driving).sum(-1)
        return voltage
