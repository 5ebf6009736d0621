import math

import numpy as np
import pandas as pd
import pytest

from vestim_pl.reports.compared_checkpoints import ComparedCheckpoints, mean_errors

RMSE = {"seed 1": [4.0, 2.0, 3.0], "seed 0": [6.0, 2.0, 5.0], "seed 2": [8.0, 5.0, 7.0]}


def table(rmse=RMSE):
    parts = [
        pd.DataFrame({"checkpoint": name, "recording": ["a_0degC", "b_25degC", "overall"], "steps": [10, 30, 40],
                      "rmse_mv": values, "mae_mv": 1.0, "max_error_mv": np.array(values) * 3})
        for name, values in rmse.items()
    ]  # fmt: skip
    return pd.concat(parts, ignore_index=True)


def test_each_checkpoint_mean_and_standard_deviation():
    found = ComparedCheckpoints.of(table())
    assert found.names == ["seed 1", "seed 0", "seed 2"]
    assert [each[0] for each in found.overall] == [3.0, 5.0, 7.0]
    assert (found.spread[0].mean, found.spread[0].deviation) == (5.0, pytest.approx(2.0))
    assert found.temperatures == ["0 °C", "25 °C"]
    assert found.by_temperature == [[4.0, 2.0], [6.0, 2.0], [8.0, 5.0]]
    assert found.temperature_spread[1].mean == pytest.approx(3.0)
    assert [(name, values) for name, values, _ in found.recordings] == [
        ("a_0degC", [4.0, 6.0, 8.0]), ("b_25degC", [2.0, 2.0, 5.0])
    ]  # fmt: skip


def test_a_checkpoint_that_failed_is_not_averaged_away():
    found = ComparedCheckpoints.of(table(RMSE | {"seed 2": [4.0, math.nan, math.nan]}))
    assert math.isnan(found.spread[0].mean)
    assert found.recordings[0][0] == "b_25degC", "a NaN counts as the worst"
    averaged = mean_errors(table(RMSE | {"seed 2": [4.0, math.nan, math.nan]})).set_index("recording")
    assert averaged.loc["a_0degC", "rmse_mv"] == pytest.approx(14 / 3)
    assert math.isnan(averaged.loc["overall", "rmse_mv"])


def test_one_checkpoint_is_not_compared():
    one = table().drop(columns="checkpoint").iloc[:3]
    assert ComparedCheckpoints.of(one) is None
    assert mean_errors(one) is one
