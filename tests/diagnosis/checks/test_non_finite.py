import math

import pandas as pd
import pytest

from vestim_pl.diagnosis.checks.non_finite import check_non_finite
from vestim_pl.settings.override import Override


def metrics(**values: list[float]) -> pd.DataFrame:
    rows = [
        {"key": key.replace("__", "/"), "epoch": epoch, "step": 10 * epoch + 9, "value": value}
        for key, series in values.items()
        for epoch, value in enumerate(series)
    ]
    return pd.DataFrame(rows, columns=["key", "epoch", "step", "value"])


CLEAN = metrics(train__loss=[1.0, 0.5], val__rmse_mv=[30.0, 20.0], train__left_out=[0.0, 0.0])


def judge(frame=CLEAN, *events, **options):
    return check_non_finite(frame, events, suggestion=(Override("optimizer.lr", 1e-5),), **options)


def test_a_clean_run_passes_and_says_how_much_was_checked():
    finding = judge()
    assert finding.severity == "ok"
    assert finding.evidence.startswith("6 logged losses and errors are finite")


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("key", ["train__loss", "train__rmse_mv", "val__rmse_mv", "val__max_error_mv"])
def test_one_logged_value_is_enough(key, bad):
    finding = judge(metrics(**{key: [1.0, bad, 0.5]}))
    assert (finding.severity, finding.override) == ("warning", "optimizer.lr=1e-05")
    assert f"1 logged value ({key.replace('__', '/')})" in finding.evidence


def test_batches_left_out_of_the_training_error_are_enough():
    finding = judge(metrics(train__rmse_mv=[3.0, 2.0], train__left_out=[0.0, 2.0]))
    assert finding.severity == "warning"
    assert "2 batches left out of the training error" in finding.evidence


SKIP = {"kind": "skip", "reason": "epoch 0, batch 3: the loss is NaN", "values": {"cause": "loss"}}


@pytest.mark.parametrize(
    "event",
    [
        SKIP,
        {"kind": "non_finite", "reason": "parameter network.weight is not finite"},
        {"kind": "rollback", "reason": "step 40: parameters diverged", "values": {"non_finite": True}},
    ],
)
def test_a_run_that_recovered_is_not_passed(event):
    finding = judge(CLEAN, event)
    assert (finding.severity, finding.override) == ("warning", "optimizer.lr=1e-05")
    assert event["reason"] in finding.evidence
    assert finding.evidence.endswith("the run continued")


@pytest.mark.parametrize(
    "event",
    [
        {"kind": "skip", "reason": "the scaled gradient overflowed", "values": {"cause": "overflow"}},
        {"kind": "rollback", "reason": "the loss is at 2833, not nan", "values": {"non_finite": False}},
        {"kind": "lookback", "reason": "training windows of 100 steps"},
    ],
)
def test_other_events_pass(event):
    assert judge(CLEAN, event).severity == "ok"


def test_non_finite_data_do_not_blame_the_rate():
    finding = judge(CLEAN, {**SKIP, "values": {"cause": "batch"}})
    assert (finding.severity, finding.override) == ("warning", "")
    assert "correct the recordings" in finding.evidence


def test_a_run_that_ended_there_is_an_error():
    finding = judge(CLEAN, SKIP, diverged=True)
    assert finding.severity == "error"
    assert finding.evidence.endswith("the run ended there")


@pytest.mark.parametrize("refused", [False, True])
def test_nothing_logged_is_not_judged(refused):
    assert judge(metrics(), refused=refused).severity == "note"
