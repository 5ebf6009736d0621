"""Whether a checkpoint file can be trusted: its archive, its content, its numbers."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vestim_pl.errors import ConfigurationError, printable
from vestim_pl.functional.finiteness import find_nonfinite
from vestim_pl.lightning_support.tensor_archive import UnusableFileError, read_archive

__all__ = ["check_checkpoint"]

_TO_RESUME = ("epoch", "global_step", "loops", "callbacks", "optimizer_states", "lr_schedulers")
_KIND = "checkpoint of a training"
_GIVE = "give last.ckpt or best.ckpt of a run"


def check_checkpoint(path: str | Path, *, to_resume: bool = False, setting: str = "ckpt_path") -> dict[str, Any]:
    """Read a checkpoint, or say in one line why it cannot be used.

    Nothing in the file is believed before it is checked. Every record of the archive has to match its checksum, so a
    flipped bit is found. The content is read by ``weights_only``, so no code in it runs. Every weight has to be finite.
    Whether the settings in it make sense is left to the code that builds an estimator from them.

    Args:
        path: The file.
        to_resume: Whether training will resume from it, which takes its optimizers and counters too.
        setting: What the message calls the path.

    Returns:
        The checkpoint on the CPU; its ``state_dict`` holds tensors by name.

    Raises:
        ConfigurationError: With the path, what was found, and what to do.

    Example::

        >>> check_checkpoint("nowhere.ckpt")
        Traceback (most recent call last):
        ...
        vestim_pl.errors.ConfigurationError: ckpt_path: nowhere.ckpt does not exist; give last.ckpt or ...

    """
    path = Path(path)
    try:
        checkpoint = read_archive(path, _KIND, _GIVE)
        if not isinstance(checkpoint, dict):
            raise UnusableFileError(f"is no {_KIND} but a {type(checkpoint).__name__}; {_GIVE}")
        _check_keys(checkpoint, to_resume)
        _check_tensors(checkpoint, to_resume, largest=path.stat().st_size)
    except UnusableFileError as fault:
        raise ConfigurationError(f"{setting}: {path} {printable(str(fault))}") from None
    except OSError as error:
        raise ConfigurationError(f"{setting}: {path} cannot be read: {error.strerror or error}") from None
    return checkpoint


def _check_keys(checkpoint: Mapping[str, Any], to_resume: bool) -> None:
    weights = checkpoint.get("state_dict")
    if not isinstance(weights, Mapping) or not weights:
        raise UnusableFileError(
            "is no checkpoint of a training: it has no state_dict; give last.ckpt or best.ckpt of a run"
        )
    for name, weight in weights.items():
        if not isinstance(name, str) or not isinstance(weight, Tensor) or not _is_plain(weight):
            raise UnusableFileError(
                f"is no checkpoint of a training: {name} in its state_dict is no plain tensor; give another file"
            )
    if to_resume and (missing := [key for key in _TO_RESUME if key not in checkpoint]):
        raise UnusableFileError(
            f"holds weights but no training to resume ({missing[0]} is missing); give last.ckpt of a run"
        )
    states = checkpoint["optimizer_states"] if to_resume else [{}]
    if not isinstance(states, list) or not states:  # Lightning would resume without, and lose the moments silently
        raise UnusableFileError("holds no state of an optimizer to resume; give last.ckpt of a run")


def _check_tensors(checkpoint: Mapping[str, Any], to_resume: bool, largest: int) -> None:
    """Every number is finite; a tensor larger than the file repeats itself, and to read it would take for ever."""
    named = list(checkpoint["state_dict"].items())
    if to_resume:
        named += list(_tensors("optimizer", checkpoint["optimizer_states"]))
    for name, tensor in named:
        if not _is_plain(tensor) or tensor.numel() * tensor.element_size() > largest:
            raise UnusableFileError(
                f"is no checkpoint of a training: {name} is larger than the file; give another file"
            )
    if bad := find_nonfinite(named, limit=1):
        raise UnusableFileError(f"holds numbers that are not finite: {bad[0]}; give another checkpoint of that run")


def _is_plain(tensor: Tensor) -> bool:
    """Whether its numbers can be looked at."""
    return tensor.device.type == "cpu" and tensor.layout is torch.strided and not tensor.is_quantized


def _tensors(name: str, data: Any) -> Iterator[tuple[str, Tensor]]:
    """Tensors of nested containers, with their way as a name."""
    if isinstance(data, Tensor):
        yield name, data
    elif isinstance(data, Mapping):
        for key, value in data.items():
            yield from _tensors(f"{name}.{key}", value)
    elif isinstance(data, list | tuple):
        for index, value in enumerate(data):
            yield from _tensors(f"{name}.{index}", value)
