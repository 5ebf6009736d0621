import math

import numpy as np
import pandas as pd
import pytest

from vestim_pl.diagnosis.checks.constant_prediction import check_constant_prediction

MEASURED = 3.7 + 0.067 * np.sqrt(2) * np.sin(np.linspace(0, 20 * np.pi, 2000, endpoint=False))


def steps(estimated: np.ndarray) -> pd.DataFrame:
    return pd.DataFrame({"measured": MEASURED, "estimated": estimated})


def test_the_story_of_the_67_mv():
    finding = check_constant_prediction(steps(np.full(2000, 3.7)), math.nan, math.nan, rate=1e-4)
    assert (finding.severity, finding.override) == ("error", "optimizer.lr=0.001")
    assert "the measured voltage varies by 67 mV, and the RMSE is 67 mV" in finding.evidence


def test_estimates_that_vary_but_not_with_the_voltage():
    finding = check_constant_prediction(steps(np.roll(MEASURED, 50)), math.nan, math.nan)
    assert finding.severity == "error"
    assert "no better than a constant" in finding.evidence


def test_a_run_that_has_learnt():
    finding = check_constant_prediction(steps(MEASURED + 0.01), 10.0, 67.0)
    assert finding.severity == "ok"
    assert "the RMSE is 10 mV" in finding.evidence


@pytest.mark.parametrize(("rmse", "severity"), [(66.0, "error"), (59.0, "ok")])
def test_without_a_test_the_validation_decides(rmse, severity):
    finding = check_constant_prediction(None, rmse, 67.0)
    assert finding.severity == severity
    assert f"{rmse:.3g} mV" in finding.evidence
    assert "67 mV" in finding.evidence


@pytest.mark.parametrize(("rate", "other"), [(1e-9, 1e-3), (1e-4, 1e-3), (1e-3, 1e-2), (0.1, 0.01)])
def test_the_rate_to_try_is_not_as_far_off(rate, other):
    finding = check_constant_prediction(steps(np.full(2000, 3.7)), math.nan, math.nan, rate)
    assert finding.override == f"optimizer.lr={other:g}"


def test_a_run_cut_short_may_not_have_got_there_yet():
    finding = check_constant_prediction(None, 66.0, 67.0, 1e-3, ended=False)
    assert (finding.severity, finding.override) == ("note", "")


def test_estimates_that_are_not_finite_are_no_good_news():
    assert check_constant_prediction(steps(np.full(2000, np.nan)), math.nan, math.nan).severity == "error"


def test_without_either_it_is_not_known():
    assert check_constant_prediction(None, 60.0, math.nan).severity == "note"
