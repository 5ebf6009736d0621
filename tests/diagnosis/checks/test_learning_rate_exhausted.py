import numpy as np
import pandas as pd
import pytest

from vestim_pl.diagnosis.checks.learning_rate_exhausted import check_learning_rate_exhausted

CALLBACKS = {
    "plateau": {"_target_": "vestim_pl.callbacks.PlateauLearningRate", "patience": 5},
    "early_stopping": {"_target_": "lightning.pytorch.callbacks.EarlyStopping", "patience": 15},
}


def metrics(rates: list[float]) -> pd.DataFrame:
    return pd.DataFrame({"key": "learning_rate", "epoch": 0, "step": range(len(rates)), "value": rates})


@pytest.mark.parametrize(
    ("kind", "override"),
    [
        ("plateau", "callbacks.plateau.patience=15 callbacks.early_stopping.patience=40"),
        ("rollback", "optimizer.lr=0.0001"),
        ("none", "scheduler=plateau"),
    ],
)
def test_a_long_end_at_a_spent_rate_is_a_warning(kind, override):
    finding = check_learning_rate_exhausted(metrics([1e-3] * 5 + [1e-5] * 5), [{"kind": kind}] * 2, callbacks=CALLBACKS)
    assert (finding.severity, finding.override) == ("warning", override)
    cuts = 0 if kind == "none" else 2
    assert f"from 0.001 to 1e-05 by {cuts} cuts, and 50 % of the logged steps" in finding.evidence


def test_cuts_before_the_first_logged_rate_count():
    finding = check_learning_rate_exhausted(metrics([1e-5] * 5), [{"kind": "plateau"}] * 2, rate=1e-3)
    assert (finding.severity, finding.evidence[:42]) == ("warning", "the learning rate fell from 0.001 to 1e-05")
    assert check_learning_rate_exhausted(metrics([1e-5] * 5), [], rate=1e-3).severity == "ok"  # a warmup, say


def test_a_schedule_that_ends_low_is_none():
    cosine = list(1e-3 * (0.01 + 0.99 * 0.5 * (1 + np.cos(np.linspace(0, np.pi, 100)))))
    assert check_learning_rate_exhausted(metrics(cosine), []).severity == "ok"


def test_a_warmup_from_low_is_none():
    assert check_learning_rate_exhausted(metrics([1e-6] * 5 + [1e-3] * 5), []).severity == "ok"


def test_without_rates_it_is_not_known():
    assert check_learning_rate_exhausted(metrics([]), []).severity == "note"


def test_no_patience_is_named_for_a_callback_that_is_switched_off():
    spent, cuts = metrics([1e-3] * 5 + [1e-5] * 5), [{"kind": "plateau"}] * 2
    off = check_learning_rate_exhausted(spent, cuts, callbacks={**CALLBACKS, "early_stopping": None})
    assert off.override == "callbacks.plateau.patience=15"
    patient = {"plateau": {**CALLBACKS["plateau"], "patience": 20}}
    assert check_learning_rate_exhausted(spent, cuts, callbacks=patient).override == "callbacks.plateau.patience=60"


WARMUP = {"warmup": {"_target_": "vestim_pl.callbacks.LearningRateWarmup", "duration": 500, "unit": "steps"}}


def test_a_rate_that_still_rises_is_not_spent():
    cut = [{"kind": "rollback"}]
    rising = check_learning_rate_exhausted(metrics([1e-6, 2e-6, 3e-6, 4e-6]), cut, rate=1e-3)
    assert rising.severity == "ok", "the warmup is known by the rates alone"
    one = check_learning_rate_exhausted(metrics([1e-6]), cut, rate=1e-3, callbacks=WARMUP)
    assert (one.severity, one.evidence) == ("ok", "the warmup was not over: the learning rate had reached 1e-06")
    after = metrics([1e-6] * 5).assign(step=[100, 600, 700, 800, 900])
    assert check_learning_rate_exhausted(after, cut, rate=1e-3, callbacks=WARMUP).severity == "warning"
