"""Classes by the name of their module or script, imported only where that is safe or asked for."""

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
"""Packages whose classes may be imported because a file names them."""


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
    class is taken, derived from ``base``, and defined within `TRUSTED` packages: ``vestim_pl.app.command:os.system``
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
        vestim_pl.errors.ConfigurationError: os:system: only classes of vestim_pl and torch.optim are
        imported because a bundle names them; pass --trust if you trust the bundle

    """
    refusal = ConfigurationError(
        f"{path}: only classes of vestim_pl and torch.optim are imported because a bundle names them; pass --trust if"
        " you trust the bundle"
    )
    if not trust and not _is_trusted(path.rpartition(":")[0]):
        raise refusal
    found = import_any(path)
    if not (isinstance(found, type) and issubclass(found, with_twin(base))):
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


def _is_trusted(module: str) -> bool:
    return f"{module}.".startswith(TRUSTED) and not module.endswith(".py")
