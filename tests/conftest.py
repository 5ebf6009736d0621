"""Fixtures that every part of the test suite shares."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def lg_hg2() -> Path:
    """Folder of the measured LG HG2 drive cycles; skips if they are missing."""
    folder = Path(os.environ.get("VESTIM_LG_HG2", ROOT.parent / "shared" / "data" / "lg-hg2"))
    if not (folder / "train").is_dir():
        pytest.skip(
            "the measured LG HG2 drive cycles are not on this machine; set VESTIM_LG_HG2 to their folder to run it"
        )
    return folder


@pytest.fixture
def default_signal_handlers() -> Iterator[None]:
    """Handlers as in a fresh process; pytest itself may have been started with Ctrl-C ignored."""
    numbers = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1]
    before = {number: signal.getsignal(number) for number in numbers}
    for number in numbers:
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
