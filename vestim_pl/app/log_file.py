"""The log file of a run, on a disk that may be full."""

import logging
import sys
from pathlib import Path

from vestim_pl.files import writing_problem

__all__ = ["LogFile"]

_log = logging.getLogger("vestim_pl")


class LogFile(logging.FileHandler):
    r"""A log file whose trouble is one warning on the terminal, where logging prints a traceback for every line.

    What the file lacks stands on the terminal. Its lines wait in memory and are written when that works again.

    Args:
        filename: The file.
        mode: ``a`` appends.

    Example::

        >>> handler = LogFile("train.log")
        >>> handler.emit(logging.LogRecord("vestim_pl", logging.INFO, "", 0, "epoch 0: 12 mV", None, None))
        >>> handler.close()
        >>> Path("train.log").read_text()
        'epoch 0: 12 mV\n'

    """

    def __init__(self, filename: str, mode: str = "a") -> None:
        super().__init__(filename, mode, encoding="utf-8")
        self._reported = False

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        """Report the first line that could not be written; a line that could not be formatted is a bug of ours."""
        error = sys.exc_info()[1]
        problem = writing_problem(error, Path(self.baseFilename)) if isinstance(error, OSError) else None
        if problem is None:
            super().handleError(record)
        elif not self._reported:
            self._reported = True
            _log.warning("%s is not complete: %s", self.baseFilename, problem)
