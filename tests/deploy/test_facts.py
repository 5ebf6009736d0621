"""What a checkpoint knows about its model; an old one knows less."""

import json

import pytest
import torch

from tests.deploy.estimators import make_estimator
from vestim_pl.deploy.facts import Intervals, model_facts
from vestim_pl.errors import ConfigurationError

DATA = {"ranges": {"SOC": [0.1, 1.0], "Current": [-9.0, 4.0], "Left out": [0.0, 1.0]}}
PREPARATION = {
    "columns": {"time": "t", "current": "I", "voltage": "U", "temperature": "Temp"},
    "roles": {"SOC": "soc", "Current": "current", "Temp": "Temp"},
    "derived": {"Temp": "Temp1 * 2", "power": "U * I"},
    "interval": 0.1,
}
STORED = {
    "coverage": torch.tensor(0.9),
    "feature": torch.tensor(2),
    "borders": torch.tensor([0.0, 25.0]),
    "half_width_v": torch.tensor([0.5, 0.25, 0.125]),
    "groups": torch.tensor([10, 10, 10]),
}


@pytest.fixture
def estimator():
    return make_estimator("FNN")


def test_an_old_checkpoint_has_features_and_units(estimator):
    facts = model_facts(estimator)
    assert facts.units == {"SOC": "0..1", "Current": "A, discharge negative", "Temp": "degC"}
    assert (facts.interval, facts.ranges, facts.intervals) == (None, {}, None)
    assert set(facts.metadata()) == {"features", "units", "network", "vestim_pl"}


@pytest.fixture
def trained(estimator):
    estimator.hparams["data"] = DATA
    estimator.hparams["preparation"] = PREPARATION
    return estimator


def test_what_training_stored_is_read(trained):
    facts = model_facts(trained, {"current": None}, {"prediction_intervals": STORED})
    assert facts.units == {"SOC": "0..1", "Current": "A, discharge negative"}  # a formula has no known unit
    assert facts.interval == 0.1
    assert facts.ranges == {"SOC": (0.1, 1.0), "Current": (-9.0, 4.0)}
    assert facts.intervals == Intervals(pytest.approx(0.9), 2, (0.0, 25.0), (0.5, 0.25, 0.125))
    written = json.loads(json.dumps(facts.metadata()))
    assert written["interval_s"] == 0.1
    assert written["ranges"] == {"SOC": [0.1, 1.0], "Current": [-9.0, 4.0]}
    assert written["formulas"] == {"Temp": "Temp1 * 2"}
    assert written["prediction_intervals"] == {
        "coverage": pytest.approx(0.9),
        "feature": "Temp",
        "borders": [0.0, 25.0],
        "half_width_v": [0.5, 0.25, 0.125],
    }


def test_a_column_of_the_command_wins_over_that_of_the_training(trained):
    assert model_facts(trained, {"current": "Other"}).units == {"SOC": "0..1"}
    assert model_facts(trained, {"current": "Temp"}).units["Temp"] == "A, discharge negative"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("data", {"ranges": {"SOC": [0.1, float("nan")]}}),
        ("data", {"ranges": {"SOC": [0.1]}}),
        ("data", {"ranges": {"SOC": [1.0, 0.1]}}),
        ("preparation", {"interval": -1.0}),
        ("data", "text"),
        ("preparation", {"interval": "1 s\n"}),
    ],
)
def test_damaged_facts_are_one_line(estimator, key, value):
    estimator.hparams[key] = value
    with pytest.raises(ConfigurationError, match=r"^ckpt_path: what the checkpoint says .* is damaged") as caught:
        model_facts(estimator)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("key", "value"),
    [("half_width_v", torch.ones(2)), ("borders", torch.tensor([0.0, float("inf")])), ("coverage", "much")],
)
def test_damaged_intervals_are_one_line(estimator, key, value):
    with pytest.raises(ConfigurationError, match=r"^ckpt_path: what the checkpoint says .* is damaged"):
        model_facts(estimator, checkpoint={"prediction_intervals": STORED | {key: value}})


def test_intervals_without_a_temperature_have_one_band(estimator):
    stored = STORED | {
        "feature": torch.tensor(-1),
        "borders": torch.empty(0),
        "half_width_v": torch.tensor([0.5]),
        "groups": torch.tensor([9]),
    }
    facts = model_facts(estimator, checkpoint={"prediction_intervals": stored})
    assert facts.intervals == Intervals(pytest.approx(0.9), None, (), (0.5,))
    assert facts.metadata()["prediction_intervals"]["feature"] is None
