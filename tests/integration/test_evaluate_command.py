from pathlib import Path

import pandas as pd
import pytest
from omegaconf import OmegaConf

from tests import composing
from tests.integration.conftest import simulate_recording
from vestim_pl.app.configuration import check
from vestim_pl.errors import ConfigurationError, DataError
from vestim_pl.evaluate import evaluate, main
from vestim_pl.train import train


@pytest.fixture
def checkpoint(trained):
    return trained.best_checkpoint


@pytest.fixture
def settings(recordings, tmp_path):
    def compose_evaluate(checkpoint, *overrides):
        (tmp_path / "evaluated").mkdir(exist_ok=True)
        config = composing.compose(
            f"ckpt_path={checkpoint}", "data=folder", f"data.root={recordings}", f"run_dir={tmp_path / 'evaluated'}",
            "sampling.lookback=20", *overrides, command="evaluate",
        )  # fmt: skip
        check(config)
        return config

    return compose_evaluate


def test_it_finds_what_the_training_found_and_leaves_table_estimates_and_report(
    trained, checkpoint, settings, tmp_path
):
    config, folder = settings(checkpoint, "sampling.burn_in=null"), tmp_path / "evaluated"
    (folder / ".hydra").mkdir()
    OmegaConf.save(config, folder / ".hydra" / "config.yaml")
    errors = evaluate(config)
    pd.testing.assert_frame_equal(errors, trained.test_errors)
    pd.testing.assert_frame_equal(pd.read_csv(folder / "test_errors.csv"), errors)
    assert len(pd.read_parquet(folder / "test_steps.parquet")) == errors["steps"].iloc[-1]
    page = (folder / "report.html").read_text()
    assert "a checkpoint was tested, nothing was trained" in page
    assert "events.jsonl" not in page


def test_other_recordings_need_no_training_split_and_are_estimated_as_asked(checkpoint, settings, tmp_path):
    (tmp_path / "other" / "test").mkdir(parents=True)
    simulate_recording(200, seed=5).to_parquet(tmp_path / "other" / "test" / "=z.parquet", index=False)
    root = f"data.root={tmp_path / 'other'}"
    streamed = evaluate(settings(checkpoint, root, "sampling.burn_in=30"))
    windows = evaluate(settings(checkpoint, root, "sampling.evaluation=windows"))
    assert streamed["recording"].tolist() == windows["recording"].tolist() == ["=z", "overall"]
    assert "\n'=z,181," in (tmp_path / "evaluated" / "test_errors.csv").read_text(), "a spreadsheet would run it"
    assert streamed["steps"].iloc[-1] == 170
    assert windows["steps"].iloc[-1] == 181
    assert main(settings(checkpoint, root, "sampling.evaluation=windows")) == windows["rmse_mv"].iloc[-1]


def test_mistakes_are_told(checkpoint, settings, tmp_path):
    with pytest.raises(ConfigurationError, match=r"^ckpt_path: nowhere\.ckpt is not a file"):
        evaluate(settings("nowhere.ckpt"))
    (tmp_path / "other" / "test").mkdir(parents=True)
    simulate_recording(200, seed=5).drop(columns="SOC").to_parquet(tmp_path / "other" / "test" / "z.parquet")
    with pytest.raises(DataError, match="SOC"):
        evaluate(settings(checkpoint, f"data.root={tmp_path / 'other'}"))


def test_rc_pairs_of_the_checkpoint_reach_beyond_windows_as_in_the_training(compose, small, settings, tmp_path):
    run = train(compose(*small, "trainer.max_epochs=1", "data.rc_pairs=[5,100]", "sampling.evaluation=windows"))
    checkpoint = tmp_path / "run" / "checkpoints" / "best.ckpt"
    pd.testing.assert_frame_equal(evaluate(settings(checkpoint, "sampling.evaluation=windows")), run.test_errors)


def test_several_checkpoints_are_tested_side_by_side(trained, settings, tmp_path):
    folder = Path(trained.best_checkpoint).parent
    errors = evaluate(settings(f"[{folder / 'best.ckpt'},{folder / 'last.ckpt'}]", "sampling.burn_in=null"))
    assert errors["checkpoint"].unique().tolist() == ["best", "last"]
    own = errors[errors["checkpoint"] == "best"].drop(columns="checkpoint").reset_index(drop=True)
    pd.testing.assert_frame_equal(own, trained.test_errors)
    steps = pd.read_parquet(tmp_path / "evaluated" / "test_steps.parquet")
    assert list(steps)[:2] == ["checkpoint", "recording"]
    assert steps.groupby("checkpoint", observed=True).size().tolist() == [own["steps"].iloc[-1]] * 2
    assert set(pd.read_csv(tmp_path / "evaluated" / "test_errors_by.csv")["checkpoint"]) == {"best", "last"}
    assert (tmp_path / "evaluated" / "report.html").is_file()


def test_steps_have_the_intervals_of_the_checkpoint_and_mark_rows_outside_the_training(
    checkpoint, settings, tmp_path, caplog
):
    (tmp_path / "other" / "test").mkdir(parents=True)
    frame = simulate_recording(200, seed=5)
    frame.loc[100:, "Temp"] += 30
    frame.to_parquet(tmp_path / "other" / "test" / "z.parquet", index=False)
    with caplog.at_level("INFO", "vestim_pl"):
        evaluate(settings(checkpoint, f"data.root={tmp_path / 'other'}", "sampling.burn_in=50"))
    steps = pd.read_parquet(tmp_path / "evaluated" / "test_steps.parquet")
    assert steps.loc[50:, "outside"].all()
    assert not steps.loc[:49, "outside"].all()
    outside = int(steps["outside"].sum())
    assert f"best: {outside} of 150 rows ({100 * outside / 150:.2g} %) are outside the training range" in caplog.text
    assert "% of the measured voltages are within the interval" in caplog.text
    width = (steps["upper_v"] - steps["lower_v"]).to_numpy()
    assert (width > 0).all()
    assert width == pytest.approx(width[0])


def test_intervals_of_another_evaluation_are_warned_of(checkpoint, settings, caplog):
    evaluate(settings(checkpoint, "sampling.evaluation=windows"))
    assert "best: its prediction intervals were calibrated with sampling.evaluation=streams" in caplog.text


def test_a_training_does_not_resume_from_a_list(compose):
    config = compose("ckpt_path=[a.ckpt,b.ckpt]")
    with pytest.raises(ConfigurationError, match=r"^ckpt_path: .* is a list; a training resumes from one checkpoint"):
        check(config)
