"""Several processes of a training: the first prints on the terminal, the others write to their own log files."""

import logging
import re
import time
from pathlib import Path

from vestim_pl.lightning_support.stop_request import is_first_process

__all__ = ["OtherProcesses", "leave_terminal_to_first"]

_PROCESS = "_process_"  # in the names of their log files, which Lightning chooses
_BUG = "an error of the program"


def leave_terminal_to_first() -> None:
    """Print only errors on the terminal if this is not the first process; log files stay complete."""
    if is_first_process():
        return
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.StreamHandler) and not isinstance(handler, logging.FileHandler):
            handler.setLevel(logging.ERROR)


class OtherProcesses:
    """Errors that the other processes log from now on.

    A diverging training raises the same error in every process, and a process whose partner has stopped fails with a
    broken connection. The terminal should show the reason once.

    Args:
        folder: Folder of the run, in which every process has a log file.

    Example::

        >>> OtherProcesses(Path("outputs/nowhere")).error(patience=0.0) is None
        True

    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._known = {path: path.stat().st_size for path in self._logs()}

    def error(self, patience: float = 3.0) -> str | None:
        """Read the first error that another process has logged: the first process reads all logs, the others its log.

        Args:
            patience: Seconds to wait for it.

        Returns:
            Its line, with the number of the process where that is not the first; None if there was none. An error that
            the first process repeats from another one does not count.

        """
        until = time.monotonic() + patience
        while True:
            for path in self._logs():
                if line := _error_line(path, self._known.get(path, 0)):
                    number = path.stem.rpartition(_PROCESS)[2]
                    return f"process {number}: {line}" if is_first_process() else line
            if time.monotonic() >= until:
                return None
            time.sleep(0.1)

    def _logs(self) -> list[Path]:
        return sorted(path for path in self.folder.glob("*.log") if (_PROCESS in path.name) == is_first_process())


def _error_line(path: Path, start: int) -> str:
    """Read the first error in a log file after a byte offset; empty if there is none or the file cannot be read."""
    try:
        with path.open("rb") as file:
            file.seek(start)
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return ""
    for line in lines:
        reason = line.partition(" error: ")[2]
        if reason and not re.match(r"process \d+: ", reason):
            return reason
        if _BUG in line:
            return f"{_BUG}; {path} has its traceback"
    return ""
