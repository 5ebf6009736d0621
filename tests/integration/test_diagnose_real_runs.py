"""Findings on runs of the train command, with overrides that fix them."""

import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.forked import run_module
from vestim_pl.diagnosis import Finding, diagnose_run
from vestim_pl.reports.run_folder import RunFolder

MONITORS = ("loss", "non-finite", "validation", "epoch time")
GRAVE = ("warning", "error")
UNGUARDED = (
    "callbacks.step_guard=null callbacks.finite_parameters=null callbacks.recovery=null trainer.gradient_clip_val=null"
)
RunTrain = Callable[..., dict[str, Finding]]


@pytest.fixture
def run_train(tmp_path: Path, recordings: Path, small: tuple[str, ...]) -> RunTrain:
    """Train in a fork, then diagnose the run folder."""

    def _run(*overrides: str, name: str = "run", status: int | None = 0) -> dict[str, Finding]:
        settings = ["data=folder", f"data.root={recordings}", *small, f"hydra.run.dir={tmp_path / name}"]
        settings += [part for item in overrides for part in shlex.split(item)]
        done = run_module(tmp_path, "vestim_pl.train", *settings)
        assert status in (None, done.returncode), done.stdout + done.stderr
        return {finding.check: finding for finding in diagnose_run(RunFolder.read(tmp_path / name))}

    return _run


def grave(found: dict[str, Finding]) -> dict[str, str]:
    """Warnings and errors, without those of the Quick Test's monitors, which have their own tests."""
    rest = {name: each for name, each in found.items() if name not in MONITORS}
    return {name: each.severity.value for name, each in rest.items() if each.severity in GRAVE}


def test_a_run_that_went_well(run_train):
    found = run_train("trainer.max_epochs=12 optimizer.lr=1e-2")
    assert grave(found) == {}
    assert [found[name].severity for name in ("loss", "non-finite", "validation")] == ["ok"] * 3
    assert found["end of the run"].evidence.startswith("finished: after epoch 11: max_epochs 12 reached")


def test_a_plateau_at_a_constant_prediction_is_found_and_its_override_fixes_it(run_train):
    """Nothing is NaN, and the error is that of a constant voltage."""
    settings = "optimizer.lr=1e-9 trainer.max_epochs=12"
    found = run_train(settings, name="dead")
    assert grave(found) == {"constant prediction": "error"}
    assert "constant prediction" not in grave(run_train(settings, found["constant prediction"].override, name="fixed"))


def test_an_unguarded_divergence_is_dated_by_its_first_sign(run_train):
    found = run_train(f"optimizer.name=SGD optimizer.lr=1e6 {UNGUARDED}", status=1)
    assert grave(found)["end of the run"] == grave(found)["divergence"] == "error"
    assert found["divergence"].evidence.startswith("diverged at step 16: ")  # the first validation
    assert "is nan" in found["divergence"].evidence
    assert found["constant prediction"].severity == "error"


@pytest.mark.parametrize("recovery", ["callbacks.recovery=null", "+callbacks.recovery.max_attempts=1"])
def test_a_guarded_divergence_reports_the_first_step_and_the_last(run_train, tmp_path, recovery):
    overrides = f"optimizer.name=SGD optimizer.lr=1e30 trainer.gradient_clip_val=null {recovery}"
    found = run_train(overrides, status=1)
    assert grave(found) == {"end of the run": "error", "divergence": "error"}
    assert "first non-finite value at step 1" in found["divergence"].evidence
    ending = found["end of the run"].evidence
    assert ending.startswith("diverged: ")
    assert ending.removeprefix("diverged: ") not in found["divergence"].evidence, "said twice"
    last = (tmp_path / "run" / "train.log").read_text().splitlines()[-1]
    assert "error: " in last, "the log ends without the reason"
    assert "error: " + ending.removeprefix("diverged: ") in last


def test_over_clipping_and_the_threshold_that_fixes_it(run_train):
    found = run_train("trainer.max_epochs=3 trainer.gradient_clip_val=0.001")
    assert grave(found)["over-clipping"] == "warning"
    fixed = run_train("trainer.max_epochs=3", found["over-clipping"].override, name="fixed")
    assert "over-clipping" not in grave(fixed)


def test_an_exhausted_learning_rate_and_the_patience_that_fixes_it(run_train):
    overrides = "trainer.max_epochs=16 callbacks.plateau.patience=0 callbacks.plateau.factor=0.1 optimizer.lr=1e-9"
    found = run_train(overrides)
    assert grave(found)["learning rate left"] == "warning"
    assert "fell from 1e-09" in found["learning rate left"].evidence
    fixed = run_train(overrides, found["learning rate left"].override, name="fixed")
    assert "learning rate left" not in grave(fixed)


KILL = "+callbacks.kill={_target_:tests.callbacks.kill_at.KillAt,step:%d}"


def test_a_killed_run_resumes_with_its_override(run_train, tmp_path):
    found = run_train(KILL % 20, "trainer.max_epochs=3", status=-9)
    ending = found["end of the run"]
    assert (ending.severity, ending.override) == ("warning", f"ckpt_path={tmp_path}/run/checkpoints/last.ckpt")
    assert "it was killed, it failed, or it still runs" in ending.evidence
    assert found["constant prediction"].severity in ("ok", "note"), "it had no time to improve"
    after = run_train("trainer.max_epochs=12 optimizer.lr=1e-2", ending.override)
    assert after["end of the run"].severity == "ok"


def test_a_run_killed_in_its_first_batch_is_not_called_good(run_train):
    found = run_train(KILL % 0, status=-9)
    assert {name: each.severity.value for name, each in found.items()} == {
        "end of the run": "warning",
        "divergence": "note",
    }
    assert "before anything was logged" in found["end of the run"].evidence


def test_an_error_of_the_program_in_the_first_batch_is_quoted(run_train, tmp_path):
    found = run_train("+callbacks.fault={_target_:tests.integration.failing.Failing}", status=1)
    assert found["end of the run"].severity == "error"
    assert found["end of the run"].evidence == "failed: no such luck"
    log = (tmp_path / "run" / "train.log").read_text()
    assert log.count("RuntimeError: no such luck") == 1
