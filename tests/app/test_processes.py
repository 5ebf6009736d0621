import logging
import threading
import time

from vestim_pl.app.processes import FirstProcess, is_first_process, leave_terminal_to_first


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


def test_an_error_counts_that_the_first_process_logs_while_the_other_runs(tmp_path):
    log = tmp_path / "train.log"
    log.write_text("07:00:00 error: of an earlier attempt in this folder\n")
    (tmp_path / "train_ddp_process_1.log").write_text("")
    first = FirstProcess(tmp_path)
    with (tmp_path / "train_ddp_process_1.log").open("a") as own:
        own.write("07:00:03 error: of this process\n")
    assert not first.reports_error(patience=0.0)

    def write():
        time.sleep(0.3)
        with log.open("a") as file:
            file.write("07:00:03 error: training diverged\n")

    writer = threading.Thread(target=write)
    writer.start()
    assert first.reports_error(patience=20.0)
    writer.join()
