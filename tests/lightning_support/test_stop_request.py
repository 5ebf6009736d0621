"""The owner of the signals: the first waits or raises, the second ends the process, forks keep out of it."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from vestim_pl.lightning_support.stop_request import Interrupted, StopRequest

pytestmark = pytest.mark.usefixtures("default_signal_handlers")
SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1]


@pytest.mark.parametrize("number", SIGNALS)
def test_the_first_signal_is_acknowledged_at_once_and_stops_what_runs(number, capfd):
    def sleep() -> None:
        os.kill(os.getpid(), number)
        time.sleep(5)

    with StopRequest("reading") as request, pytest.raises(Interrupted, match=str(128 + number)) as stop:
        sleep()
    assert "while reading: stopping; a second signal ends at once" in capfd.readouterr().err
    assert "while reading" in stop.value.reason
    assert request.signal == number


def test_no_code_that_survives_errors_survives_it():
    def survive() -> None:
        with contextlib.suppress(Exception, KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGTERM)

    with StopRequest(), pytest.raises(Interrupted):
        survive()


def test_what_defers_it_is_finished_first(capfd):
    with StopRequest("training") as request:
        with request.deferred("writing the report"), request.deferred("writing a figure"):
            os.kill(os.getpid(), signal.SIGINT)
            request.check()
            finished = True
        assert "Ctrl-C: writing a figure" in capfd.readouterr().err
        with pytest.raises(Interrupted):
            request.check()
    assert finished


def test_the_handlers_come_back_and_the_outer_request_holds_again():
    before = [signal.getsignal(number) for number in SIGNALS]
    with StopRequest() as outer:
        held = [signal.getsignal(number) for number in SIGNALS]
        with StopRequest() as inner:
            assert StopRequest.current() is inner
        assert StopRequest.current() is outer
        assert [signal.getsignal(number) for number in SIGNALS] == held
    assert StopRequest.current() is None
    assert [signal.getsignal(number) for number in SIGNALS] == before


def test_outside_of_the_main_thread_it_takes_nothing():
    before = [signal.getsignal(number) for number in SIGNALS]
    inside = []

    def enter():
        with StopRequest():
            inside.extend(signal.getsignal(number) for number in SIGNALS)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert inside == before


def test_a_forked_worker_leaves_ctrl_c_to_its_parent_and_ends_by_sigterm():
    def child(number: int) -> int:
        forked = os.fork()
        if forked == 0:
            try:
                os.kill(os.getpid(), number)
                time.sleep(0.05)
            except BaseException:
                os._exit(7)
            os._exit(0)
        return os.waitstatus_to_exitcode(os.waitpid(forked, 0)[1])

    with StopRequest():
        assert [child(number) for number in SIGNALS] == [0, -signal.SIGTERM, 0, 0]


SCRIPT = """
import os, signal, subprocess, sys, time
from vestim_pl.lightning_support.stop_request import StopRequest
with StopRequest() as request, request.deferred("waiting"):
    request.children.append(subprocess.Popen(["sleep", "60"]))
    print(request.children[0].pid, flush=True)
    os.kill(os.getpid(), signal.SIGINT)
    os.kill(os.getpid(), signal.SIGTERM)
    print("went on")
"""


def test_the_second_signal_ends_the_process_and_its_children_at_once():
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=60, check=False,
                          preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))  # fmt: skip
    assert done.returncode == 128 + signal.SIGTERM
    assert "went on" not in done.stdout
    assert done.stderr.splitlines()[-1] == "SIGTERM: ending at once; what is on disk stays"
    deadline = time.monotonic() + 5
    while os.path.exists(f"/proc/{done.stdout.strip()}/exe") and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not os.path.exists(f"/proc/{done.stdout.strip()}/exe")


IN_C = """
import hashlib, os, signal, threading, time
from vestim_pl.lightning_support.stop_request import StopRequest
def send():
    for _ in range(2):
        time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGINT)
with StopRequest("computing") as request:
    threading.Thread(target=send).start()
    hashlib.pbkdf2_hmac("sha256", b"", b"", 2**31 - 1)
"""


def test_signals_are_heard_while_the_main_thread_is_in_a_long_call_into_c():
    done = subprocess.run([sys.executable, "-c", IN_C], capture_output=True, text=True, timeout=60, check=False,
                          preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))  # fmt: skip
    assert done.returncode == 130
    first, second = done.stderr.splitlines()
    assert first == "Ctrl-C while computing: stopping; a second signal ends at once"
    assert second == "Ctrl-C: ending at once; what is on disk stays"


def test_signals_of_a_forked_worker_are_not_taken_for_those_of_its_parent(capfd):
    with StopRequest() as request:
        forked = os.fork()
        if forked == 0:
            for number in (signal.SIGINT, signal.SIGINT, signal.SIGHUP):
                os.kill(os.getpid(), number)
            os._exit(0)
        os.waitpid(forked, 0)
        time.sleep(0.2)
    assert request.signal is None
    assert capfd.readouterr().err == ""


def test_importing_it_loads_neither_torch_nor_lightning():
    """Signals are taken before anything heavy is imported."""
    code = "import sys, vestim_pl.lightning_support.stop_request; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
