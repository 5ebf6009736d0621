"""The Quick Test on real trainings: a sound one passes, and each of four others fails by its own monitor."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from omegaconf import OmegaConf

from tests import composing
from tests.integration.slow_machine import CLOCK
from vestim_pl.callbacks.runtime import epoch_summary
from vestim_pl.diagnose import diagnose
from vestim_pl.diagnosis import QuickTest
from vestim_pl.errors import ConfigurationError, DivergenceError
from vestim_pl.train import train

ROOT = Path(__file__).resolve().parents[2]
SOUND = ("sampling.stride=1", "trainer.max_epochs=12", "optimizer.lr=1e-2", "trainer.log_every_n_steps=5", "test=false")


PACE = "+callbacks.pace={_target_:tests.integration.slow_machine.Pace}"


@pytest.fixture
def judge(compose, small, tmp_path, monkeypatch) -> Callable[..., QuickTest]:
    """Train with the preset in this process, on a simulated clock, then judge the folder as the command does."""
    monkeypatch.setattr(epoch_summary, "time", CLOCK)

    def _judge(*overrides: str, checks: str = "quick_test") -> QuickTest:
        config = compose("+preset=quick_test", *small, *SOUND, PACE, *overrides)
        run = tmp_path / "run"
        (run / ".hydra").mkdir(parents=True)
        OmegaConf.save(config, run / ".hydra" / "config.yaml")
        try:
            train(config)
        except DivergenceError as error:
            (run / "train.log").write_text(f"12:00:00 error: {error}\n")
        return QuickTest(diagnose(composing.compose(f"run={run}", f"checks={checks}", command="diagnose")))

    return _judge


def suggestions(test: QuickTest) -> dict[str, str]:
    return {each.check: each.override for each in test.findings if each.override}


def test_a_sound_run_passes_with_figures(judge, capsys):
    test = judge()
    out = capsys.readouterr().out
    assert test.line == "Quick Test: passed", out
    assert test.severity == "ok"
    assert out.splitlines()[-1] == test.line
    assert "12 of 12 epochs in " in out
    for monitor in ("loss", "non-finite", "validation", "epoch time"):
        assert f"\n{monitor:<14}  passed " in out
    assert "s an epoch (median, without the validation)" in out


def test_a_rate_that_diverges_fails_the_loss_and_what_is_non_finite(judge):
    test = judge("optimizer.name=SGD", "optimizer.lr=1e30", "trainer.gradient_clip_val=null")
    assert "loss" in test.line or "not judged: loss" in test.line
    assert "non-finite" in test.line.partition("(")[0]
    assert test.severity == "error"
    assert suggestions(test)["non-finite"].startswith("optimizer.lr=")


def test_a_rate_that_recovery_survives_still_fails_the_loss(judge):
    test = judge("optimizer.lr=30")
    assert "loss" in test.line.partition("(")[0], test
    assert float(suggestions(test)["loss"].removeprefix("optimizer.lr=")) < 30


def test_a_validation_that_stands_still_fails_with_a_rate_that_passes(judge, tmp_path):
    test = judge("optimizer.lr=1e-9")
    assert test.line == "Quick Test: failed: loss, validation"
    [override] = set(suggestions(test).values())
    shutil.rmtree(tmp_path / "run")
    assert "validation" not in judge("trainer.max_epochs=25", override).line


@pytest.mark.parametrize(("factor", "line"), [(5, "Quick Test: failed: epoch time"), (2.5, "Quick Test: passed")])
def test_a_machine_made_slow_in_mid_run_fails_the_epoch_time(judge, factor, line):
    test = judge("+callbacks.pace.slow_from=7", f"+callbacks.pace.factor={factor}")
    assert test.line == line
    assert ("another program used the machine" in test.findings[-1].evidence) == (factor == 5)


def test_a_run_too_short_to_judge_is_not_passed(judge):
    test = judge("trainer.max_epochs=2")
    assert test.line == "Quick Test: not judged: loss, validation, epoch time"
    assert test.severity == "warning"


def test_any_run_is_judged_among_all_checks(judge, capsys):
    judge("optimizer.lr=1e-9", checks="all")
    out = capsys.readouterr().out.splitlines()
    assert any(line.startswith("warning  validation: ") for line in out)
    assert "Quick Test: failed: loss, validation" in out


def test_what_was_not_trained_cannot_be_judged(compose_diagnose, tmp_path):
    with pytest.raises(ConfigurationError, match="name its folder with run=DIR"):
        diagnose(compose_diagnose("checks=quick_test"))
    (tmp_path / "empty" / ".hydra").mkdir(parents=True)
    with pytest.raises(ConfigurationError, match=r"trained nothing, so there is nothing to judge"):
        diagnose(compose_diagnose("checks=quick_test", f"run={tmp_path / 'empty'}"))
    with pytest.raises(ConfigurationError, match=r"checks: 'quick' is unknown; .* 'quick_test'"):
        diagnose(compose_diagnose("checks=quick"))


@pytest.fixture
def script(tmp_path: Path, recordings: Path, small: tuple[str, ...]) -> Callable[..., subprocess.CompletedProcess[str]]:
    """The script itself, in a copy of the checkout whose environment is the one that the tests run in."""
    root = tmp_path / "a checkout"
    (root / "scripts").mkdir(parents=True)
    (root / ".venv" / "bin").mkdir(parents=True)
    shutil.copy(ROOT / "scripts" / "quick_test", root / "scripts")
    for name, text in {
        "scripts/setup_environment": "exit 0",
        ".venv/bin/python": f'exec "{sys.executable}" "$@"',
    }.items():
        (root / name).write_text(f"#!/usr/bin/env bash\n{text}\n")
        (root / name).chmod(0o755)

    def _run(*overrides: str) -> subprocess.CompletedProcess[str]:
        command = [str(root / "scripts" / "quick_test"), "data=folder", f"data.root={recordings}", *small, *SOUND]
        return subprocess.run(
            [*command, *overrides],
            cwd=tmp_path, env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
            capture_output=True, text=True, timeout=900, check=False,
        )  # fmt: skip

    return _run


@pytest.mark.slow
def test_the_script_trains_judges_and_exits_accordingly(script, tmp_path):
    """The epochs last fractions of a second here, so the clock of a busy machine may fail the one monitor of time."""
    done = script()
    verdict = next(line for line in done.stdout.splitlines() if line.startswith("Quick Test: "))
    statuses = {"Quick Test: passed": 0, "Quick Test: failed: epoch time": 2}
    assert done.returncode == statuses[verdict], done.stdout + done.stderr
    [run] = tmp_path.glob("outputs/quick_test/*/*")
    assert json.loads((run / "quick_test.json").read_text())["verdict"] == verdict


@pytest.mark.slow
def test_the_script_judges_a_run_that_died_in_the_folder_that_was_chosen(script, tmp_path):
    done = script("optimizer.name=SGD", "optimizer.lr=1e30", "trainer.gradient_clip_val=null", "hydra.run.dir=mine")
    assert done.returncode == 3, done.stdout + done.stderr
    assert "non-finite" in done.stdout.splitlines()[-2]
    assert done.stdout.splitlines()[-2].startswith("Quick Test: failed: ")
    assert (tmp_path / "mine" / "quick_test.json").is_file()


def test_the_script_ends_at_a_nan_row_with_the_line_that_says_where_it_is(script, recordings):
    bad = recordings / "train" / "b_25degC.parquet"
    frame = pd.read_parquet(bad)
    frame.loc[77, "Voltage"] = float("nan")
    frame.to_parquet(bad, index=False)
    done = script()
    assert done.returncode == 1
    first = (done.stdout + done.stderr).splitlines()[0]
    assert first.startswith("error: train/b_25degC.parquet: column 'Voltage', row 77")
    assert first.endswith("data.on_bad_file=skip")
    assert "Quick Test" not in done.stdout  # nothing was trained, so there is no verdict
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("mistake", ["optimizer.lrr=1", pytest.param("data.columns.voltage=U", marks=pytest.mark.slow)])
def test_the_script_leaves_a_mistake_of_the_command_to_its_own_status(script, mistake):
    done = script(mistake)
    assert done.returncode == 1
    assert "Quick Test" not in done.stdout
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_the_script_fails_a_machine_that_was_really_slow_in_mid_run(script):
    slow = "+callbacks.slow={_target_:tests.integration.slow_machine.SlowFrom,epoch:9,seconds:0.4}"
    done = script(slow)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Quick Test: failed: epoch time" in done.stdout.splitlines()
