"""How a command ends when a signal comes: one line, what is kept, and an exit status by convention."""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from subprocess import TimeoutExpired

from vestim_pl.lightning_support.stop_request import Interrupted, StopRequest, is_first_process

__all__ = ["ends_in_one_line", "finish_first", "now"]

_log = logging.getLogger("vestim_pl")
_PATIENCE = 10.0  # seconds for the other processes of a training that all stopped after the same step


@contextmanager
def ends_in_one_line() -> Iterator[None]:
    """Take the signals of a whole command: the first ends it in an orderly way, in one line, the second at once.

    The line stands on standard error and in the log file: what was stopped, what is kept, and the command that
    continues. The exit status is 128 plus the signal's number, 130 for Ctrl-C.
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
    """Say what the command is about to do, for the line that a signal ends it with; ends it if one has come.

    Args:
        doing: What it does, such as ``testing``.
        advice: What is kept if it is stopped, and the command that continues.

    Raises:
        Interrupted: If a signal has come that something before deferred.

    """
    if request := StopRequest.current():
        request.doing, request.advice = doing, advice
        request.check()


def finish_first(doing: str) -> AbstractContextManager[None]:
    """A block that a signal does not stop, such as writing a file; it ends the command afterwards.

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
    record = _log.makeRecord(_log.name, logging.WARNING, __file__, 0, line, (), None)
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.FileHandler):
            handler.handle(record)
    with suppress(OSError):
        print(line, file=sys.stderr, flush=True)
    _give_up_broken_streams()


def _give_up_broken_streams() -> None:
    """Keep Python from failing at its end over a terminal or a pipe that has gone, as ``tee`` does at Ctrl-C."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        except ValueError:  # closed already
            continue
