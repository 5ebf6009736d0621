"""Log lines that stand above a progress bar instead of under it."""

import logging
import sys
from typing import TextIO

__all__ = ["TerminalHandler"]


class TerminalHandler(logging.StreamHandler[TextIO]):
    r"""Writes to what ``sys.stdout`` is at that moment.

    A progress bar of Rich puts its own stream in the place of ``sys.stdout`` while it is shown, so that what is printed
    comes above it. A plain handler keeps the stream of its first day, and the bar overwrites its lines.

    Args:
        stream: Passed over; logging's configuration gives one.

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
        """Print no traceback where the terminal or pipe cannot take the line; the log file has it."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handleError(record)

    @property
    def stream(self) -> TextIO:
        """The present standard output."""
        return sys.stdout

    @stream.setter
    def stream(self, stream: TextIO) -> None:
        """The stream cannot be chosen."""
