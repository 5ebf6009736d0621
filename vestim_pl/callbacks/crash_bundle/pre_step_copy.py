"""Weights and optimizer moments as they were before the last update."""

from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from vestim_pl.callbacks.crash_bundle.class_import import class_path
from vestim_pl.callbacks.crash_bundle.plain_data import to_plain
from vestim_pl.lightning_support.tensor_copies import TensorCopies

__all__ = ["PreStepCopy", "load_optimizer_state"]


class PreStepCopy:
    """Keeps a copy of parameters and optimizer state, on their device, in memory allocated once.

    After an update that went wrong the weights that it started from are gone; this is where they are. Costs one more
    copy of both in memory, and a copy of both a step.

    Example::

        >>> import torch
        >>> layer = nn.Linear(1, 1)
        >>> copy = PreStepCopy(layer, torch.optim.SGD(layer.parameters(), lr=0.1))
        >>> copy.save()
        >>> _ = nn.init.zeros_(layer.weight)
        >>> bool(copy.parameters()["weight"] == 0)
        False

    """

    def __init__(self, module: nn.Module, optimizer: Optimizer) -> None:
        self._names: dict[Tensor, str] = {parameter: name for name, parameter in module.named_parameters()}
        self._optimizer = optimizer
        self._copies = TensorCopies()
        self._state: list[tuple[Tensor, dict[str, Any]]] = []  # of the optimizer; what is a tensor is copied
        self._groups: list[dict[str, Any]] = []

    def save(self) -> None:
        """Copy everything as it is now."""
        self._state = [(parameter, state.copy()) for parameter, state in self._optimizer.state.items()]
        values = [value for _, state in self._state for value in state.values() if isinstance(value, Tensor)]
        self._copies.save([*self._names, *values])
        self._groups = [group.copy() for group in self._optimizer.param_groups]

    def parameters(self) -> dict[str, Tensor]:
        """Parameters by name, as copied."""
        return dict(zip(self._names.values(), self._copies.tensors, strict=False))

    def moments(self) -> list[tuple[str, str, Tensor]]:
        """Parameter, name and tensor of the optimizer's state, as copied."""
        return [entry for entry in self._entries() if isinstance(entry[2], Tensor)]

    def optimizer_state(self) -> dict[str, Any]:
        """Class, groups and state of the optimizer as copied, by parameter names and in plain types."""
        state: dict[str, dict[str, Any]] = {}
        for name, key, value in self._entries():
            state.setdefault(name, {})[key] = value
        owned = [[self._names.get(p, "") for p in group["params"]] for group in self._optimizer.param_groups]
        groups = [to_plain(group | {"params": names}) for group, names in zip(self._groups, owned, strict=True)]
        return {"class": class_path(type(self._optimizer)), "groups": groups, "state": to_plain(state)}

    def _entries(self) -> Iterator[tuple[str, str, Any]]:
        """Name of the parameter, key and value of the optimizer's state, of the module's own parameters."""
        copies = iter(self._copies.tensors[len(self._names) :])
        for parameter, state in self._state:
            for key, value in state.items():
                copied = next(copies) if isinstance(value, Tensor) else value
                if parameter in self._names:
                    yield self._names[parameter], key, copied


def load_optimizer_state(optimizer: Optimizer, module: nn.Module, state: dict[str, dict[str, Any]]) -> None:
    """Give an optimizer the state that `optimizer_state` described, by parameter names."""
    for name, parameter in module.named_parameters():
        if name in state:
            optimizer.state[parameter] = {
                key: value.clone() if isinstance(value, Tensor) else value for key, value in state[name].items()
            }
