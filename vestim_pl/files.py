"""Writing a file: whole or not at all, and with one line that names file and reason where the machine refuses."""

import errno
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from vestim_pl.errors import FileError

__all__ = ["appending", "free_megabytes", "whole_file", "writing", "writing_problem"]

_FREE_SPACE = "free some space"
_PERMIT = "get permission or choose another folder"
_REASONS = {
    errno.ENOSPC: ("the disk is full", _FREE_SPACE),
    errno.EDQUOT: ("the disk quota is used up", _FREE_SPACE),
    errno.EFBIG: ("the file would be larger than this process may write", "raise the limit (ulimit -f)"),
    errno.EROFS: ("the file system is read-only", _PERMIT),
    errno.EACCES: ("permission denied", _PERMIT),
    errno.EPERM: ("permission denied", _PERMIT),
    errno.EIO: ("the disk reports an error", "check the disk or choose another folder"),
    errno.EMFILE: ("too many files are open", "raise the limit (ulimit -n)"),
    errno.ENAMETOOLONG: ("the name is too long", "choose a shorter one"),
    errno.EISDIR: ("it is a folder", "choose another name"),
    errno.EPIPE: ("its reader has gone", "write to a file instead"),
}
_GONE = (errno.ENOENT, errno.ENOTDIR, errno.ESTALE)
_OF_TORCH = re.compile(r"PytorchStreamWriter|file write failed|iostream error|unexpected pos")  # from its C++ writer
_LITTLE = 1.0  # MB


def writing_problem(error: BaseException, path: Path) -> str | None:
    """Say why the machine refused to write a file and what to do, or None where the error is of another kind.

    A missing file is the machine's doing only where its folder is missing too; else it may be a bug of ours, and that
    must keep its traceback.

    Args:
        error: What writing raised.
        path: The file, or the folder that it lies in.

    Example::

        >>> writing_problem(PermissionError(errno.EACCES, "denied"), Path("report.html"))
        'permission denied; get permission or choose another folder'
        >>> writing_problem(FileNotFoundError(errno.ENOENT, "no such file"), Path("no/such/folder/report.html"))
        'the folder no/such/folder is gone; was it removed or unmounted?'
        >>> writing_problem(ValueError("something else"), Path("report.html")) is None
        True

    """
    number = error.errno if isinstance(error, OSError) else None
    if isinstance(error, RuntimeError) and _OF_TORCH.search(str(error)):  # which does not say why
        if path.parent.is_dir() and free_megabytes(path) >= _LITTLE:
            return "torch failed to write it; check quota, limits and the disk"
        number = errno.ENOSPC if path.parent.is_dir() else errno.ENOENT
    if number in _GONE and not path.parent.is_dir():
        return f"the folder {path.parent} is gone; was it removed or unmounted?"
    if number not in _REASONS:
        return None
    reason, suggestion = _REASONS[number]
    free = f" ({free_megabytes(path):.1f} MB free)" if suggestion == _FREE_SPACE else ""
    return f"{reason}{free}; {suggestion}"


@contextmanager
def writing(path: str | Path) -> Iterator[None]:
    """Turn what the machine refuses within the block into one line that names the file.

    Args:
        path: The file that is being written.

    Raises:
        FileError: If the disk is full, the folder is gone, permission is missing, and the like.

    Example::

        >>> with writing("no/such/folder/metrics.csv"):
        ...     Path("no/such/folder/metrics.csv").write_text("")
        Traceback (most recent call last):
        ...
        vestim_pl.errors.FileError: no/such/folder/metrics.csv: cannot be written: the folder no/such/folder
        is gone; was it removed or unmounted?

    """
    try:
        yield
    except FileError:
        raise
    except (OSError, RuntimeError) as error:
        problem = writing_problem(error, Path(path))
        if problem is None:
            raise
        raise FileError(f"{path}: cannot be written: {problem}") from error


@contextmanager
def whole_file(path: str | Path) -> Iterator[Path]:
    """Give a name to write to, and rename it to ``path`` at the end of the block: an earlier file stays until then.

    Args:
        path: The file to write; its folder is there.

    Raises:
        FileError: As `writing`. What was written is removed, and an earlier file is as it was.

    Example::

        >>> with whole_file("figures.csv") as partial:
        ...     _ = partial.write_text("rmse_mv")
        >>> Path("figures.csv").read_text()
        'rmse_mv'

    """
    path = Path(path)
    partial = path.with_name(f"{path.name}.partial")
    with writing(path):
        try:
            yield partial
            os.replace(partial, path)
        except BaseException:
            with suppress(OSError):
                partial.unlink()
            raise


@contextmanager
def appending(path: Path) -> Iterator[None]:
    """Append to a file within the block: where that fails, the file is as long as before, not torn in a line.

    Args:
        path: The file, which need not be there yet.

    Raises:
        FileError: As `writing`.

    """
    size = path.stat().st_size if path.is_file() else 0
    with writing(path):
        try:
            yield
        except BaseException:
            with suppress(OSError):
                os.truncate(path, size)
            raise


def free_megabytes(path: Path) -> float:
    """Free space in MB (1e6 bytes) where a file lies or would lie."""
    return shutil.disk_usage(_folder_above(path)).free / 1e6


def _folder_above(path: Path) -> Path:
    """The nearest folder that is there."""
    return next((folder for folder in path.absolute().parents if folder.is_dir()), Path("/"))
