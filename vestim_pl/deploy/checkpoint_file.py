"""Whether a checkpoint file can be trusted: its archive, its content, its numbers."""

import pickle
import re
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vestim_pl.functional.errors import ConfigurationError
from vestim_pl.functional.finiteness import find_nonfinite

__all__ = ["check_checkpoint"]

_TO_RESUME = ("epoch", "global_step", "loops", "callbacks", "optimizer_states", "lr_schedulers")


class _UnusableError(Exception):
    """What is wrong with the file, as the end of a sentence that begins with its path."""


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
        vestim_pl.functional.errors.ConfigurationError: ckpt_path: nowhere.ckpt does not exist; give a ...

    """
    path = Path(path)
    try:
        _check_archive(path)
        checkpoint = _load(path)
        _check_keys(checkpoint, to_resume)
        _check_tensors(checkpoint, to_resume, largest=path.stat().st_size)
    except _UnusableError as fault:
        raise ConfigurationError(f"{setting}: {path} {fault}") from None
    except OSError as error:
        raise ConfigurationError(f"{setting}: {path} cannot be read: {error.strerror or error}") from None
    return checkpoint


def _check_archive(path: Path) -> None:
    """Every record is there and matches its checksum, and the file holds what it promises.

    ``torch.save`` does not compress. An archive that claims to unpack to more than its size is refused unread: it was
    made to fill the memory.
    """
    if not path.is_file():  # a folder, a pipe
        found = "is not a file" if path.exists() else "does not exist"
        raise _UnusableError(f"{found}; give a checkpoint that a training wrote")
    size = path.stat().st_size
    if not size:
        raise _UnusableError("is empty; give another checkpoint of that run")
    with path.open("rb") as file:
        if file.read(2) != b"PK":
            raise _UnusableError("is no checkpoint of a training; give last.ckpt or best.ckpt of a run")
    try:
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(record.file_size for record in archive.infolist())
            broken = archive.testzip() if unpacked <= size else None
    except OSError:
        raise
    except Exception as error:  # zipfile has many words for damage: its own, struct's, zlib's, Unicode's
        text = str(error).partition("\n")[0] or type(error).__name__
        raise _UnusableError(f"is damaged or cut off ({text}); give another checkpoint of that run") from None
    if unpacked > size:
        raise _UnusableError("is no checkpoint of a training (its archive is compressed); give another file")
    if broken is not None:
        raise _UnusableError(f"is damaged: {broken} does not match its checksum; give another checkpoint of that run")


def _load(path: Path) -> dict[str, Any]:
    """Content of a sound archive; torch's advice to load without ``weights_only`` is kept to itself."""
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        named = re.search(r"GLOBAL ([\w.]+)", str(error))
        what = f" ({named.group(1)})" if named else ""
        raise _UnusableError(
            f"holds more than tensors, numbers and text{what}, and reading that could run foreign code; give a"
            " checkpoint that vestim_pl.train wrote"
        ) from None
    except Exception as error:  # a file of another kind fails anywhere
        raise _UnusableError(
            f"is no checkpoint of a training ({type(error).__name__}); give last.ckpt or best.ckpt of a run"
        ) from None
    if not isinstance(checkpoint, dict):
        raise _UnusableError(f"is no checkpoint of a training but a {type(checkpoint).__name__}; give another file")
    return checkpoint


def _check_keys(checkpoint: Mapping[str, Any], to_resume: bool) -> None:
    weights = checkpoint.get("state_dict")
    if not isinstance(weights, Mapping) or not weights:
        raise _UnusableError(
            "is no checkpoint of a training: it has no state_dict; give last.ckpt or best.ckpt of a run"
        )
    for name, weight in weights.items():
        if not isinstance(name, str) or not isinstance(weight, Tensor) or not _is_plain(weight):
            raise _UnusableError(
                f"is no checkpoint of a training: {name} in its state_dict is no plain tensor; give another file"
            )
    if to_resume and (missing := [key for key in _TO_RESUME if key not in checkpoint]):
        raise _UnusableError(
            f"holds weights but no training to resume ({missing[0]} is missing); give last.ckpt of a run"
        )


def _check_tensors(checkpoint: Mapping[str, Any], to_resume: bool, largest: int) -> None:
    """Every number is finite; a tensor larger than the file repeats itself, and to read it would take for ever."""
    named = list(checkpoint["state_dict"].items())
    if to_resume:
        named += list(_tensors("optimizer", checkpoint["optimizer_states"]))
    for name, tensor in named:
        if not _is_plain(tensor) or tensor.numel() * tensor.element_size() > largest:
            raise _UnusableError(f"is no checkpoint of a training: {name} is larger than the file; give another file")
    if bad := find_nonfinite(named, limit=1):
        raise _UnusableError(f"holds numbers that are not finite: {bad[0]}; give another checkpoint of that run")


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
