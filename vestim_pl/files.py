"""Write files completely or not at all, and report in one line why a file cannot be written."""

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
_NO_FOLDER = (errno.ENOENT, errno.ENOTDIR, errno.EEXIST, errno.ESTALE)
_OF_TORCH = re.compile(r"PytorchStreamWriter|file write failed|iostream error|unexpected pos")  # from its C++ writer
_LITTLE = 1.0  # MB


def writing_problem(error: BaseException, path: Path) -> str | None:
    """Explain why the system refused to write a file and suggest a fix; None for other errors.

    A missing file counts only if its folder is missing too. Otherwise it may be a bug of ours, which must keep its
    traceback.

    Args:
        error: Error from writing.
        path: The file, or its folder.

    Example::

        >>> writing_problem(PermissionError(errno.EACCES, "denied"), Path("report.html"))
        'permission denied; get permission or choose another folder'
        >>> writing_problem(FileNotFoundError(errno.ENOENT, "no such file"), Path("no/such/folder/report.html"))
        'the folder no/such/folder is gone; was it removed or unmounted?'
        >>> writing_problem(ValueError("something else"), Path("report.html")) is None
        True

    """
    number = error.errno if isinstance(error, OSError) else None
    if isinstance(error, RuntimeError) and _OF_TORCH.search(str(error)):  # it does not give the reason
        if path.parent.is_dir() and free_megabytes(path) >= _LITTLE:
            return "torch failed to write it; check quota, limits and the disk"
        number = errno.ENOSPC if path.parent.is_dir() else errno.ENOENT
    if number in _NO_FOLDER and not path.parent.is_dir():
        if (file := next((each for each in path.parents if each.is_file()), None)) is not None:
            return f"{file} is a file, not a folder; choose another folder"
        return f"the folder {path.parent} is gone; was it removed or unmounted?"
    if number not in _REASONS:
        return None
    reason, suggestion = _REASONS[number]
    free = f" ({free_megabytes(path):.1f} MB free)" if suggestion == _FREE_SPACE else ""
    return f"{reason}{free}; {suggestion}"


@contextmanager
def writing(path: str | Path) -> Iterator[None]:
    """Convert errors of the system within the block into one line that names the file.

    Args:
        path: The file that is being written.

    Raises:
        FileError: If the disk is full, the folder is gone, permission is denied, or the like.

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
    """Yield a temporary name to write to, and rename it to ``path`` at the end of the block.

    Args:
        path: The file to write, in an existing folder.

    Raises:
        FileError: As `writing`. The temporary file is removed, and an earlier file is unchanged.

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
    """Restore the length of a file if appending to it within the block fails, so that no partial line stays.

    Args:
        path: The file, which need not exist.

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
    """Return the free space in MB (1e6 bytes) at the path of a file, which need not exist."""
    return shutil.disk_usage(_folder_above(path)).free / 1e6


def _folder_above(path: Path) -> Path:
    """Return the nearest parent folder that exists."""
    return next((folder for folder in path.absolute().parents if folder.is_dir()), Path("/"))
