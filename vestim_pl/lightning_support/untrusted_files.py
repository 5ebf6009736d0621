"""Read a file of ``torch.save`` that may be damaged or malicious."""

import pickle
import re
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

__all__ = ["UnusableFileError", "read_archive", "refuse_outsized"]

_DEEPEST = 100  # nested containers


class UnusableFileError(Exception):
    """What is wrong with a file, as the rest of a sentence that begins with its path."""


def read_archive(path: Path, kind: str, suggestion: str) -> Any:
    """Read tensors and plain data without running any code from the file.

    Every record of the archive must match its checksum, so a flipped bit is found. The content is read with
    ``weights_only=True``. The size of the file bounds time and memory: compressed archives and containers that contain
    each other many times are refused.

    Args:
        path: The file.
        kind: What it should be, such as ``crash bundle``.
        suggestion: What the user can do instead.

    Returns:
        The content, with tensors on the CPU.

    Raises:
        UnusableFileError: If it is damaged or of another kind.
        OSError: If the file cannot be read.

    Example::

        >>> torch.save([1, torch.zeros(2)], "numbers.pt")
        >>> read_archive(Path("numbers.pt"), "list of numbers", "give one")
        [1, tensor([0., 0.])]

    """
    _check_archive(path, kind, suggestion)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about other pickles, which are refused or harmless
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:  # do not repeat torch's advice to load without weights_only
        named = re.search(r"GLOBAL ([\w.]+)", str(error))
        what = f" ({named.group(1)})" if named else ""
        raise UnusableFileError(
            f"holds more than tensors, numbers and text{what}, which could run foreign code when read; {suggestion}"
        ) from None
    except Exception as error:  # a file of another kind may raise anything
        raise UnusableFileError(f"is no {kind} ({type(error).__name__}); {suggestion}") from None
    if not _is_bounded(content, most=path.stat().st_size):
        raise UnusableFileError(f"is no {kind}: its content is larger than the file; {suggestion}")
    return content


def _check_archive(path: Path, kind: str, suggestion: str) -> None:
    """Check that every record matches its checksum and that the archive is not compressed.

    ``torch.save`` does not compress. An archive that unpacks to more than its size was made to fill memory.
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
    except Exception as error:  # zipfile, struct, zlib and Unicode errors
        text = str(error).partition("\n")[0] or type(error).__name__
        raise UnusableFileError(f"is damaged or cut off ({text}); {suggestion}") from None
    if unpacked > size:
        raise UnusableFileError(f"is no {kind} (its archive is compressed); {suggestion}")
    if broken is not None:
        raise UnusableFileError(f"is damaged: {broken} does not match its checksum; {suggestion}")


def _is_bounded(content: Any, most: int) -> bool:
    """Whether nested containers have at most that many entries and no tensor has more bytes.

    A pickle may contain one list many times, and that list another one; a walk through thirty levels would not end. An
    expanded tensor may repeat one number without limit.
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


_LARGEST, _LONGEST = 1_000_000, 1000  # largest number, and most list entries, in the settings of any network
_OF_SIZE = ("features", "network", "rc_pairs")


def refuse_outsized(settings: Mapping[str, Any], weights: Mapping[str, Tensor]) -> None:
    """Refuse settings of a voltage estimator that are far larger than its weights.

    A network of a billion units would fill the memory, and one of a billion members would build for hours, before a
    missing weight could be noticed.

    Raises:
        UnusableFileError: If they do not match.

    Example::

        >>> refuse_outsized({"network": {"name": "LSTM", "hidden_sizes": [10**9]}}, {})
        Traceback (most recent call last):
        ...
        vestim_pl.lightning_support.untrusted_files.UnusableFileError: has settings of another size than its weights

    """
    network = settings.get("network")
    members = network.get("members", 1) if isinstance(network, Mapping) else 1
    numbers: list[float] = []
    entries, waiting = 0, [settings.get(name) for name in _OF_SIZE]
    while waiting:
        value = waiting.pop()
        if isinstance(value, Mapping | list | tuple):
            entries += len(value)
            waiting += list(value.values() if isinstance(value, Mapping) else value)
        elif isinstance(value, int | float):
            numbers.append(abs(value))
    largest = max([_LARGEST, *(tensor.numel() for tensor in weights.values())])
    many = isinstance(members, int | float) and members > max(1, len(weights))
    if many or entries > _LONGEST or any(number > largest for number in numbers):
        raise UnusableFileError("has settings of another size than its weights")
