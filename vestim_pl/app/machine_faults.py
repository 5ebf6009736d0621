"""Explain errors of the machine in one line: a full disk, a missing folder, a missing permission."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

from vestim_pl.errors import FileError
from vestim_pl.files import writing_problem

__all__ = ["causes", "close_output", "machine_fault"]


def machine_fault(error: BaseException, folder: Path) -> str | None:
    """Explain an error that the machine caused in one line; None for any other error, which keeps its traceback.

    Args:
        error: The error; its causes are searched too.
        folder: Where the command writes, for an error that names no file.

    Example::

        >>> machine_fault(PermissionError(13, "Permission denied", "/data/val/a.csv"), Path("outputs"))
        '/data/val/a.csv: permission denied; get permission or choose another folder'
        >>> machine_fault(IndexError("a bug of ours"), Path("outputs")) is None
        True

    """
    for cause in causes(error):
        if isinstance(cause, FileError):
            return str(cause)
        if not isinstance(cause, OSError | RuntimeError):
            continue
        named = getattr(cause, "filename", None)
        place = Path(os.fsdecode(named)) if isinstance(named, str | bytes) else folder / "file"
        if problem := writing_problem(cause, place):
            return f"{place if named else f'a file in {folder}, or standard output'}: {problem}"
    return None


def close_output() -> None:
    """Flush standard output; where that fails, redirect it, so that Python does not fail at its exit.

    Raises:
        FileError: If standard output lies on a full disk, or its reader has gone.

    """
    try:
        sys.stdout.flush()
    except OSError as error:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        reason = (error.strerror or str(error)).lower()
        raise FileError(f"standard output cannot be written: {reason}; the files of the run are complete") from error


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield the error, its cause, the cause of that, and so on."""
    while error is not None:
        yield error
        error = error.__cause__
