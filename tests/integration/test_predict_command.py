"""The predict command on trained checkpoints: what it finds is what the test of the training found."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import hydra
import numpy as np
import pandas as pd
import pytest
from hydra.core.global_hydra import GlobalHydra

from vestim_pl.app.configuration import check, conf_folder
from vestim_pl.deploy.checkpoint import load_checkpoint
from vestim_pl.deploy.intervals import PredictionIntervals
from vestim_pl.errors import ConfigurationError, DataError
from vestim_pl.predict import predict
from vestim_pl.train import train

ROOT = Path(__file__).resolve().parents[2]


def settings(**values):
    GlobalHydra.instance().clear()
    with hydra.initialize_config_dir(str(conf_folder()), version_base="1.3"):
        config = hydra.compose("predict", [f"{name}={value}" for name, value in values.items()])
    check(config)
    return config


@pytest.fixture(scope="module")
def run(trained) -> Path:
    """Folder of the shared training."""
    return Path(trained.best_checkpoint).parents[1]


@pytest.fixture
def recordings_of_run(run) -> Path:
    return run.parent / "recordings"


def compare(run: Path, predicted: Path, skipped: int) -> None:
    """Compare a prediction with the table of the test, in which the first rows of each recording are missing."""
    steps = pd.read_parquet(run / "test_steps.parquet")
    assert steps["recording"].nunique() == len(list(predicted.iterdir()))
    for name, tested in steps.groupby("recording"):
        found = pd.read_parquet(predicted / f"{name}.parquet").iloc[skipped:]
        assert len(found) == len(tested)
        np.testing.assert_allclose(found["estimated_v"], tested["estimated"], atol=2e-6)
        for column in ("lower_v", "upper_v"):
            np.testing.assert_allclose(found[column], tested[column], atol=2e-6)
        np.testing.assert_array_equal(found["outside_training_range"] != "", tested["outside"])


def test_it_equals_the_test_of_a_training_on_streams(run, trained, recordings_of_run, tmp_path):
    figures = predict(
        settings(checkpoint=trained.best_checkpoint, input=recordings_of_run / "test", output=tmp_path / "out")
    )
    compare(run, tmp_path / "out", skipped=19)
    errors = trained.test_errors.set_index("recording")["rmse_mv"]
    for name, found in figures.items():
        assert float(found.errors.compute()["rmse_mv"]) == pytest.approx(errors[Path(name).stem], rel=1e-4)


def test_it_equals_the_test_of_a_training_on_windows_with_rc_pairs_and_a_horizon(compose, small, recordings, tmp_path):
    train(compose(*small, "trainer.max_epochs=1", "data.rc_pairs=[5,100]", "sampling.horizon=1", "coverage=0.5"))
    checkpoint = tmp_path / "run" / "checkpoints" / "best.ckpt"
    predict(settings(checkpoint=checkpoint, input=recordings / "test", output=tmp_path / "out"))
    compare(tmp_path / "run", tmp_path / "out", skipped=20)


def test_the_best_checkpoint_has_intervals_only_where_they_are_wanted(trained, compose, small, tmp_path):
    intervals = PredictionIntervals.of(load_checkpoint(trained.best_checkpoint))
    assert intervals.coverage == pytest.approx(0.5)
    train(compose(*small, "trainer.max_epochs=1", "coverage=null", "test=false"))
    assert PredictionIntervals.of(load_checkpoint(tmp_path / "run" / "checkpoints" / "best.ckpt")) is None


@pytest.mark.parametrize("coverage", [0, 1, 1.5])
def test_a_coverage_that_is_none_is_refused_before_training(compose, small, coverage):
    with pytest.raises(ConfigurationError, match=r"^coverage: .* is not between 0 and 1"):
        train(compose(*small, f"coverage={coverage}"))


def test_a_broken_recording_does_not_stop_the_others(trained, recordings_of_run, tmp_path, caplog):
    folder = tmp_path / "in"
    (folder / "sub").mkdir(parents=True)
    whole = next((recordings_of_run / "test").glob("*.parquet"))
    (folder / "a.parquet").write_bytes(whole.read_bytes()[:500])
    pd.read_parquet(whole).to_csv(folder / "sub" / "b.csv", index=False)
    with pytest.raises(DataError, match=r"^input: 1 of 2 recordings could not be used \(a\.parquet\)"):
        predict(settings(checkpoint=trained.best_checkpoint, input=folder, output=tmp_path / "out"))
    assert [path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.*")] == ["sub/b.csv"]
    (line,) = [record.getMessage() for record in caplog.records if record.getMessage().startswith("error: a.parquet: ")]
    assert "\n" not in line
    assert "on_bad_file" not in line


def test_the_command_says_what_it_did_and_leaves_nothing_else(trained, recordings_of_run, tmp_path):
    done = subprocess.run(
        [
            sys.executable, "-m", "vestim_pl.predict", f"checkpoint={trained.best_checkpoint}",
            f"input={recordings_of_run / 'test'}", "output=out", "format=csv",
        ],
        cwd=tmp_path, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert re.search(r"^f_25degC\.parquet: \d+ rows, RMSE", done.stdout, re.MULTILINE)
    assert "2 recordings written to out" in done.stdout
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["f_25degC.csv", "g_25degC.csv", "out"]


def test_the_python_of_the_page_runs(trained, recordings_of_run, tmp_path):
    """In a folder with ``best.ckpt`` and ``drive.csv``, block after block."""
    shutil.copy(trained.best_checkpoint, tmp_path / "best.ckpt")
    pd.read_parquet(recordings_of_run / "test" / "f_25degC.parquet").to_csv("drive.csv", index=False)
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "predict.md").read_text(), flags=re.DOTALL)
    assert len(blocks) == 3
    names: dict = {}
    for block in blocks:
        exec(block, names)
    assert names["volts"] == pytest.approx(names["result"]["estimated_v"].iloc[0], abs=1e-6)
