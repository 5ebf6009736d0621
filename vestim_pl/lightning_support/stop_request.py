"""Handle the signals that end a process, Ctrl-C, SIGTERM, SIGHUP and SIGUSR1, in one place."""

import os
import signal
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from subprocess import Popen
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any, ClassVar, Self

if TYPE_CHECKING:  # this module is imported before torch
    from lightning.pytorch import Trainer

__all__ = [
    "Interrupted",
    "StopRequest",
    "is_first_process",
    "signal_name",
    "switch_off_handlers",
    "without_lightnings_handlers",
]

# Windows has neither SIGHUP nor SIGUSR1.
_NAMES = ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1")
_RANKS = ("RANK", "LOCAL_RANK", "NODE_RANK", "SLURM_PROCID", "JSM_NAMESPACE_RANK")
_SIGNALS = tuple(int(getattr(signal, name)) for name in _NAMES if hasattr(signal, name))


class Interrupted(SystemExit):
    """A signal ended the work in an orderly way; uncaught, the process exits with 128 plus the number of the signal.

    It is not an ``Exception``, so that code that catches errors does not catch it, and not a ``KeyboardInterrupt``, on
    which Lightning kills the other processes and exits with 1.

    Args:
        number: Number of the signal.
        reason: What was stopped and what is kept.
        reported: Whether the reason is already in the log.

    Example::

        >>> stop = Interrupted(2, "interrupted after step 37")
        >>> stop.code, stop.reason
        (130, 'interrupted after step 37')

    """

    def __init__(self, number: int, reason: str = "", reported: bool = False) -> None:
        super().__init__(128 + number)
        self.signal = number
        self.reason = reason
        self.reported = reported


class StopRequest:
    """Handles the signals while its context is active, and keeps the number of the first.

    The first signal is acknowledged at once by a line on standard error, even while the main thread is in a long call
    into C, where Python runs no handlers. Outside `deferred` it then raises `Interrupted` at the current line. Inside,
    it waits until `check` is called after the block. The second signal ends the process at once, with the processes in
    ``children``; files on disk stay.

    An ignored signal, such as SIGHUP under ``nohup``, stays ignored, and handlers of the surrounding program stay. No
    signals are handled outside the main thread. A forked child, such as a worker of a data loader, leaves Ctrl-C to its
    parent. A process that Lightning has started leaves the decision and all printing to the first process.

    Attributes:
        signal: Number of the first signal; None before.
        doing: What the program is doing, for the messages.
        advice: What is kept, and the command that resumes from there.
        children: Processes that a second signal ends too.

    Example::

        >>> with StopRequest() as request:
        ...     with request.deferred("saving the results first"):
        ...         finished = True  # a signal here ends the program afterwards
        ...     request.check()
        >>> request.signal is None
        True

    """

    _current: ClassVar["StopRequest | None"] = None

    def __init__(self, doing: str = "starting") -> None:
        self.signal: int | None = None
        self.doing = doing
        self.advice = ""
        self.children: list[Popen[Any]] = []
        self._deferred: list[str] = []
        self._previous: dict[int, Any] = {}
        self._outer: StopRequest | None = None
        self._process = os.getpid()
        self._acknowledged = False
        self._lock = threading.RLock()
        self._watch: socket.socket | None = None

    @classmethod
    def current(cls) -> "StopRequest | None":
        return cls._current

    def __enter__(self) -> Self:
        self._process, self._outer = os.getpid(), StopRequest._current
        StopRequest._current = self
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
                    self._previous[number] = signal.signal(number, self._receive)
            self._start_watching()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        StopRequest._current = self._outer
        if self._watch is not None:
            signal.set_wakeup_fd(-1)
            self._watch.close()  # ends the thread
            self._watch = None
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous.clear()

    @contextmanager
    def deferred(self, doing: str) -> Iterator[None]:
        """Defer a signal until `check` is called after this block; ``doing`` is what is finished first."""
        self._deferred.append(doing)
        try:
            yield
        finally:
            self._deferred.pop()

    def check(self) -> None:
        """Raise `Interrupted` if a signal has come and no block defers it.

        Raises:
            Interrupted: With what the program was doing.

        """
        if self.signal is not None and not self._deferred and not _follows_first_process():
            raise Interrupted(self.signal, f"interrupted by {signal_name(self.signal)} while {self.doing}")

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:
            _end_in_child(number)
        elif self.signal is not None:
            self._end_at_once(number)
        else:
            self.signal = number
            self._acknowledge(number)
            self.check()

    def _acknowledge(self, number: int) -> None:
        """Print the line for the first signal, once, as the handler and the watching thread both call this."""
        with self._lock:
            if not self._acknowledged:
                self._acknowledged = True
                _detach_dead_terminal()
                what = f": {self._deferred[-1]}" if self._deferred else f" while {self.doing}: stopping"
                _say(f"{signal_name(number)}{what}; a second signal ends at once")

    def _end_at_once(self, number: int) -> None:
        with self._lock:
            _say(f"{signal_name(number)}: ending at once; what is on disk stays")
            for child in self.children:
                with suppress(OSError):
                    child.kill()
            os._exit(128 + number)

    def _start_watching(self) -> None:
        """Make Python's C handler send the number of each signal to a thread, unless other code uses the wakeup fd."""
        reading, writing = socket.socketpair()
        writing.setblocking(False)
        before = signal.set_wakeup_fd(writing.fileno(), warn_on_full_buffer=False)
        if before != -1:
            signal.set_wakeup_fd(before)
            writing.close()
            reading.close()
            return
        self._watch = writing
        threading.Thread(target=self._notice, args=(reading,), name="signals", daemon=True).start()

    def _notice(self, reading: socket.socket) -> None:
        """Acknowledge the first signal and end at the second, even while the main thread runs C code."""
        noticed = 0
        with reading:
            while numbers := reading.recv(16):
                for number in numbers:
                    if number in self._previous:
                        noticed += 1
                        if noticed == 1:
                            self._acknowledge(number)
                        else:
                            self._end_at_once(number)


