import math

import numpy as np
import pandas as pd
import pytest

from vestim_pl.diagnosis.checks.loss_curve import check_loss_curve


def metrics(values) -> pd.DataFrame:
    epochs = np.arange(len(values))
    return pd.DataFrame({"key": "train/rmse_mv", "epoch": epochs, "step": 10 * epochs + 9, "value": values})


def judge(values, *events):
    return check_loss_curve(metrics(values), events, smaller_rate=1e-5, larger_rate=1e-3)


FALLING = list(np.geomspace(300, 30, 40))


def test_a_curve_that_falls_with_noise_passes():
    noise = 1 + 0.05 * np.random.default_rng(0).standard_normal(40)
    finding = judge(FALLING * noise)
    assert (finding.severity, finding.override) == ("ok", "")
    assert finding.evidence.startswith("training RMSE ")


@pytest.mark.parametrize(("factor", "verdict"), [(1.2, "ok"), (1.9, "ok"), (2.1, "warning"), (50.0, "warning")])
def test_one_epoch_that_rises_is_tolerated_up_to_twice_the_lowest(factor, verdict):
    values = [*FALLING[:20], FALLING[19] * factor, *FALLING[20:]]
    finding = judge(values)
    assert finding.severity == verdict
    assert finding.override == ("" if verdict == "ok" else "optimizer.lr=1e-05")
    assert ("in epoch 20" in finding.evidence) == (verdict == "warning")


@pytest.mark.parametrize(("risen", "verdict"), [(2, "ok"), (3, "warning")])
def test_at_most_one_epoch_in_twenty_may_rise_by_a_quarter(risen, verdict):
    values = np.array(FALLING)
    values[10 : 10 + 3 * risen : 3] *= 1.6
    assert judge(values).severity == verdict


def test_a_curve_that_climbs_back_slowly_is_not_smooth():
    assert judge([300, 200, 100, 50, 30, *np.geomspace(30, 200, 20)]).override == "optimizer.lr=1e-05"


@pytest.mark.parametrize("level", [300.0, 12.0])
def test_a_curve_that_stands_still_does_not_fall(level):
    finding = judge([level] * 30)
    assert (finding.severity, finding.override) == ("warning", "optimizer.lr=0.001")
    assert "did not fall" in finding.evidence


def test_a_recovery_fails_however_well_the_run_ended():
    finding = judge(FALLING, {"kind": "rollback", "reason": "the loss is at 2833", "step": 4})
    assert (finding.severity, finding.override) == ("warning", "optimizer.lr=1e-05")
    assert finding.evidence == "recovery went back to an earlier state 1 time; first: the loss is at 2833"


@pytest.mark.parametrize("values", [[], [300.0], [300.0, 200.0, 100.0, 50.0], [math.nan] * 20])
def test_too_few_epochs_are_not_judged(values):
    assert judge(values).severity == "note"


def test_a_suggestion_needs_a_known_rate():
    assert check_loss_curve(metrics([300.0] * 10)).override == ""


def test_an_error_of_zero_is_the_best_there_is():
    assert judge([3.0, 2.0, 1.0, 0.0, 0.0, 0.0]).severity == "ok"
