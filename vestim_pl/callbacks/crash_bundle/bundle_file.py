"""The file of a crash bundle: tensors and plain types, loaded without running anything."""

import json
import os
import platform
from collections.abc import Iterable
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from itertools import chain, count
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vestim_pl.callbacks.crash_bundle.plain_data import plain_tensor
from vestim_pl.errors import ConfigurationError, printable
from vestim_pl.files import writing
from vestim_pl.lightning_support.event_lines import strict_json
from vestim_pl.lightning_support.nested_tensors import named_tensors
from vestim_pl.lightning_support.tensor_archive import UnusableFileError, read_archive

__all__ = ["free_path", "package_versions", "read_bundle", "tensor_megabytes", "write_bundle"]

FORMAT = 2
_GIVE = "give the .pt file of a crash bundle"


def write_bundle(path: Path, content: dict[str, Any], summary: dict[str, Any]) -> None:
    """Write ``path`` with everything, and a JSON file beside it with what a person reads.

    Both are there in the end or none is: they are written under other names first, and what is torn is removed.

    Args:
        path: The bundle, ending in ``.pt``.
        content: Nested dictionaries and lists of tensors, numbers and strings.
        summary: Nested data; what JSON does not know is written as text, numbers that are not finite as their names.

    Raises:
        FileError: If the folder cannot be written, the disk is full, and the like.

    """
    with writing(path):
        _write_both(path, content, summary)


def _write_both(path: Path, content: dict[str, Any], summary: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = strict_json(summary, indent=1)
    parts = {end: path.with_suffix(f"{end}.part") for end in (".pt", ".json")}
    try:
        torch.save({"format": FORMAT, "summary": json.loads(text), **_on_cpu(content)}, parts[".pt"])
        parts[".json"].write_text(f"{text}\n", encoding="utf-8")
        for end, part in parts.items():
            part.replace(path.with_suffix(end))
    except BaseException:
        for part in parts.values():
            with suppress(OSError):
                part.unlink()
        raise


def free_path(path: Path) -> Path:
    """The path, with a number from 2 on where a bundle of that name is there already.

    Example::

        >>> free_path(Path("no_such_folder/epoch_0000.pt")).name
        'epoch_0000.pt'

    """
    names = chain([path], (path.with_stem(f"{path.stem}-{number}") for number in count(2)))
    return next(name for name in names if not any(os.path.lexists(name.with_suffix(end)) for end in (".pt", ".json")))


def read_bundle(path: Path) -> dict[str, Any]:
    """Read a bundle: a file that is damaged, or that would run code when loaded, is refused.

    Raises:
        ConfigurationError: If there is no whole bundle of a known format; what is in it is checked by
            `replay_bundle`.

    """
    try:
        bundle = read_archive(path, "crash bundle", _GIVE)
        found = bundle.get("format") if isinstance(bundle, dict) else None
        if found != FORMAT:
            raise UnusableFileError(f"has format {found!s:.40} instead of {FORMAT}; {_GIVE}")
    except UnusableFileError as fault:
        raise ConfigurationError(f"{path}: {printable(str(fault))}") from None
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror or error}") from None
    return dict(bundle)


def tensor_megabytes(content: Any) -> float:
    """Size of all tensors in nested plain data, in MB (1e6 bytes).

    Example::

        >>> tensor_megabytes({"a": [torch.zeros(250_000)]})
        1.0

    """
    return sum(tensor.numel() * tensor.element_size() for _, tensor in named_tensors(content)) / 1e6


def package_versions(packages: Iterable[str] = ("torch", "lightning", "vestim_pl")) -> dict[str, str]:
    """Versions of Python and of packages, for the record.

    Example::

        >>> sorted(package_versions(["torch"]))
        ['platform', 'python', 'torch']

    """
    found = {"python": platform.python_version(), "platform": platform.platform()}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def _on_cpu(value: Any) -> Any:
    """Copy with every tensor on the CPU, of no subclass, in memory of its own: a view is saved with all of its base."""
    if isinstance(value, Tensor):
        copied = plain_tensor(value).to("cpu", copy=True)
        return copied.contiguous() if copied.layout is torch.strided else copied
    if isinstance(value, dict):
        return {key: _on_cpu(item) for key, item in value.items()}
    return [_on_cpu(item) for item in value] if isinstance(value, list) else value
