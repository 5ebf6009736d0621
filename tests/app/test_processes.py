import logging
import threading
import time

import pytest

from vestim_pl.app.processes import OtherProcesses, leave_terminal_to_first
from vestim_pl.lightning_support.stop_request import is_first_process


def test_the_terminal_of_another_process_shows_errors_alone_and_its_log_file_everything(tmp_path, monkeypatch):
    root, terminal = logging.getLogger(), logging.StreamHandler()
    file = logging.FileHandler(tmp_path / "train.log")
    monkeypatch.setattr(root, "handlers", [terminal, file])
    leave_terminal_to_first()
    assert terminal.level == logging.NOTSET
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert not is_first_process()
    leave_terminal_to_first()
    assert (terminal.level, file.level) == (logging.ERROR, logging.NOTSET)
    file.close()


@pytest.mark.parametrize(("first", "own", "other", "said"), [
    (False, "train_ddp_process_1.log", "train.log", "training diverged"),
    (True, "train.log", "train_ddp_process_1.log", "process 1: training diverged"),
])  # fmt: skip
def test_an_error_counts_that_another_process_logs_from_now_on(tmp_path, monkeypatch, first, own, other, said):
    monkeypatch.setenv("LOCAL_RANK", "0" if first else "1")
    for name in (own, other):
        (tmp_path / name).write_text("07:00:00 error: of an earlier attempt in this folder\n")
    others = OtherProcesses(tmp_path)
    with (tmp_path / own).open("a") as file:
        file.write("07:00:03 error: of this process\n")
    assert others.error(patience=0.0) is None

    def write():
        time.sleep(0.3)
        with (tmp_path / other).open("a") as file:
            file.write("07:00:03 error: training diverged\n07:00:04 report\n")

    writer = threading.Thread(target=write)
    writer.start()
    assert others.error(patience=20.0) == said
    writer.join()


def test_what_the_first_process_repeats_of_this_one_is_no_error_of_the_first(tmp_path, monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "1")
    (tmp_path / "train.log").write_text("07:00 error: process 1: a.parquet: has gone\n")
    others = OtherProcesses(tmp_path / "nowhere")
    others.folder = tmp_path
    assert others.error(0.0) is None


def test_a_bug_of_another_process_is_named_with_the_file_that_has_its_traceback(tmp_path):
    others = OtherProcesses(tmp_path)
    (tmp_path / "train_ddp_process_2.log").write_text("07:00 an error of the program, please report it:\nTraceback\n")
    assert others.error(0.0) == (
        f"process 2: an error of the program; {tmp_path / 'train_ddp_process_2.log'} has its traceback"
    )
