"""Several processes, one voice: the first one writes to the terminal, the others to their own log files."""

import logging
import os
import time
from collections.abc import Mapping
from pathlib import Path

__all__ = ["FirstProcess", "is_first_process", "leave_terminal_to_first"]

_RANKS = ("RANK", "LOCAL_RANK", "NODE_RANK", "SLURM_PROCID", "JSM_NAMESPACE_RANK")  # as Lightning and torchrun set them


def is_first_process(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether this is the process of rank zero, known before a trainer exists.

    Args:
        environment: Environment variables.

    Example::

        >>> is_first_process({}), is_first_process({"LOCAL_RANK": "0"}), is_first_process({"LOCAL_RANK": "1"})
        (True, True, False)
        >>> is_first_process({"LOCAL_RANK": "0", "NODE_RANK": "1"})
        False

    """
    return all(environment.get(name, "0") in ("", "0") for name in _RANKS)


def leave_terminal_to_first() -> None:
    """Show errors alone on the terminal if this is not the first process; log files stay complete."""
    if is_first_process():
        return
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.StreamHandler) and not isinstance(handler, logging.FileHandler):
            handler.setLevel(logging.ERROR)


class FirstProcess:
    """What another process can know of the first one: whether its log reports an error.

    A training that diverges raises the same error in every process, and a process whose partner has stopped fails
    with a broken connection. The terminal needs the first line alone.

    Args:
        folder: Folder of the run, in which every process has a log file.

    Example::

        >>> FirstProcess(Path("outputs/nowhere")).reports_error(patience=0.0)
        False

    """

    def __init__(self, folder: Path) -> None:
        self._logs = {path: path.stat().st_size for path in folder.glob("*.log") if "_process_" not in path.name}

    def reports_error(self, patience: float = 3.0) -> bool:
        """Whether the first process has logged an error since this object was made.

        Args:
            patience: Seconds to wait for it.

        """
        until = time.monotonic() + patience
        while not (found := any(_has_error(path, start) for path, start in self._logs.items())):
            if time.monotonic() >= until:
                break
            time.sleep(0.1)
        return found


def _has_error(path: Path, start: int) -> bool:
    try:
        with path.open("rb") as file:
            file.seek(start)
            text = file.read()
            return b" error: " in text or b" an error of the program" in text
    except OSError:
        return False
