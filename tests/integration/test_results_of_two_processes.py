"""Two processes share a test: files and output are complete, come once, and equal those of one process."""

import os
import subprocess
import sys
from pathlib import Path

import lightning.pytorch as pl
import pandas as pd
import pytest

from tests.composing import compose
from vestim_pl.data import VoltageDataModule, WindowSampling
from vestim_pl.deploy.checkpoint import load_estimator
from vestim_pl.evaluate import evaluate

pytestmark = pytest.mark.slow


def run(command: str, folder: Path, *overrides: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", f"vestim_pl.{command}", *overrides, "trainer.devices=2", "trainer.accelerator=cpu"],
        cwd=folder, capture_output=True, text=True, timeout=400, check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "120", "GLOO_SOCKET_IFNAME": "lo"},
    )  # fmt: skip


def evaluate_in_one_process(folder: Path, *overrides: str) -> pd.DataFrame:
    folder.mkdir()
    return evaluate(compose(f"run_dir={folder}", "trainer.accelerator=cpu", *overrides, command="evaluate"))


def assert_same_test(one: Path, two: Path) -> None:
    steps, expected = (pd.read_parquet(folder / "test_steps.parquet") for folder in (two, one))
    assert steps["estimated"].to_numpy() == pytest.approx(expected["estimated"].to_numpy(), abs=1e-6)
    pd.testing.assert_frame_equal(steps.drop(columns="estimated"), expected.drop(columns="estimated"))
    tables = [pd.read_csv(folder / "test_errors.csv") for folder in (two, one)]
    pd.testing.assert_frame_equal(*tables, atol=2e-3, rtol=0)


def assert_said_once(done: subprocess.CompletedProcess[str], *texts: str) -> None:
    assert done.returncode == 0, done.stderr
    for text in texts:
        assert done.stdout.count(text) == 1, f"{text!r} in\n{done.stdout}"
    assert "sync_dist" not in done.stderr
    assert "Warning" not in done.stderr


def test_training_tests_all_recordings_and_measures_what_one_process_does(tmp_path, recordings, small):
    folder = tmp_path / "two"
    done = run(
        "train", tmp_path, "data=folder", f"data.root={recordings}", *small, "trainer.max_epochs=1",
        "sampling.evaluation_batch_size=1", "sampling.batch_size=32", f"hydra.run.dir={folder}",
    )  # fmt: skip
    assert_said_once(done, "recordings in", "epoch 0: train", "best validation RMSE", "Test: ", "overall", "report: ")
    best = folder / "checkpoints" / "best.ckpt"
    given = [f"ckpt_path={best}", "data=folder", f"data.root={recordings}", "sampling.lookback=20"]
    errors = evaluate_in_one_process(tmp_path / "one", *given, "sampling.evaluation=windows")
    assert_same_test(tmp_path / "one", folder)
    assert errors["recording"].tolist() == ["f_25degC", "g_25degC", "overall"]
    metrics = pd.read_csv(folder / "metrics.csv")
    logged = {key: metrics[key].dropna().item() for key in ("test/rmse_mv", "val/rmse_mv", "val/max_error_mv")}
    assert logged["test/rmse_mv"] == pytest.approx(errors["rmse_mv"].iloc[-1], abs=1e-3)
    data = VoltageDataModule(recordings, WindowSampling(lookback=20))
    assert (data.table("val").rows - 19) % 2 == 1, "an even number of windows needs no repeated one"
    trainer = pl.Trainer(accelerator="cpu", logger=False, enable_progress_bar=False)
    [expected] = trainer.validate(load_estimator(best), datamodule=data, verbose=False)
    for key in ("val/rmse_mv", "val/max_error_mv"):
        assert logged[key] == pytest.approx(expected[key], abs=1e-3), key


def test_evaluate_streams_one_recording_though_a_process_has_none(tmp_path, compose, small, recordings):
    from vestim_pl.train import train

    train(compose(*small, "trainer.max_epochs=1", "test=false"))
    (recordings / "test" / "f_25degC.parquet").unlink()
    given = [
        f"ckpt_path={tmp_path / 'run' / 'checkpoints' / 'best.ckpt'}", "data=folder", f"data.root={recordings}",
        "sampling.lookback=20",
    ]  # fmt: skip
    done = run("evaluate", tmp_path, *given, f"hydra.run.dir={tmp_path / 'two'}")
    assert_said_once(done, "recordings in", "Test: ", "overall", "report: ")
    evaluate_in_one_process(tmp_path / "one", *given)
    assert_same_test(tmp_path / "one", tmp_path / "two")


def test_a_divergence_of_all_processes_is_one_error_line(tmp_path, recordings, small):
    done = run(
        "train", tmp_path, "data=folder", f"data.root={recordings}", *small, "optimizer.lr=1e30",
        "callbacks.recovery=null", f"hydra.run.dir={tmp_path / 'two'}",
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.count("error: ") == 1, done.stderr
    assert "skips in a row" in done.stderr
    assert done.stdout.count("report: ") == 1
    stops = [line for line in (tmp_path / "two" / "events.jsonl").read_text().splitlines() if '"kind": "stop"' in line]
    assert len(stops) == 1


FAIL_ONE = """
from lightning.pytorch import Callback
from vestim_pl.errors import DataError
class FailOne(Callback):
    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.global_rank == 1 and batch_idx == 1:
            raise DataError("a.parquet: has gone")
"""


def test_what_one_process_fails_for_is_the_one_error_line_and_in_the_events(tmp_path, recordings, small, monkeypatch):
    (tmp_path / "fail_one.py").write_text(FAIL_ONE)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    done = run(
        "train", tmp_path, "data=folder", f"data.root={recordings}", *small, f"hydra.run.dir={tmp_path / 'two'}",
        "+callbacks.fail._target_=fail_one.FailOne",
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr == "error: a.parquet: has gone\n"
    assert '"reason": "process 1: a.parquet: has gone"' in (tmp_path / "two" / "events.jsonl").read_text()
    assert "process 1: a.parquet: has gone" in (tmp_path / "two" / "report.html").read_text()
