"""Tensors in nested containers and in modules, and copies of them."""

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from operator import is_
from typing import Any

import torch
from lightning_utilities.core.apply_func import apply_to_collection
from torch import Tensor
from torch.nn import Module

__all__ = [
    "BufferCopy",
    "Buffers",
    "TensorCopies",
    "buffer_dicts",
    "copy_tensors",
    "named_tensors",
    "put_buffer",
    "tensors_in",
]


def named_tensors(data: Any, name: str = "", *, attributes: bool = False) -> list[tuple[str, Tensor]]:
    """List the tensors of a nested container with their paths, such as ``inputs`` or ``0.target``.

    Mappings, tuples, named tuples, lists and dataclasses are searched, and with ``attributes`` the attributes of other
    objects; anything else is skipped. A lone tensor is called ``tensor``. ``name`` is the prefix of the paths. Pytree
    knows no dataclasses, and names paths in another way.

    Example::

        >>> [name for name, _ in named_tensors({"x": torch.zeros(1), "rest": [torch.zeros(1), 3]})]
        ['x', 'rest.0']

    """
    found: list[tuple[str, Tensor]] = []
    pending, seen = [(name, data)], {id(data): data}  # objects may refer to one another
    while pending:
        path, item = pending.pop()
        if isinstance(item, Tensor):
            found.append((path or "tensor", item))
            continue
        inner = []
        for key, value in _items(item, attributes):
            if isinstance(value, Tensor) or id(value) not in seen:
                seen[id(value)] = value
                inner.append((f"{path}.{key}" if path else str(key), value))
        pending += reversed(inner)
    return found


def _items(data: Any, attributes: bool) -> list[tuple[Any, Any]]:
    if isinstance(data, Mapping):
        return list(data.items())
    if isinstance(data, tuple | list):
        return list(zip(getattr(data, "_fields", range(len(data))), data, strict=True))
    if is_dataclass(data) and not isinstance(data, type):
        return [(field.name, getattr(data, field.name)) for field in fields(data)]
    return list(vars(data).items()) if attributes and hasattr(data, "__dict__") else []


def tensors_in(data: Any) -> list[Tensor]:
    """List the tensors of a nested container."""
    return [tensor for _, tensor in named_tensors(data)]


def copy_tensors(data: Any) -> Any:
    """Copy a nested container, with every tensor cloned and detached from its graph."""
    if isinstance(data, Tensor):
        return data.detach().clone()
    # Callbacks copy at every step. For the plain types this is ten times as fast as ``apply_to_collection``.
    kind = type(data)
    if kind is dict:
        return {key: copy_tensors(value) for key, value in data.items()}
    if kind is list or kind is tuple:
        return kind([copy_tensors(value) for value in data])
    if data is None or kind in (bool, int, float, str):
        return data
    return apply_to_collection(data, Tensor, lambda tensor: tensor.detach().clone())


class TensorCopies:
    """Copies a list of tensors on their devices, into memory that is reused as long as the tensors stay the same.

    Example::

        >>> live = [torch.zeros(1), torch.zeros(2)]
        >>> copies = TensorCopies()
        >>> copies.save(live)
        >>> _ = live[0].fill_(5.0)
        >>> copies.tensors
        [tensor([0.]), tensor([0., 0.])]

    """

    def __init__(self) -> None:
        self.tensors: list[Tensor] = []
        self._live: list[Tensor] = []
        self._shapes: list[torch.Size] = []

    def save(self, live: list[Tensor]) -> None:
        shapes = list(map(Tensor.size, live))  # ``.data = ...`` changes the shape of the same tensor
        if shapes != self._shapes or not all(map(is_, live, self._live)):
            self.tensors = [tensor.detach().clone() for tensor in live]
            self._live, self._shapes = list(live), shapes
        elif live:
            with torch.set_grad_enabled(False):  # the same as ``no_grad`` in half the time
                torch._foreach_copy_(self.tensors, live)  # private: one kernel for all copies; torch 2.13.0


Buffers = dict[str, Tensor | None]


def buffer_dicts(module: Module) -> list[tuple[str, Buffers]]:
    """List where a module and its submodules keep their buffers, each with the prefix of the names.

    ``named_buffers`` walks through all submodules, which takes longer than a callback's check. The dictionaries stay
    the same, so they can be collected once and show buffers that were replaced or registered since. They are private
    state of torch. Tested with torch 2.13.0.

    Example::

        >>> [(prefix, list(buffers)) for prefix, buffers in buffer_dicts(torch.nn.Sequential(torch.nn.BatchNorm1d(1)))]
        [('', []), ('0.', ['running_mean', 'running_var', 'num_batches_tracked'])]

    """
    return [(f"{path}." if path else "", owner._buffers) for path, owner in module.named_modules()]


def put_buffer(buffers: Buffers, name: str, value: Tensor | None) -> None:
    """Write a value into a buffer, in place if it has the same shape, else by replacing the buffer."""
    current = buffers.get(name)
    if value is not None and current is not None and current.shape == value.shape:
        current.copy_(value)
    else:
        buffers[name] = value


class BufferCopy:
    """Copies the buffers of a module into memory that is allocated once, and restores them.

    A batch with a NaN spoils more than gradients: the running statistics of a BatchNorm stay NaN, because no optimizer
    changes them. Buffers are followed by name, so that a replaced buffer is restored too.

    Example::

        >>> norm = torch.nn.BatchNorm1d(1)
        >>> copy = BufferCopy(norm)
        >>> copy.save()
        >>> _ = norm(torch.tensor([[1.0], [float("nan")]]))
        >>> copy.restore()
        >>> norm.running_mean.item()
        0.0

    """

    def __init__(self, module: Module) -> None:
        self._places = [(prefix + name, buffers, name) for prefix, buffers in buffer_dicts(module) for name in buffers]
        self._saved: list[Tensor | None] = []
        self._copies = TensorCopies()

    def save(self) -> None:
        self._saved = [buffers.get(name) for _, buffers, name in self._places]
        self._copies.save([buffer for buffer in self._saved if buffer is not None])

    def named(self) -> dict[str, Tensor]:
        """The copies by the names of the buffers."""
        return {path: copy for (path, _, _), copy in self._copied() if copy is not None}

    @torch.no_grad()
    def restore(self) -> None:
        for (_, buffers, name), copy in self._copied():
            put_buffer(buffers, name, None if copy is None else copy.clone())

    def _copied(self) -> Iterator[tuple[tuple[str, Buffers, str], Tensor | None]]:
        copies = iter(self._copies.tensors)
        for place, saved in zip(self._places, self._saved, strict=False):
            yield place, None if saved is None else next(copies)
