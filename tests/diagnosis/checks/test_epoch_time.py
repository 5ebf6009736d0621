import numpy as np
import pandas as pd
import pytest

from vestim_pl.diagnosis.checks.epoch_time import check_epoch_time
from vestim_pl.settings.override import Override

STEPS = 50  # of an epoch


def part(seconds, cpu=None, first_epoch: int = 0) -> pd.DataFrame:
    epochs = first_epoch + np.arange(len(seconds))
    rows = {"epoch/training_seconds": seconds, "epoch/training_cpu_seconds": seconds if cpu is None else cpu}
    frames = [
        pd.DataFrame({"key": key, "epoch": epochs, "step": STEPS * (epochs + 1) - 1, "value": values})
        for key, values in rows.items()
    ]
    return pd.concat(frames, ignore_index=True)


def judge(*parts: pd.DataFrame):
    return check_epoch_time(parts, suggestion=(Override("callbacks.flush_denormals", {"_target_": "FlushDenormals"}),))


def noisy(epochs: int, scatter: float = 0.15) -> np.ndarray:
    return 3.0 * (1 + scatter * np.random.default_rng(1).standard_normal(epochs))


def test_equal_epochs_pass_whatever_the_first_took():
    seconds = noisy(100)
    seconds[0] = 40.0
    finding = judge(part(seconds))
    assert (finding.severity, finding.override) == ("ok", "")


@pytest.mark.parametrize("begin", [12, 50, 89])
def test_a_machine_made_slow_fails_wherever_it_began(begin):
    """The processor time stays: something else took the machine."""
    seconds, cpu = noisy(100), noisy(100)
    seconds[begin:] *= 4
    finding = judge(part(seconds, cpu))
    assert (finding.severity, finding.override) == ("warning", "")
    assert "another program used the machine" in finding.evidence


def test_a_slow_stretch_fails_although_it_passed():
    seconds, cpu = noisy(100), noisy(100)
    seconds[40:55] *= 4
    assert judge(part(seconds, cpu)).severity == "warning"


@pytest.mark.parametrize("begin", [12, 50, 89])
def test_one_other_program_on_each_core_is_tolerated(begin):
    seconds, cpu = noisy(100), noisy(100)
    seconds[begin:] *= 2.5
    cpu[begin:] *= 1.2
    assert judge(part(seconds, cpu)).severity == "ok"


def test_a_few_slow_epochs_are_tolerated():
    seconds = noisy(100)
    seconds[[20, 21, 22, 23, 60, 80]] *= 20
    assert judge(part(seconds)).severity == "ok"


def test_twice_the_processor_time_fails_with_a_suggestion():
    seconds = noisy(100)
    seconds[50:] *= 2.5
    finding = judge(part(seconds))
    assert (finding.severity, finding.override) == ("warning", "'callbacks.flush_denormals={_target_:FlushDenormals}'")
    assert "training had more work" in finding.evidence


def test_epochs_that_become_shorter_pass():
    assert judge(part(np.linspace(9.0, 1.0, 60))).severity == "ok"


def lookbacks(key: str, steps, values) -> pd.DataFrame:
    epochs = np.nan if key.startswith("adaptive") else np.asarray(steps) // STEPS
    return pd.DataFrame({"key": key, "epoch": epochs, "step": steps, "value": values})


@pytest.mark.parametrize("key", ["lookback", "adaptive_lookback/steps"])
def test_windows_that_grow_explain_epochs_that_take_longer(key):
    growth = np.repeat([50.0, 100.0, 200.0], 20)
    seconds = part(0.5 + growth / 40)
    assert judge(seconds).severity == "warning"
    steps = STEPS * np.arange(60) + (STEPS - 1 if key == "lookback" else 1)
    assert judge(pd.concat([seconds, lookbacks(key, steps, growth)])).severity == "ok"


def test_windows_that_shrink_explain_nothing():
    seconds = part([2.0] * 30 + [8.0] * 30)
    shrinking = lookbacks("adaptive_lookback/steps", [0, 31 * STEPS], [200.0, 50.0])
    assert judge(pd.concat([seconds, shrinking])).severity == "warning"


def test_growing_windows_do_not_hide_a_slow_machine():
    growth = np.repeat([50.0, 100.0], 30)
    seconds, cpu = growth / 40, growth / 40
    seconds[45:] *= 4
    frame = pd.concat([part(seconds, cpu), lookbacks("lookback", STEPS * np.arange(1, 61) - 1, growth)])
    assert judge(frame).severity == "warning"


def test_a_resumed_run_may_continue_on_a_slower_machine():
    assert judge(part(noisy(20)), part(5 * noisy(20), first_epoch=20)).severity == "ok"
    slowed = 5 * noisy(20)
    slowed[10:] *= 4
    assert judge(part(noisy(20)), part(slowed, first_epoch=20)).severity == "warning"


def test_epochs_of_milliseconds_are_decided_by_chance():
    assert judge(part([0.02] * 20 + [0.15] * 20)).severity == "ok"


@pytest.mark.parametrize("epochs", [0, 1, 6])
def test_too_few_epochs_are_not_judged(epochs):
    finding = judge(part([1.0] * epochs))
    assert finding.severity == "note"
    assert f"{epochs} timed epochs, 7 are needed" in finding.evidence
    assert judge().severity == "note"


def test_seven_epochs_are_enough():
    assert judge(part([9.0, 1.0, 1.0, 1.0, 4.0, 4.0, 4.0])).severity == "warning"


def test_without_a_processor_time_the_wall_time_decides():
    frame = part([1.0] * 20 + [4.0] * 20)
    wall = frame[frame["key"] == "epoch/training_seconds"]
    finding = judge(wall)
    assert finding.severity == "warning"
    assert "processor" not in finding.evidence


def test_thousands_of_epochs_are_judged_quickly():
    seconds = noisy(5000)
    seconds[3000:] *= 4
    assert judge(part(seconds, noisy(5000))).severity == "warning"
