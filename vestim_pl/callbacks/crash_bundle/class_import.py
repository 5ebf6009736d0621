"""Import classes that a file names, only if that is safe or the user allows it."""

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from vestim_pl.errors import ConfigurationError
from vestim_pl.lightning_support.lightning_classes import with_twin

__all__ = ["class_path", "import_any", "import_named"]

TRUSTED = ("vestim_pl.", "torch.optim.")
"""Packages whose classes a file may name without ``--trust``."""


def class_path(kind: type) -> str:
    """Import path of a class as ``module:Name``, or ``/path/of/script.py:Name`` for one in the running script."""
    module = "pathlib" if kind.__module__.startswith("pathlib") else kind.__module__
    script = getattr(sys.modules.get(module), "__file__", None)
    if module == "__main__" and script:
        module = str(Path(script).resolve())
    return f"{module}:{kind.__qualname__}"


def import_named(path: str, base: type, trust: bool = False) -> Any:
    """Import the class at ``module:Name`` if that is allowed.

    An import runs the module's code, and a call of the class runs more. Unless the user trusts the file, it must be a
    class, derived from ``base`` (or its twin in the other Lightning package) and defined in a `TRUSTED` package.
    ``vestim_pl.app.command:os.system`` begins with a trusted name but is neither.

    Raises:
        ConfigurationError: If the path is not trusted, or there is no such class.

    Example::

        >>> import torch
        >>> import_named("torch.optim.adam:Adam", torch.optim.Optimizer).__name__
        'Adam'
        >>> import_named("os:system", object)
        Traceback (most recent call last):
        ...
        vestim_pl.errors.ConfigurationError: os:system: a bundle may name only classes of vestim_pl and torch.optim;
        pass --trust if you trust the bundle and its code

    """
    refusal = ConfigurationError(
        f"{path}: a bundle may name only classes of vestim_pl and torch.optim; pass --trust if you trust the bundle and"
        " its code"
    )
    if not trust and not _is_trusted(path.rpartition(":")[0]):
        raise refusal
    found = import_any(path)
    if not (isinstance(found, type) and issubclass(found, with_twin(base))):
        if not trust:
            raise refusal
        raise ConfigurationError(f"{path}: is {found!r}, not a {base.__name__}")
    if not trust and not _is_trusted(found.__module__):
        raise refusal
    return found


def import_any(path: str) -> Any:
    """Import ``module:name`` without any check; for paths that the user typed, never for those from a file.

    The module may be a file, as in ``train.py:build``. It runs under another name than ``__main__``, which leaves out
    the code under ``if __name__ == "__main__"``.

    Raises:
        ConfigurationError: If the import fails.

    """
    module, _, name = path.rpartition(":")
    if module == "__main__":
        raise ConfigurationError(
            f"{path}: was defined in a notebook or at a prompt and cannot be imported; put the class into a file, or"
            " pass --factory module:function"
        )
    try:
        found: Any = _import_file(Path(module)) if module.endswith(".py") else importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except Exception as error:  # the script runs and may raise anything
        raise ConfigurationError(
            f"{path}: cannot be imported here ({error}); install the project, run from its folder, or pass --factory"
        ) from error
    return found


def _import_file(path: Path) -> ModuleType:
    """Run a script once as a module that can import the modules beside it."""
    name = f"script_{path.stem}"
    known = sys.modules.get(name)
    if known is not None and known.__file__ == str(path):
        return known
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    sys.path.insert(0, str(path.parent))
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _is_trusted(module: str) -> bool:
    return f"{module}.".startswith(TRUSTED) and not module.endswith(".py")
