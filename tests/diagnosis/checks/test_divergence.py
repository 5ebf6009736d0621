import math

import pandas as pd

from vestim_pl.diagnosis.checks.divergence import check_divergence
from vestim_pl.settings.override import Override


def metrics(values: list[float], key: str = "grad_norm/pre_clip") -> pd.DataFrame:
    return pd.DataFrame({"key": key, "epoch": 0.0, "step": [10.0 * i for i in range(len(values))], "value": values})


def event(kind: str, step: int) -> dict[str, object]:
    return {"kind": kind, "step": step, "reason": kind}


def test_the_step_and_the_signs_before_it():
    events = [event("skip", 30), event("skip", 31), event("rollback", 35), event("non_finite", 60), event("stop", 60)]
    finding = check_divergence(
        metrics([1, 1, 50, 60, 2, 1, 1]), events, True, "parameters became NaN", (Override("optimizer.lr", 1e-4),)
    )
    assert (finding.severity, finding.override) == ("error", "optimizer.lr=0.0001")
    assert finding.evidence.startswith("diverged at step 60, first non-finite value at step 30: skip; signs before: ")
    assert "2 x skip from step 30 on, 1 x rollback from step 35 on" in finding.evidence
    assert "the gradient norm grew from a median of 1 to 60 (step 30)" in finding.evidence
    assert "parameters became NaN" not in finding.evidence, "how the run ended is reported by another finding"


def test_bad_rows_do_not_blame_the_learning_rate():
    skip = event("skip", 12) | {"values": {"cause": "batch", "recordings": [{"recording": "udds"}]}}
    finding = check_divergence(metrics([1] * 6), [skip], False, "5 epochs made", (Override("optimizer.lr", 1e-4),))
    assert (finding.severity, finding.override) == ("warning", "")
    assert "the cause is the data: see the recordings named in events.jsonl" in finding.evidence
    loss = event("skip", 13) | {"values": {"cause": "loss"}}
    assert check_divergence(
        metrics([1] * 6), [skip, loss], False, "5 epochs made", (Override("optimizer.lr", 1e-4),)
    ).override


def test_an_unguarded_run_is_dated_by_its_first_non_finite_metric():
    rows = metrics([1.0, 2.0, math.nan, math.nan], "train/rmse_mv")
    plateau = event("non_finite", 31) | {
        "reason": "val/rmse_mv is nan",
        "values": {"monitor": "val/rmse_mv", "value": "NaN"},
    }
    finding = check_divergence(rows, [plateau, event("stop", 64)], True, "max_epochs 4 reached")
    assert finding.evidence.startswith("diverged at step 20: train/rmse_mv is nan")


def test_the_loss_is_a_sign_too():
    losses = metrics([0.1, 0.1, 0.1, 0.1, 0.2, 0.9, math.nan], "train/loss")
    finding = check_divergence(losses, [], True, "the last validation RMSE is nan mV")
    assert "diverged at step 60" in finding.evidence
    assert "the training loss grew from a median of 0.1 to 0.9 (step 50)" in finding.evidence


def test_later_events_are_no_sign():
    finding = check_divergence(metrics([1, 1, 1, 1, 1, 50]), [event("non_finite", 40)], True, "NaN")
    assert "no earlier sign" in finding.evidence


def test_a_run_that_came_back_is_a_warning():
    finding = check_divergence(metrics([1] * 6), [event("skip", 12), event("rollback", 14)], False, "5 epochs made")
    assert finding.severity == "warning"
    assert "first non-finite value at step 12: skip; the run continued (1 skip, 1 rollback)" in finding.evidence


def test_a_finite_run_is_ok():
    assert check_divergence(metrics([1, 2, 90, 1]), [event("plateau", 3)], False, "").severity == "ok"


def test_a_run_without_numbers_is_not_judged():
    assert check_divergence(metrics([]), [], False, "").severity == "note"


def test_a_high_loss_is_not_called_non_finite():
    level = event("rollback", 4) | {"reason": "the loss is at 8e+11 for 3 steps, above 52"}
    assert "first divergence at step 4" in check_divergence(metrics([1] * 6), [level], False, "5 epochs made").evidence
    no_number = event("rollback", 4) | {"reason": "parameters head.weight", "values": {"non_finite": True}}
    assert (
        "first non-finite value at step 4" in check_divergence(metrics([1] * 6), [no_number], False, "ended").evidence
    )


def test_a_non_finite_metric_is_reported_without_the_action_of_the_callback():
    words = "epoch 0: val/rmse_mv is nan; until it is finite again, it counts neither as a plateau nor as best"
    seen = event("non_finite", 16) | {"reason": words, "values": {"monitor": "val/rmse_mv", "value": "Infinity"}}
    finding = check_divergence(metrics([1] * 6), [seen], True, "max_epochs 4 reached")
    assert finding.evidence.startswith("diverged at step 16: val/rmse_mv is inf; ")
