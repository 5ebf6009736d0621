"""End a command on a signal, with one line that says what is kept, and a conventional exit status."""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from subprocess import TimeoutExpired

from vestim_pl.app.log_handlers import log_to_file
from vestim_pl.lightning_support.stop_request import Interrupted, StopRequest, is_first_process

__all__ = ["ends_in_one_line", "finish_first", "now"]

_PATIENCE = 10.0  # seconds for the other processes of a training that all stopped after the same step


@contextmanager
def ends_in_one_line() -> Iterator[None]:
    """Handle the signals of a whole command: the first ends it in an orderly way, the second at once.

    The line is printed on standard error and written to the log file: what was stopped, what is kept, and the command
    that continues. The exit status is 128 plus the signal's number, 130 for Ctrl-C.
    """
    with nullcontext(current) if (current := StopRequest.current()) else StopRequest() as request:
        try:
            yield
            request.check()
        except Interrupted as stop:
            with request.deferred("ending already"):
                _end(request, stop)
            sys.exit(stop.code if is_first_process() else 0)


def now(doing: str, advice: str) -> None:
    """Set what the command does next, for the line printed if a signal ends it; end it if a signal has arrived.

    Args:
        doing: What it does, such as ``testing``.
        advice: What is kept if it is stopped, and the command that continues.

    Raises:
        Interrupted: If a signal has arrived that something before deferred.

    """
    if request := StopRequest.current():
        request.doing, request.advice = doing, advice
        request.check()


def finish_first(doing: str) -> AbstractContextManager[None]:
    """Defer signals within the block, such as while a file is written; a deferred signal ends the command afterwards.

    Args:
        doing: What is finished first, such as ``writing the report``.

    """
    request = StopRequest.current()
    return nullcontext() if request is None else request.deferred(doing)


def _end(request: StopRequest, stop: Interrupted) -> None:
    for child in request.children:
        with suppress(TimeoutExpired):
            child.wait(_PATIENCE if stop.reported else 0)
        child.kill()  # does nothing to one that has ended
    if not is_first_process():
        return
    line = "; ".join(part for part in ("" if stop.reported else stop.reason, request.advice) if part)
    log_to_file(line, logging.WARNING)
    with suppress(OSError):
        print(line, file=sys.stderr, flush=True)
    _redirect_broken_streams()


def _redirect_broken_streams() -> None:
    """Keep Python from failing at its exit over a terminal or a pipe that has gone, as ``tee`` does at Ctrl-C."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        except ValueError:  # closed already
            continue
