"""Nested containers as plain dictionaries, lists, numbers and tensors, and back: nothing to unpickle."""

import importlib
import importlib.util
import sys
from collections import namedtuple
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from torch import Tensor

from vestim_pl.functional.errors import ConfigurationError

__all__ = ["class_path", "from_plain", "import_any", "import_named", "is_complete", "to_plain"]

TRUSTED = ("vestim_pl.", "torch.optim.")
"""Packages whose classes may be imported because a file names them."""

_KIND = "__kind__"
_COLLECTIONS: dict[str, Any] = {"tuple": tuple, "set": set, "frozenset": frozenset}


def to_plain(value: Any) -> Any:
    """Describe nested tuples, named tuples, lists and mappings of tensors and numbers in plain types.

    Tensors are kept as they are, cut off their graph and of no subclass; sets and OmegaConf's containers come back too.
    What is none of these becomes its ``repr``, marked as such, so that a file can always be written;
    :func:`is_complete` tells.

    Example::

        >>> to_plain((1, [2.0]))
        {'__kind__': 'tuple', 'items': [1, [2.0]]}
        >>> from_plain(to_plain((1, [2.0])))
        (1, [2.0])

    """
    if isinstance(value, Tensor):
        return value.detach().as_subclass(Tensor)
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
    """Rebuild what :func:`to_plain` described.

    A named tuple gets its own class back where that may be imported (see :func:`import_named`), else one of the same
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
    """Whether :func:`from_plain` gives all of it back.

    Example::

        >>> is_complete(to_plain([1, (2, None)])), is_complete(to_plain([object()]))
        (True, False)

    """
    if isinstance(value, list):
        return all(is_complete(item) for item in value)
    if isinstance(value, dict):
        return value[_KIND] != "opaque" and is_complete(value.get("items", []))
    return True


def class_path(kind: type) -> str:
    """Where a class is imported from, as ``module:Name``; for one of the script that runs, ``/path/of/script.py:Name``.

    Example::

        >>> class_path(Path)
        'pathlib:Path'

    """
    module = "pathlib" if kind.__module__.startswith("pathlib") else kind.__module__
    script = getattr(sys.modules.get(module), "__file__", None)
    if module == "__main__" and script:
        module = str(Path(script).resolve())
    return f"{module}:{kind.__qualname__}"


def import_named(path: str, base: type, trust: bool = False) -> Any:
    """Import the class that ``module:Name`` says, if that may be done.

    Importing runs the module's code, and calling what was found runs more. So unless the user trusts the file, only a
    class is taken, derived from ``base``, and defined within :data:`TRUSTED` packages: ``vestim_pl.command:os.system``
    begins with a trusted name and is neither.

    Args:
        path: Where the class is.
        base: What it must be derived from.
        trust: Import whatever is named.

    Raises:
        ConfigurationError: If the path is not trusted, or leads nowhere.

    Example::

        >>> import torch
        >>> import_named("torch.optim.adam:Adam", torch.optim.Optimizer).__name__
        'Adam'
        >>> import_named("os:system", object)
        Traceback (most recent call last):
        ...
        vestim_pl.functional.errors.ConfigurationError: os:system: only classes of vestim_pl and torch.optim are
        imported because a bundle names them; pass --trust if you trust the bundle

    """
    refusal = ConfigurationError(
        f"{path}: only classes of vestim_pl and torch.optim are imported because a bundle names them; pass --trust if"
        " you trust the bundle"
    )
    if not trust and not _is_trusted(path.rpartition(":")[0]):
        raise refusal
    found = import_any(path)
    if not (isinstance(found, type) and issubclass(found, base)):
        if not trust:
            raise refusal
        raise ConfigurationError(f"{path}: is no {base.__name__} but {found!r}")
    if not trust and not _is_trusted(found.__module__):
        raise refusal
    return found


def import_any(path: str) -> Any:
    """Import whatever ``module:name`` says; for paths that the user wrote, never for those out of a file.

    A module may be a file, ``train.py:build``: it is run as a module of another name than ``__main__``, so what stands
    under ``if __name__ == "__main__"`` does not run.

    Raises:
        ConfigurationError: If the path leads nowhere.

    """
    module, _, name = path.rpartition(":")
    if module == "__main__":
        raise ConfigurationError(
            f"{path}: was defined in a notebook or at a prompt, where it cannot be imported from; put the class into a"
            " file, or pass --factory module:function"
        )
    try:
        found: Any = _import_file(Path(module)) if module.endswith(".py") else importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except Exception as error:  # a script runs, and may raise anything
        raise ConfigurationError(
            f"{path}: cannot be imported here ({error}); install the project, run from its folder, or pass --factory"
        ) from error
    return found


def _plain_config(value: DictConfig | ListConfig) -> Any:
    try:
        plain = to_plain(OmegaConf.to_container(value, resolve=True))
    except OmegaConfBaseException:  # an interpolation that leads nowhere
        return {_KIND: "opaque", "repr": repr(value)[:200]}
    if plain is None:
        return None
    return {_KIND: "config list", "items": plain} if isinstance(plain, list) else plain | {_KIND: "config"}


def _import_file(path: Path) -> ModuleType:
    """A script as a module, run once; the modules beside it are found as when it was run."""
    name = f"script_{path.stem}"
    known = sys.modules.get(name)
    if known is not None and known.__file__ == str(path):
        return known
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    sys.path.insert(0, str(path.parent))
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _named_tuple(path: str, fields: list[str], trust: bool) -> Any:
    try:
        return import_named(path, tuple, trust)
    except ConfigurationError:
        return namedtuple(path.rpartition(":")[2].rpartition(".")[2], fields)  # noqa: PYI024 - known at run time only


def _is_trusted(module: str) -> bool:
    return f"{module}.".startswith(TRUSTED) and not module.endswith(".py")


def _base(value: Any) -> Any:
    """Number or string of a subclass, such as numpy's float64 or a StrEnum, as the plain type."""
    return next(kind(value) for kind in (str, bool, int, float) if isinstance(value, kind))
