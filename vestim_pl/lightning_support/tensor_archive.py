"""A file of ``torch.save``, read as if somebody wanted to do harm with it."""

import pickle
import re
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

__all__ = ["UnusableFileError", "read_archive"]

_DEEPEST = 100  # containers within each other


class UnusableFileError(Exception):
    """What is wrong with a file, as the end of a sentence that begins with its path."""


def read_archive(path: Path, kind: str, suggestion: str) -> Any:
    """Read tensors and plain data; nothing in the file is believed before it is checked, and no code in it runs.

    Every record of the archive has to match its checksum, so a flipped bit is found. The content is read with
    ``weights_only=True``. Time and memory are bounded by the size of the file: an archive that unpacks to more than it
    holds, and containers that hold each other over and over, are refused.

    Args:
        path: The file.
        kind: What it should be, such as ``crash bundle``.
        suggestion: What to do instead.

    Returns:
        The content, with tensors on the CPU.

    Raises:
        UnusableFileError: If it is anything else.
        OSError: If the file cannot be read.

    Example::

        >>> torch.save([1, torch.zeros(2)], "numbers.pt")
        >>> read_archive(Path("numbers.pt"), "list of numbers", "give one")
        [1, tensor([0., 0.])]

    """
    _check_archive(path, kind, suggestion)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a pickle of another kind, which is refused or harmless
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:  # torch's advice to load without weights_only is kept to itself
        named = re.search(r"GLOBAL ([\w.]+)", str(error))
        what = f" ({named.group(1)})" if named else ""
        raise UnusableFileError(
            f"holds more than tensors, numbers and text{what}, and reading that could run foreign code; {suggestion}"
        ) from None
    except Exception as error:  # a file of another kind fails anywhere
        raise UnusableFileError(f"is no {kind} ({type(error).__name__}); {suggestion}") from None
    if not _is_bounded(content, most=path.stat().st_size):
        raise UnusableFileError(f"is no {kind}: its content is larger than the file; {suggestion}")
    return content


def _check_archive(path: Path, kind: str, suggestion: str) -> None:
    """Every record is there and matches its checksum, and the file holds what it promises.

    ``torch.save`` does not compress. An archive that claims to unpack to more than its size was made to fill memory.
    """
    if not path.is_file():  # a folder, a pipe
        found = "is not a file" if path.exists() else "does not exist"
        raise UnusableFileError(f"{found}; {suggestion}")
    size = path.stat().st_size
    if not size:
        raise UnusableFileError(f"is empty; {suggestion}")
    with path.open("rb") as file:
        if file.read(2) != b"PK":
            raise UnusableFileError(f"is no {kind}; {suggestion}")
    try:
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(record.file_size for record in archive.infolist())
            broken = archive.testzip() if unpacked <= size else None
    except OSError:
        raise
    except Exception as error:  # zipfile has many words for damage: its own, struct's, zlib's, Unicode's
        text = str(error).partition("\n")[0] or type(error).__name__
        raise UnusableFileError(f"is damaged or cut off ({text}); {suggestion}") from None
    if unpacked > size:
        raise UnusableFileError(f"is no {kind} (its archive is compressed); {suggestion}")
    if broken is not None:
        raise UnusableFileError(f"is damaged: {broken} does not match its checksum; {suggestion}")


def _is_bounded(content: Any, most: int) -> bool:
    """Whether nested containers have no more entries than that, do not hold themselves, and no tensor is larger.

    A pickle may hold one list in many places, and that one another; a walk through thirty of these would not end. A
    tensor may repeat one number as often as it likes.
    """
    waiting, seen = [(content, 0)], 0
    while waiting:
        value, depth = waiting.pop()
        entries: list[Any] = []
        if isinstance(value, Mapping):
            entries = [*value.keys(), *value.values()]
        elif isinstance(value, list | tuple | set | frozenset):
            entries = list(value)
        elif isinstance(value, torch.Tensor) and value.layout is torch.strided and value.nbytes > most:
            return False
        seen += len(entries)
        if seen > most or depth > _DEEPEST:
            return False
        waiting += [(entry, depth + 1) for entry in entries]
    return True
