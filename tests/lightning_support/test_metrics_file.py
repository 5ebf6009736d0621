"""metrics.csv keeps the rows that it has, whatever becomes of the next ones."""

import csv
import errno
from pathlib import Path

import pandas as pd
import pytest
from lightning.pytorch.loggers import CSVLogger

from vestim_pl.errors import FileError
from vestim_pl.lightning_support.metrics_file import MetricsFile


def logger_with_rows(rows: int = 3) -> MetricsFile:
    logger = MetricsFile(".", name="", version="")
    for step in range(rows):
        logger.log_metrics({"train/loss": 1.0 / (step + 1)}, step=step)
    logger.save()
    return logger


def full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every write of a row ends in half of it."""

    def writerows(self, rows):
        self.writer.writerow(["torn"])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(csv.DictWriter, "writerows", writerows)


@pytest.mark.parametrize("metrics", [{"train/loss": 0.1}, {"val/rmse_mv": 12.0}])
def test_a_full_disk_stops_and_keeps_the_rows(metrics, monkeypatch):
    logger = logger_with_rows()
    before = Path("metrics.csv").read_text()
    logger.log_metrics(metrics, step=3)
    with monkeypatch.context() as patch:
        full_disk(patch)
        with pytest.raises(FileError, match=r"metrics\.csv: cannot be written: the disk is full"):
            logger.save()
        assert Path("metrics.csv").read_text() == before
        assert [path.name for path in Path().iterdir()] == ["metrics.csv"]
        logger.finalize("failed")  # of a run that is stopping for a reason of its own
    logger.save()
    table = pd.read_csv("metrics.csv")
    assert table["step"].tolist() == [0, 1, 2, 3]
    assert table.iloc[3][next(iter(metrics))] == next(iter(metrics.values()))


def test_the_last_rows_of_a_run_that_went_well_are_not_lost_silently(monkeypatch):
    logger = logger_with_rows()
    logger.log_metrics({"train/loss": 0.1}, step=3)
    full_disk(monkeypatch)
    with pytest.raises(FileError):
        logger.finalize("success")


def test_rows_that_a_failing_run_cannot_write_are_a_warning(monkeypatch, caplog):
    logger = logger_with_rows()
    logger.log_metrics({"train/loss": 0.1}, step=3)
    full_disk(monkeypatch)
    logger.finalize("failed")
    assert "the last 1 rows of metrics are lost" in caplog.text


def test_a_folder_that_is_gone_is_not_made_again(tmp_path):
    logger = MetricsFile(str(tmp_path / "run"), name="", version="")
    logger.log_metrics({"train/loss": 0.1}, step=0)
    (tmp_path / "run").rmdir()
    with pytest.raises(FileError, match="run is gone; was it removed or unmounted"):
        logger.save()


def test_the_file_is_that_of_lightning(tmp_path):
    texts = []
    for kind in (CSVLogger, MetricsFile):
        logger = kind(str(tmp_path / kind.__name__), name="", version="")
        logger.log_metrics({"a": 1.0}, step=0)
        logger.save()
        logger.log_metrics({"a": 2.0}, step=1)
        logger.save()
        logger.log_metrics({"b": 3.0}, step=1)
        logger.finalize("success")
        texts.append((tmp_path / kind.__name__ / "metrics.csv").read_text())
    assert texts[0] == texts[1]
