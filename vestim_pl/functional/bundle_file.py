"""The file of a crash bundle: tensors and plain types, loaded without running anything."""

import json
import platform
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vestim_pl.functional.errors import ConfigurationError
from vestim_pl.functional.plain_data import plain_tensor
from vestim_pl.functional.step_trace import named_tensors

__all__ = ["package_versions", "read_bundle", "tensor_megabytes", "write_bundle"]

FORMAT = 2


def write_bundle(path: Path, content: dict[str, Any], summary: dict[str, Any]) -> None:
    """Write ``path`` with everything, and a JSON file beside it with what a person reads.

    Args:
        path: The bundle, ending in ``.pt``.
        content: Nested dictionaries and lists of tensors, numbers and strings.
        summary: Nested data; what JSON does not know is written as text.

    """
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(summary, indent=1, default=str)
    torch.save({"format": FORMAT, "summary": json.loads(text), **_on_cpu(content)}, path)
    path.with_suffix(".json").write_text(f"{text}\n", encoding="utf-8")


def read_bundle(path: Path) -> dict[str, Any]:
    """Read a bundle, with ``weights_only=True``: a file that would run code when loaded is refused.

    Raises:
        ConfigurationError: If there is no bundle of a known format.

    """
    if not path.is_file():
        raise ConfigurationError(f"{path}: there is no such file; give the .pt file of a crash bundle")
    try:
        bundle = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a damaged or foreign file makes torch raise
        raise ConfigurationError(f"{path}: is no crash bundle ({type(error).__name__}); give the .pt file") from error
    found = bundle.get("format") if isinstance(bundle, dict) else None
    if found != FORMAT:
        raise ConfigurationError(f"{path}: format {found!r} instead of {FORMAT}; give the .pt file of a crash bundle")
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
