import dataclasses

import pytest

from vestim_pl.data import VoltageDataModule, WindowSampling
from vestim_pl.diagnosis.before_training import diagnose_data, diagnose_settings, diagnose_training
from vestim_pl.diagnosis.checks.cost import Plan
from vestim_pl.diagnosis.checks.learning_rate import RangeTest
from vestim_pl.diagnosis.probe import Measurements

SETTINGS = {
    "network": {"name": "LSTM", "hidden_sizes": [10], "dropout": 0.2, "forget_bias": "zero"},
    "optimizer": {"name": "Adam", "lr": 1e-3, "weight_decay": 0.0},
    "sampling": {"lookback": 400},
    "trainer": {"gradient_clip_val": 0.5, "devices": 1, "max_epochs": 50},
    "callbacks": {"event_log": {"_target_": "vestim_pl.callbacks.EventLog"}, "recovery": None},
}
SWEEP = RangeTest([1e-3, 1e-2, 1e-1], [1.0, 0.9, 0.2], 0.01)
FOUND = Measurements([2.0] * 12, 0.1, 257, 0.05, 20, [], [], SWEEP, 20.0, None, None, 10**9, 10**10, "memory")
PLAN = Plan(257, 257, 50)


@pytest.fixture(scope="module")
def demo() -> VoltageDataModule:
    module = VoltageDataModule(sampling=WindowSampling(lookback=400))
    module.setup()
    return module


def test_settings_are_passed_to_their_checks(demo):
    found = {each.check: each for each in diagnose_training(SETTINGS, demo, 611, "32-true", FOUND, PLAN)}
    assert "clipping at 0.5 engages in 12 of the first 12" in found["gradient clipping"].evidence
    assert "optimizer.lr is 0.001" in found["learning rate"].evidence
    assert "lookback of 400" in found["gradient memory"].evidence
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
def test_the_override_of_a_contradiction_fixes_it(settings, override):
    group, key, value = override
    settings = {**SETTINGS, **settings}
    wrong = [each for each in diagnose_settings(settings, "16-mixed", multirun=True) if each.severity == "error"]
    assert [each.override for each in wrong] == [f"{group}.{key}={value}".replace("False", "false")]
    fixed = {**settings, group: {**settings[group], key: value}}
    assert {each.severity for each in diagnose_settings(fixed, "16-mixed", multirun=True)} == {"ok"}


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
        each.check: each
        for each in diagnose_training({**SETTINGS, "sampling": sampling}, demo, 9, "32-true", full, PLAN)
    }
    assert (found["memory"].severity, found["memory"].override) == ("warning", override)


def test_the_demo_data_have_no_problem(demo):
    assert [each.severity for each in diagnose_data(demo)] == ["ok", "ok", "ok"]


def findings(demo: VoltageDataModule, found: Measurements = FOUND, parameters: int = 611, **changed: object):
    settings = {name: {**SETTINGS[name], **changed.get(name, {})} for name in SETTINGS}
    return {each.check: each for each in diagnose_training(settings, demo, parameters, "32-true", found, PLAN)}


def test_the_bound_of_a_limit_that_follows_the_norm_is_the_one_that_is_judged(demo):
    node = {"_target_": "vestim_pl.callbacks.AdaptiveGradientClipping", "max_norm": 1.0}
    trainer = {"gradient_clip_val": None}
    clipping = findings(demo, trainer=trainer, callbacks={"adaptive_clipping": node})["gradient clipping"]
    assert (clipping.severity, clipping.override) == ("warning", "callbacks.adaptive_clipping.max_norm=2")
    node = {**node, "max_norm": None}
    assert findings(demo, trainer=trainer, callbacks={"a": node})["gradient clipping"].severity == "ok"


def test_members_of_an_ensemble_are_counted_one_by_one(demo):
    assert findings(demo, parameters=6110, network={"members": 10})["capacity"].evidence.startswith("611 parameters")


def test_a_rate_that_is_too_high_is_fixed_before_the_threshold(demo):
    sweep = RangeTest([1e-5, 1e-4, 1e-3], [1.0, 0.9, 9.0], 0.01)
    found = findings(demo, dataclasses.replace(FOUND, range_test=sweep))
    assert found["learning rate"].override == "optimizer.lr=5e-07"
    assert not found["gradient clipping"].override
    lost = dataclasses.replace(FOUND, range_test=sweep, norms=[1.0, float("nan")])
    assert findings(demo, lost)["gradient clipping"].override == "optimizer.lr=5e-07"


def test_a_network_without_memory_is_not_held_to_rules_of_recurrent_ones(demo):
    found = findings(demo, network={"name": "FNN"})
    assert found["capacity"].severity == "ok"
    assert "a step" not in found["capacity"].evidence
    assert "LSTM" not in found["dropout"].evidence
    assert "LSTM" in findings(demo)["dropout"].evidence
