import numpy as np
import pandas as pd
import pytest

from vestim_pl.diagnosis.learning_rate_exhausted import check_learning_rate_exhausted


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
    finding = check_learning_rate_exhausted(metrics([1e-3] * 5 + [1e-5] * 5), [{"kind": kind}] * 2)
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
