"""A log file on a full disk: one warning, no traceback for every line."""

import logging
from pathlib import Path

import pytest

from vestim_pl.app.log_handlers import LogFile


@pytest.fixture
def log(request):
    """A logger of its own with a log file on a full disk."""
    if not Path("/dev/full").exists():
        pytest.skip("/dev/full is there on Linux alone")
    Path("train.log").symlink_to("/dev/full")
    logger, handler = logging.getLogger("test_log_file"), LogFile("train.log")
    logger.addHandler(handler)
    yield logger
    logger.removeHandler(handler)


def test_a_full_disk_is_one_warning(log, caplog, capfd):
    for epoch in range(5):
        log.warning("epoch %d", epoch)
    told = [record.getMessage() for record in caplog.records if record.name == "vestim_pl"]
    assert len(told) == 1
    assert "train.log is incomplete: the disk is full" in told[0]
    assert capfd.readouterr().err == ""


def test_a_line_that_cannot_be_formatted_is_a_bug_of_ours(capfd):
    LogFile("train.log").emit(logging.LogRecord("vestim_pl", logging.INFO, "", 0, "%d epochs", ("three",), None))
    assert "Logging error" in capfd.readouterr().err
