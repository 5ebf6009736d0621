"""Log lines of a command: on the terminal above a progress bar, and in a file on a disk that may be full."""

import logging
import sys
from pathlib import Path
from typing import Any, TextIO

from vestim_pl.files import writing_problem

__all__ = ["LogFile", "TerminalHandler", "log_to_file"]

_log = logging.getLogger("vestim_pl")


class TerminalHandler(logging.StreamHandler[TextIO]):
    r"""Write to the current ``sys.stdout``, which a progress bar of Rich replaces so that lines appear above it.

    A plain StreamHandler keeps the stream it was created with. RichHandler folds long lines, and with them the commands
    that users paste: in a terminal of 80 columns a suggestion of 90 characters becomes two lines.

    Args:
        stream: Ignored; logging's configuration passes one.

    Example::

        >>> import contextlib, io
        >>> handler, screen = TerminalHandler(), io.StringIO()
        >>> with contextlib.redirect_stdout(screen):
        ...     handler.emit(logging.LogRecord("vestim_pl", logging.INFO, "", 0, "epoch 0: 12 mV", None, None))
        >>> screen.getvalue()
        'epoch 0: 12 mV\n'

    """

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        """Stay silent where the terminal or pipe refuses a line, which is in the log file."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handleError(record)

    @property
    def stream(self) -> TextIO:
        """The current standard output."""
        return sys.stdout

    @stream.setter
    def stream(self, stream: TextIO) -> None:
        """Ignore the stream."""


class LogFile(logging.FileHandler):
    r"""A log file that reports a full disk once, where logging would print a traceback for every line.

    The lines that the file lacks are on the terminal. They stay in memory and are written once that works again.

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
            _log.warning("%s is incomplete: %s", self.baseFilename, problem)


def log_to_file(text: str, level: int, traceback: Any = None) -> None:
    """Log to the file of the run alone, for a line that is on the terminal already.

    Args:
        text: The line.
        level: Level of `logging`.
        traceback: As of ``sys.exc_info()``.

    """
    record = _log.makeRecord(_log.name, level, __file__, 0, "%s", (text,), traceback)
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.FileHandler):
            handler.handle(record)
