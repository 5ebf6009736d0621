"""Nested containers as plain dictionaries, lists, numbers and tensors, and back: nothing to unpickle."""

from collections import namedtuple
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from torch import Tensor

from vestim_pl.callbacks.crash_bundle.class_import import class_path, import_named
from vestim_pl.errors import ConfigurationError

__all__ = ["from_plain", "is_complete", "plain_tensor", "to_plain"]

_KIND = "__kind__"
_COLLECTIONS: dict[str, Any] = {"tuple": tuple, "set": set, "frozenset": frozenset}


def to_plain(value: Any) -> Any:
    """Describe nested tuples, named tuples, lists and mappings of tensors and numbers in plain types.

    Tensors are kept as they are, cut off their graph and of no subclass; sets and OmegaConf's containers come back too.
    What is none of these becomes its ``repr``, marked as such, so that a file can always be written;
    `is_complete` tells.

    Example::

        >>> to_plain((1, [2.0]))
        {'__kind__': 'tuple', 'items': [1, [2.0]]}
        >>> from_plain(to_plain((1, [2.0])))
        (1, [2.0])

    """
    if isinstance(value, Tensor):
        return plain_tensor(value)
    if value is None or isinstance(value, str | bool | int | float):
        return value if type(value) in (type(None), str, bool, int, float) else _base(value)
    if isinstance(value, DictConfig | ListConfig):
        return _plain_config(value)
    if isinstance(value, set | frozenset):
        return {_KIND: type(value).__name__, "items": [to_plain(item) for item in value]}
    if isinstance(value, Mapping):
        return {_KIND: "dict", "items": [[to_plain(key), to_plain(item)] for key, item in value.items()]}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        items = [to_plain(item) for item in value]
        return {_KIND: "namedtuple", "class": class_path(type(value)), "fields": list(value._fields), "items": items}
    if isinstance(value, tuple):
        return {_KIND: "tuple", "items": [to_plain(item) for item in value]}
    if isinstance(value, list):
        return [to_plain(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    return {_KIND: "opaque", "repr": repr(value)[:200]}


def from_plain(value: Any, trust: bool = False) -> Any:
    """Rebuild what `to_plain` described.

    A named tuple gets its own class back where that may be imported (see
    `import_named`), else one of the same
    name and fields.

    Args:
        value: Plain data.
        trust: Import any class that is named.

    """
    if isinstance(value, list):
        return [from_plain(item, trust) for item in value]
    if not isinstance(value, dict):
        return value
    kind, items = value[_KIND], value.get("items", [])
    if kind == "dict":
        return {from_plain(key, trust): from_plain(item, trust) for key, item in items}
    if kind == "config":
        return OmegaConf.create(from_plain(value | {_KIND: "dict"}, trust))
    if kind == "config list":
        return OmegaConf.create(from_plain(items, trust))
    if kind in _COLLECTIONS:
        return _COLLECTIONS[kind](from_plain(item, trust) for item in items)
    if kind == "namedtuple":
        return _named_tuple(value["class"], value["fields"], trust)(*(from_plain(item, trust) for item in items))
    return value["repr"]


def is_complete(value: Any) -> bool:
    """Whether `from_plain` gives all of it back.

    Example::

        >>> is_complete(to_plain([1, (2, None)])), is_complete(to_plain([object()]))
        (True, False)

    """
    if isinstance(value, list):
        return all(is_complete(item) for item in value)
    if isinstance(value, dict):
        return value[_KIND] != "opaque" and is_complete(value.get("items", []))
    return True


def plain_tensor(value: Tensor) -> Tensor:
    """The tensor without its graph, and as a plain one where it is of a subclass: else no file loads safely.

    Example::

        >>> import torch
        >>> type(plain_tensor(torch.nn.Parameter(torch.zeros(1)))).__name__
        'Tensor'

    """
    detached = value.detach()
    return detached if type(detached) is Tensor else detached.as_subclass(Tensor)


def _plain_config(value: DictConfig | ListConfig) -> Any:
    try:
        plain = to_plain(OmegaConf.to_container(value, resolve=True))
    except OmegaConfBaseException:  # an interpolation that leads nowhere
        return {_KIND: "opaque", "repr": repr(value)[:200]}
    if plain is None:
        return None
    return {_KIND: "config list", "items": plain} if isinstance(plain, list) else plain | {_KIND: "config"}


def _named_tuple(path: str, fields: list[str], trust: bool) -> Any:
    try:
        return import_named(path, tuple, trust)
    except ConfigurationError:
        return namedtuple(path.rpartition(":")[2].rpartition(".")[2], fields)  # noqa: PYI024 - known at run time only


def _base(value: Any) -> Any:
    """Number or string of a subclass, such as numpy's float64 or a StrEnum, as the plain type."""
    return next(kind(value) for kind in (str, bool, int, float) if isinstance(value, kind))
