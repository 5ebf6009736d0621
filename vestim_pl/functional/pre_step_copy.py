"""Weights and optimizer moments as they were before the last update."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from vestim_pl.functional.plain_data import class_path, to_plain

__all__ = ["PreStepCopy", "load_optimizer_state"]


class PreStepCopy:
    """Keeps a copy of parameters and optimizer state, on their device, in memory allocated once.

    After an update that went wrong the weights that it started from are gone; this is where they are. Costs one more
    copy of both in memory, and a copy of both a step.

    Example::

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
        self._places: list[tuple[str, str]] = []
        self._copies: list[Tensor] = []
        self._numbers: dict[str, dict[str, Any]] = {}
        self._groups: list[dict[str, Any]] = []

    @torch.no_grad()
    def save(self) -> None:
        """Copy everything as it is now."""
        places, live = [("", name) for name in self._names.values()], list[Tensor](self._names)
        self._numbers = {}
        for parameter, state in self._optimizer.state.items():
            name = self._names.get(parameter)
            if name is None:
                continue
            for key, value in state.items():
                if isinstance(value, Tensor):
                    places.append((name, key))
                    live.append(value)
                else:
                    self._numbers.setdefault(name, {})[key] = value
        if places == self._places and [t.shape for t in self._copies] == [t.shape for t in live]:
            torch._foreach_copy_(self._copies, live)
        else:
            self._places, self._copies = places, [tensor.detach().clone() for tensor in live]
        self._groups = [
            {key: value for key, value in group.items() if key != "params"} for group in self._optimizer.param_groups
        ]

    def parameters(self) -> dict[str, Tensor]:
        """Parameters by name, as copied."""
        return {key: copy for (name, key), copy in zip(self._places, self._copies, strict=True) if not name}

    def moments(self) -> list[tuple[str, str, Tensor]]:
        """Parameter, name and tensor of the optimizer's state, as copied."""
        return [(name, key, copy) for (name, key), copy in zip(self._places, self._copies, strict=True) if name]

    def optimizer_state(self) -> dict[str, Any]:
        """Class, groups and state of the optimizer as copied, by parameter names and in plain types."""
        state: dict[str, dict[str, Any]] = {name: dict(numbers) for name, numbers in self._numbers.items()}
        for name, key, copy in self.moments():
            state.setdefault(name, {})[key] = copy
        owned = [[self._names.get(p, "") for p in group["params"]] for group in self._optimizer.param_groups]
        groups = [to_plain(group | {"params": names}) for group, names in zip(self._groups, owned, strict=True)]
        return {"class": class_path(type(self._optimizer)), "groups": groups, "state": to_plain(state)}


def load_optimizer_state(optimizer: Optimizer, module: nn.Module, state: dict[str, dict[str, Any]]) -> None:
    """Give an optimizer the state that :meth:`PreStepCopy.optimizer_state` described, by parameter names."""
    for name, parameter in module.named_parameters():
        if name in state:
            optimizer.state[parameter] = {
                key: value.clone() if isinstance(value, Tensor) else value for key, value in state[name].items()
            }