def signal_name(number: int) -> str:
    """The usual name of a signal: ``Ctrl-C`` for 2, ``SIGTERM`` for 15."""
    return "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name


def _stop_watching_in_child() -> None:
    """Keep a forked child from sending its signals to the thread of its parent."""
    if StopRequest.current() is not None:
        with suppress(ValueError):  # not forked from the main thread
            signal.set_wakeup_fd(-1)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_stop_watching_in_child)


def _end_in_child(number: int) -> None:
    """End a forked child at SIGTERM; it leaves the other signals to its parent."""
    if number == signal.SIGTERM:
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)


def _say(line: str) -> None:
    """Write a line to standard error with a call that is safe in a handler, even if the terminal is gone."""
    if is_first_process():
        with suppress(OSError):
            os.write(2, f"{line}\n".encode())


def _detach_dead_terminal() -> None:
    """Send output to the null device if the terminal is gone, as after SIGHUP, when printing would raise errors."""
    for descriptor in (1, 2):
        try:
            os.write(descriptor, b"")
        except OSError:
            with suppress(OSError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)


def is_first_process(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether this is the process of rank zero, which prints and gives the exit status; needs no trainer.

    Reads the variables of Lightning, torchrun and Slurm.

    Example::

        >>> is_first_process({}), is_first_process({"LOCAL_RANK": "0"}), is_first_process({"SLURM_PROCID": "3"})
        (True, True, False)

    """
    return all(environment.get(name, "0") in ("", "0") for name in _RANKS)


def _follows_first_process(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether Lightning has started this process, so that the first process decides for it."""
    external = "TORCHELASTIC_RUN_ID" in environment or "SLURM_PROCID" in environment
    return int(environment.get("LOCAL_RANK") or 0) > 0 and not external


@contextmanager
def without_lightnings_handlers(trainer: "Trainer") -> Iterator[None]:
    """Keep Lightning from installing signal handlers within this context; enter it in ``setup``.

    Lightning's handler of SIGTERM starts a collective operation at any point of the program. Under Slurm its handlers
    save a checkpoint within a step and requeue the job. At the end of the fit it restores the handlers that it found at
    the start, even if they have changed since.

    Example::

        >>> from lightning.pytorch import Trainer
        >>> trainer = Trainer(logger=False, enable_checkpointing=False)
        >>> with without_lightnings_handlers(trainer):
        ...     trainer._signal_connector.register_signal_handlers()
        >>> trainer._signal_connector._original_handlers
        {}

    """
    before = "register_signal_handlers" in vars(trainer._signal_connector)
    switch_off_handlers(trainer)
    try:
        yield
    finally:
        if not before:
            vars(trainer._signal_connector).pop("register_signal_handlers", None)


def switch_off_handlers(trainer: "Trainer") -> None:
    """Replace a method of Lightning's private signal connector for good; tested with lightning 2.6.6."""
    connector: Any = trainer._signal_connector
    connector.register_signal_handlers = _register_nothing


def _register_nothing() -> None:
    """Replaces Lightning's method; unlike a lambda it can be pickled."""
