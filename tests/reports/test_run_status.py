import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from vestim_pl.reports.run_folder import RunFolder
from vestim_pl.reports.run_status import RunState, best_validation, run_status

ERRORS = pd.DataFrame(
    {"recording": ["overall"], "steps": [1], "rmse_mv": [1.0], "mae_mv": [1.0], "max_error_mv": [1.0]}
)
Make = Callable[..., dict[str, Any]]


def validations(*values: float) -> pd.DataFrame:
    rows = {"epoch": range(len(values)), "step": [200 * n + 199 for n in range(len(values))], "value": values}
    return pd.DataFrame(rows).astype("float64").assign(key="val/rmse_mv")[["key", "epoch", "step", "value"]]


@pytest.fixture
def run() -> RunFolder:
    return RunFolder(Path(), config={"trainer": {"max_epochs": 3}}, metrics=validations(30.0, 20.0))


def test_finished_by_its_epochs_or_its_test(run: RunFolder) -> None:
    whole = replace(run, metrics=validations(30.0, 20.0, 10.0))
    assert run_status(whole).state is RunState.FINISHED
    assert run_status(whole).reason == "3 epochs of trainer.max_epochs = 3 made"
    assert run_status(replace(run, errors=ERRORS)).state is RunState.FINISHED


def test_a_test_says_how_many_checkpoints_it_had(run: RunFolder) -> None:
    alone = RunFolder(Path(), errors=ERRORS)
    assert run_status(alone).reason == "a checkpoint was tested, nothing was trained"
    two = replace(alone, errors=pd.concat([ERRORS.assign(checkpoint=name) for name in "ab"]))
    assert run_status(two).reason == "2 checkpoints were tested, nothing was trained"


@pytest.mark.parametrize(
    ("cause", "state"),
    [("limit", RunState.FINISHED), ("early_stopping", RunState.EARLY_STOPPED), ("callback", RunState.EARLY_STOPPED),
     ("diverged", RunState.DIVERGED)],
)  # fmt: skip
def test_the_cause_of_a_stop_is_the_state(run: RunFolder, make_event: Make, cause: str, state: RunState) -> None:
    reason = "stopped after epoch 1: whatever the words say; best validation 20 mV in epoch 1"
    status = run_status(
        replace(run, events=(make_event("skip", "x", 10), make_event("stop", reason, 400, cause=cause)))
    )
    assert (status.state, status.reason) == (state, reason.removeprefix("stopped "))


def test_a_stop_of_an_earlier_version_is_judged_by_the_epochs(run: RunFolder, make_event: Make) -> None:
    stop = make_event("stop", "stopped after epoch 2: max_epochs 3 reached", 600)
    assert run_status(replace(run, metrics=validations(30.0, 20.0, 10.0), events=(stop,))).state is RunState.FINISHED
    assert run_status(replace(run, events=(stop,))).state is RunState.EARLY_STOPPED


def test_stopped_early_though_tested(run: RunFolder, make_event: Make) -> None:
    stopped = replace(run, errors=ERRORS, events=(make_event("stop", "no better for 15 validations", 400),))
    assert run_status(stopped).state is RunState.EARLY_STOPPED
    assert run_status(stopped).reason == "no better for 15 validations"


@pytest.mark.parametrize(
    ("error", "state"),
    [("DivergenceError", RunState.DIVERGED), ("DataError", RunState.FAILED), ("OSError", RunState.FAILED)],
)
def test_an_exception_that_ended_the_run(run: RunFolder, make_event: Make, error: str, state: RunState) -> None:
    status = run_status(replace(run, events=(make_event("stop", "row 3 holds NaN", 400, error=error),)))
    assert (status.state, status.reason) == (state, "row 3 holds NaN")


def test_an_end_that_the_run_outlived_is_none(run: RunFolder, make_event: Make) -> None:
    events = (make_event("non_finite", "parameters became NaN", 250), make_event("rollback", "back to 200", 250))
    assert run_status(replace(run, events=events)).state is RunState.UNKNOWN
    events = (make_event("interrupt", "interrupted after step 250", 250),)
    assert run_status(replace(run, events=events, errors=ERRORS)).state is RunState.FINISHED
    assert run_status(replace(run, events=events, metrics=validations(30.0, 20.0, 10.0))).state is RunState.FINISHED


def test_interrupted(run: RunFolder, make_event: Make) -> None:
    event = make_event("interrupt", "interrupted after step 420; saved last.ckpt", 420)
    assert run_status(replace(run, events=(event,))).state is RunState.INTERRUPTED


def test_a_dead_run_tells_its_last_event_and_the_error_of_the_log(run: RunFolder, make_event: Make) -> None:
    dead = replace(run, events=(make_event("skip", "Epoch 2, Batch 3: loss is NaN", 403),))
    assert run_status(dead).state is RunState.UNKNOWN
    assert "Epoch 2, Batch 3: loss is NaN" in run_status(dead).reason
    logged = replace(dead, log=("12:00:00 begins", "12:00:09 error: data.root: no such folder"))
    assert (run_status(logged).state, run_status(logged).reason) == (RunState.FAILED, "data.root: no such folder")


def test_data_with_a_nan_that_were_refused_are_no_divergence(run: RunFolder) -> None:
    refused = "train/b.parquet: column 'Voltage', row 77 is NaN or missing"
    before = replace(run, metrics=validations(), log=(f"12:00:09 error: {refused}",))
    assert (run_status(before).state, run_status(before).reason) == (RunState.FAILED, refused)


def test_a_last_validation_of_nan_is_a_divergence_without_any_event(run: RunFolder) -> None:
    status = run_status(replace(run, metrics=validations(30.0, math.nan, math.nan)))
    assert status.state is RunState.DIVERGED
    assert "nan mV (epoch 2)" in status.reason


def test_a_run_that_reached_its_end_with_nan_did_not_finish(run: RunFolder, make_event: Make) -> None:
    event = make_event("stop", "stopped after epoch 2: max_epochs 3 reached", 600)
    status = run_status(replace(run, metrics=validations(30.0, 20.0, math.nan), events=(event,), errors=ERRORS))
    assert status.state is RunState.DIVERGED
    assert status.reason == "after epoch 2: max_epochs 3 reached; the last validation RMSE is nan mV"


def test_a_trial_is_no_run(run: RunFolder) -> None:
    assert run_status(replace(run, config={"trainer": {"fast_dev_run": True}})).state is RunState.TRIAL


def test_best_validation_passes_over_what_is_not_finite() -> None:
    assert best_validation(validations(math.nan, 20.0, math.inf, 20.0)) == (20.0, 1)
    value, epoch = best_validation(validations(math.nan)) or (0.0, 0)
    assert math.isnan(value)
    assert epoch == -1
    assert best_validation(validations()) is None
