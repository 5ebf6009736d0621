"""What a checkpoint keeps about its training data."""

import math

import numpy as np
import pytest

from vestim_pl.data import VoltageDataModule, WindowSampling
from vestim_pl.data.training_data import Evaluation, TrainingData, rows_outside
from vestim_pl.errors import ConfigurationError


def test_ranges_are_those_of_the_training_rows_and_without_rc_pairs():
    module = VoltageDataModule(sampling=WindowSampling(lookback=30, horizon=1), rc_pairs=[5])
    module.setup()
    data = TrainingData.describe(module)
    inputs = module.table("train").inputs
    assert list(data.ranges) == ["SOC", "Current", "Temp"]
    for index, limits in enumerate(data.ranges.values()):
        assert limits == (float(inputs[:, index].min()), float(inputs[:, index].max()))
    assert data.evaluation == Evaluation("windows", lookback=30, horizon=1, burn_in=29)
    assert TrainingData.of(data.to_dict()) == data


def test_an_old_checkpoint_knows_nothing_and_no_row_is_outside():
    data = TrainingData.of(None)
    assert data == TrainingData()
    assert not rows_outside(np.full((2, 1), 1e30, np.float32), ("Temp",), data.ranges).any()


def test_the_limits_themselves_are_inside():
    inputs = np.array([[-10.0], [40.0], [np.nextafter(np.float32(40), np.float32(41))]], np.float32)
    assert rows_outside(inputs, ("Temp",), {"Temp": (-10.0, 40.0)})[:, 0].tolist() == [False, False, True]


@pytest.mark.parametrize(
    "plain",
    [
        [1],
        {"ranges": {"SOC": [1]}},
        {"ranges": {"SOC": [1, 0]}},
        {"ranges": {"SOC": [0, math.inf]}},
        {"evaluation": {"mode": "guess"}},
        {"evaluation": {"lookback": "many"}},
        {"evaluation": {"colour": 1}},
    ],
)
def test_a_damaged_description_is_refused(plain):
    with pytest.raises(ConfigurationError, match="training data is damaged"):
        TrainingData.of(plain)
