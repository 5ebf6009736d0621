import math

import numpy as np
import pandas as pd
import pytest

from vestim_pl.diagnosis.checks.validation_progress import check_validation_progress


def judge(values, constant_mv=math.nan):
    epochs = np.arange(len(values))
    metrics = pd.DataFrame({"key": "val/rmse_mv", "epoch": epochs, "step": 10 * epochs + 9, "value": values})
    return check_validation_progress(metrics, constant_mv, rate=1e-3)


@pytest.mark.parametrize("constant_mv", [math.nan, 290.0])
def test_a_curve_that_falls_passes(constant_mv):
    finding = judge(np.geomspace(250, 20, 30), constant_mv)
    assert (finding.severity, finding.override) == ("ok", "")
    assert "91 % better at the end" in finding.evidence


@pytest.mark.parametrize("level", [67.28, 12.0])
def test_a_curve_that_stays_flat_fails_at_any_level(level):
    """Below its first value is not enough: noise is."""
    noise = 1 - 0.05 * np.random.default_rng(0).random(50)
    finding = judge([level, *level * noise], constant_mv=300.0)
    assert (finding.severity, finding.override) == ("warning", "optimizer.lr=0.001")
    assert "did not improve" in finding.evidence


def test_an_error_that_falls_to_that_of_a_constant_fails():
    finding = judge([400.0, 310.0, 295.0, 292.0, 291.0, 290.9], constant_mv=290.9)
    assert finding.severity == "warning"
    assert "no better than a constant" in finding.evidence


def test_a_curve_that_ends_where_it_began_fails():
    finding = judge([100.0, 60.0, 40.0, 50.0, 70.0, 95.0], constant_mv=300.0)
    assert finding.severity == "warning"
    assert "worse again" in finding.evidence


def test_a_best_in_the_middle_with_a_mild_rise_after_it_passes():
    assert judge([100.0, 60.0, 30.0, 20.0, 22.0, 25.0], constant_mv=300.0).severity == "ok"


def test_values_that_are_not_finite_are_another_monitors():
    assert judge([100.0, math.nan, 60.0, 40.0, 30.0, 20.0]).severity == "ok"


@pytest.mark.parametrize("values", [[], [100.0, 50.0, 30.0, 20.0], [math.nan] * 10])
def test_too_few_validations_are_not_judged(values):
    assert judge(values).severity == "note"
