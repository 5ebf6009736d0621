"""Log lines that appear above a progress bar."""

import logging
import sys
from typing import TextIO

__all__ = ["TerminalHandler"]


class TerminalHandler(logging.StreamHandler[TextIO]):
    r"""Write to the current ``sys.stdout``.

    A progress bar of Rich replaces ``sys.stdout`` while it is shown, so that printed lines appear above it. A plain
    StreamHandler keeps the stream that it was created with, and the bar overwrites its lines. RichHandler would break
    long lines, and with them the commands that users paste.

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

    def __init__(self, stream: TextIO | None = None) -> None:
        super().__init__(stream)

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
