"""Call the readers of other packages: their faults become one line, and what they need is named."""

import importlib
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from vestim_pl.data.formats.raw_table import LEAVE_OUT
from vestim_pl.errors import DataError, printable

__all__ = ["check_zip", "faults_as_one_line", "needed"]

_MOST_BYTES = 2 << 30
_MOST_PACKED = 300  # bytes of a sheet in one packed byte; exports have 5 to 30
_SMALL = 64 << 20


def needed(package: str, extra: str, label: str) -> ModuleType:
    """Import the package that reads a format, or name the extra that installs it.

    Args:
        package: Name to import.
        extra: Extra of this package that has it.
        label: Name of the file for messages.

    Raises:
        DataError: If the package is not installed.

    """
    try:
        return importlib.import_module(package)
    except ImportError as error:
        missing = getattr(error, "name", None) or package
        raise DataError(
            f"{label}: the package {missing} reads this format; install it with pip install 'vestim_pl[{extra}]', "
            f"{LEAVE_OUT}"
        ) from None


@contextmanager
def faults_as_one_line(label: str, kind: str) -> Iterator[None]:
    """Turn whatever a reader raises at a damaged file into one line; our own errors and interrupts pass.

    A panic of a reader in Rust derives from BaseException.
    """
    try:
        yield
    except (DataError, KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except MemoryError:
        raise DataError(f"{label}: needs more memory than there is; split the file, {LEAVE_OUT}") from None
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        found = printable(" ".join(str(error).split())[:200]) or type(error).__name__
        raise DataError(f"{label}: cannot be read as {kind} ({found}); copy or export it again, {LEAVE_OUT}") from None


def check_zip(path: Path, label: str) -> list[str]:
    """Return the members of a zip file, and refuse one that unpacks to very much.

    Raises:
        DataError: If it is no whole zip file, or a bomb.

    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, RuntimeError) as error:
        raise DataError(
            f"{label}: is a damaged zip file ({printable(str(error))}); copy or export it again, {LEAVE_OUT}"
        ) from None
    total = sum(member.file_size for member in members)
    if total > _MOST_BYTES or (total > _SMALL and total > _MOST_PACKED * path.stat().st_size):
        raise DataError(f"{label}: unpacks to {total / 1e6:,.0f} MB, unlike a recording; export it as CSV, {LEAVE_OUT}")
    return [member.filename for member in members]
