"""Nested data in types that ``torch.load(weights_only=True)`` reads, and back."""

import importlib
from collections import namedtuple
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vestim_pl.callbacks.crash_bundle.class_import import class_path, import_named
from vestim_pl.errors import ConfigurationError
from vestim_pl.lightning_support.module_state import is_omegaconf

__all__ = ["from_plain", "is_complete", "plain_entries", "plain_tensor", "to_plain"]

_KIND = "__kind__"
_AS_IS = (type(None), bool, int, float, str, torch.dtype, torch.device)


def to_plain(value: Any) -> Any:
    """Convert nested data to what ``torch.load(weights_only=True)`` reads: tensors, numbers, strings and containers.

    Torch writes anything but reads only the types that it knows. A batch is often a named tuple, and hyperparameters
    are often containers of OmegaConf; it refuses both. So a dictionary with the key ``__kind__`` describes named
    tuples, sets, containers of OmegaConf, and dictionaries with unusual keys. Tensors lose their graph and their
    subclass. Any other object becomes its ``repr``, so that a file can always be written; see `is_complete`.

    Example::

        >>> to_plain((1, [2.0], {3}))
        (1, [2.0], {'__kind__': 'set', 'items': [3]})
        >>> from_plain(to_plain((1, [2.0], {3})))
        (1, [2.0], {3})

    """
    if isinstance(value, Tensor):
        return plain_tensor(value)
    if type(value) in _AS_IS:
        return value
    if is_omegaconf(value):
        return _plain_config(value)
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        items = [to_plain(item) for item in value]
        return {_KIND: "namedtuple", "class": class_path(type(value)), "fields": list(value._fields), "items": items}
    if isinstance(value, list | tuple):
        items = [to_plain(item) for item in value]
        return items if isinstance(value, list) else tuple(items)
    if isinstance(value, Mapping):
        if _KIND not in value and all(type(key) in _AS_IS for key in value):
            return {key: to_plain(item) for key, item in value.items()}
        return {_KIND: "dict", "items": [[to_plain(key), to_plain(item)] for key, item in value.items()]}
    return _describe(value)


def from_plain(value: Any, trust: bool = False) -> Any:
    """Rebuild what `to_plain` converted.

    A named tuple gets its own class back if that may be imported (see `import_named`), else a new one with the same
    name and fields. ``trust`` imports any class that the data name.
    """
    if isinstance(value, list | tuple):
        parts = [from_plain(item, trust) for item in value]
        return parts if isinstance(value, list) else tuple(parts)
    if not isinstance(value, dict):
        return value
    if _KIND not in value:
        return {key: from_plain(item, trust) for key, item in value.items()}
    kind, items = value[_KIND], from_plain(value.get("items", []), trust)
    if kind == "config":
        return importlib.import_module("omegaconf").OmegaConf.create(items)
    if kind == "namedtuple":
        return _named_tuple(value["class"], value["fields"], trust)(*items)
    if kind in ("dict", "set", "frozenset"):
        return {"dict": dict, "set": set, "frozenset": frozenset}[kind](items)
    return value["repr"]


def is_complete(value: Any) -> bool:
    """Whether `from_plain` gives everything back.

    Example::

        >>> is_complete(to_plain([1, (2, None)])), is_complete(to_plain([object()]))
        (True, False)

    """
    if isinstance(value, list | tuple):
        return all(map(is_complete, value))
    if isinstance(value, dict):
        return value.get(_KIND) != "opaque" and all(map(is_complete, value.values()))
    return True


def plain_entries(value: dict[Any, Any]) -> dict[Any, Any] | None:
    """The entries of a mapping that `to_plain` converted, each still plain; None if it could not be saved."""
    if _KIND not in value:
        return value
    return dict(value["items"]) if "items" in value else None


def plain_tensor(value: Tensor) -> Tensor:
    """The tensor without its graph and without its subclass, which ``weights_only=True`` would refuse."""
    detached = value.detach()
    return detached if type(detached) is Tensor else detached.as_subclass(Tensor)


def _describe(value: Any) -> Any:
    for kind in (str, bool, int, float):  # a subclass, such as numpy's float64 or a StrEnum
        if isinstance(value, kind):
            return kind(value)
    if isinstance(value, set | frozenset):
        return {_KIND: "set" if isinstance(value, set) else "frozenset", "items": [to_plain(item) for item in value]}
    return str(value) if isinstance(value, Path) else {_KIND: "opaque", "repr": repr(value)[:200]}


def _plain_config(value: Any) -> Any:
    omegaconf = importlib.import_module("omegaconf")
    try:
        plain = to_plain(omegaconf.OmegaConf.to_container(value, resolve=True))
    except omegaconf.errors.OmegaConfBaseException:  # an interpolation that does not resolve
        return {_KIND: "opaque", "repr": repr(value)[:200]}
    return None if plain is None else {_KIND: "config", "items": plain}


def _named_tuple(path: str, fields: list[str], trust: bool) -> Any:
    try:
        return import_named(path, tuple, trust)
    except ConfigurationError:
        return namedtuple(path.rpartition(":")[2].rpartition(".")[2], fields)  # noqa: PYI024 - fields known only now
