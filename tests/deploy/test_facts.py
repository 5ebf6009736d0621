"""What a checkpoint knows about its model; an old one knows less."""

import json

import pytest
import torch

from tests.deploy.estimators import make_estimator
from vestim_pl.deploy.facts import Intervals, model_facts

DATA = {
    "columns": {"time": "t", "current": "Current", "voltage": "U", "temperature": "Temp", "soc": None},
    "ranges": {"SOC": [0.1, 1.0], "Current": [-9.0, 4.0], "Left out": [0.0, 1.0]},
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


def test_what_training_stored_is_read(estimator):
    estimator.hparams["data"] = DATA
    estimator.hparams["preparation"] = {"interval": 0.1}
    facts = model_facts(estimator, {"current": None}, {"prediction_intervals": STORED})
    assert facts.interval == 0.1
    assert facts.ranges == {"SOC": (0.1, 1.0), "Current": (-9.0, 4.0)}
    assert facts.intervals == Intervals(pytest.approx(0.9), 2, (0.0, 25.0), (0.5, 0.25, 0.125))
    written = json.loads(json.dumps(facts.metadata()))
    assert written["interval_s"] == 0.1
    assert written["ranges"] == {"SOC": [0.1, 1.0], "Current": [-9.0, 4.0]}
    assert written["prediction_intervals"] == {
        "coverage": pytest.approx(0.9),
        "feature": "Temp",
        "borders": [0.0, 25.0],
        "half_width_v": [0.5, 0.25, 0.125],
    }


def test_a_column_of_the_command_wins_over_that_of_the_training(estimator):
    estimator.hparams["data"] = DATA
    assert "Temp" not in model_facts(estimator, {"temperature": "Other"}).units


def test_intervals_without_a_temperature_have_one_band(estimator):
    stored = STORED | {"feature": torch.tensor(-1), "borders": torch.empty(0), "half_width_v": torch.tensor([0.5])}
    facts = model_facts(estimator, checkpoint={"prediction_intervals": stored})
    assert facts.intervals == Intervals(pytest.approx(0.9), None, (), (0.5,))
    assert facts.metadata()["prediction_intervals"]["feature"] is None
