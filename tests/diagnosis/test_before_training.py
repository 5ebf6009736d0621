import dataclasses

import pytest

from vestim_pl.data import VoltageDataModule, WindowSampling
from vestim_pl.diagnosis.before_training import clips_adaptively, diagnose_data, diagnose_settings, diagnose_training
from vestim_pl.diagnosis.learning_rate import RangeTest
from vestim_pl.diagnosis.probe import Measurements

SETTINGS = {
    "network": {"name": "LSTM", "hidden_sizes": [10], "dropout": 0.2, "forget_bias": "zero"},
    "optimizer": {"name": "Adam", "lr": 1e-3, "weight_decay": 0.0},
    "sampling": {"lookback": 400},
    "trainer": {"gradient_clip_val": 0.5, "devices": 1, "max_epochs": 50},
    "callbacks": {"event_log": {"_target_": "vestim_pl.callbacks.EventLog"}, "recovery": None},
}
SWEEP = RangeTest([1e-3, 1e-2, 1e-1], [1.0, 0.9, 0.2], 0.01)
FOUND = Measurements([2.0] * 12, 0.1, 257, [], SWEEP, 20.0, None, None, 10**9, 10**10, "memory")


@pytest.fixture(scope="module")
def demo() -> VoltageDataModule:
    module = VoltageDataModule(sampling=WindowSampling(lookback=400))
    module.setup()
    return module


def test_settings_are_passed_to_their_checks(demo):
    found = {each.check: each for each in diagnose_training(SETTINGS, demo, 611, "32-true", FOUND)}
    assert "clipping at 0.5 engages in 12 of the first 12" in found["gradient clipping"].evidence
    assert "optimizer.lr is 0.001" in found["learning rate"].evidence
    assert "lookback 400" in found["gradient memory"].evidence
    assert "611 parameters for a lookback of 400" in found["capacity"].evidence
    assert found["weight decay"].severity == "warning"
    assert "20 mV" in found["dropout"].evidence
    assert "257 optimizer steps" in found["time"].evidence
    assert "1,000 MB of 10,000 MB" in found["memory"].evidence


def test_settings_alone():
    both = {**SETTINGS, "optimizer": {"name": "Adam", "fused": True}, "trainer": {"devices": 2}}
    assert [each.severity for each in diagnose_settings(both, "16-mixed", multirun=True)] == ["error", "error"]
    assert [each.severity for each in diagnose_settings(SETTINGS, "32-true", multirun=True)] == ["ok", "ok"]


@pytest.mark.parametrize(
    ("settings", "override"),
    [
        ({"optimizer": {"name": "Adam", "fused": True}}, ("optimizer", "fused", False)),
        ({"trainer": {"devices": 2}}, ("trainer", "devices", 1)),
        ({"trainer": {"devices": [0, 1], "strategy": "ddp"}}, ("trainer", "devices", 1)),
    ],
)
def test_the_override_of_a_contradiction_mends_it(settings, override):
    group, key, value = override
    settings = {**SETTINGS, **settings}
    wrong = [each for each in diagnose_settings(settings, "16-mixed", multirun=True) if each.severity == "error"]
    assert [each.override for each in wrong] == [f"{group}.{key}={value}".replace("False", "false")]
    mended = {**settings, group: {**settings[group], key: value}}
    assert {each.severity for each in diagnose_settings(mended, "16-mixed", multirun=True)} == {"ok"}


@pytest.mark.parametrize(
    ("sampling", "override"),
    [
        ({"lookback": 4, "batch_size": 256}, "sampling.batch_size=128"),
        ({"lookback": 4, "lanes": 16}, "sampling.lanes=8"),
    ],
)
def test_less_memory_is_half_of_what_a_step_holds(demo, sampling, override):
    full = dataclasses.replace(FOUND, available_bytes=10**9)
    found = {
        each.check: each for each in diagnose_training({**SETTINGS, "sampling": sampling}, demo, 9, "32-true", full)
    }
    assert (found["memory"].severity, found["memory"].override) == ("warning", override)


def test_the_demo_data_have_no_problem(demo):
    assert [each.severity for each in diagnose_data(demo)] == ["ok", "ok", "ok"]


def test_a_callback_that_is_switched_off_does_not_clip():
    assert not clips_adaptively(SETTINGS)
    assert not clips_adaptively({"callbacks": {"adaptive_clipping": None}})
