import math

import pandas as pd
import pytest

from vestim_pl.reports.error_groups import by_temperature, cycle_by_temperature, split_name


@pytest.mark.parametrize(
    ("name", "cycle", "degrees"),
    [
        ("lg-hg2_udds_n10degC", "lg-hg2_udds", -10.0),
        ("lg-hg2_la92_25degC", "lg-hg2_la92", 25.0),
        ("udds_-10degC", "udds", -10.0),
        ("udds-25degC", "udds", 25.0),
        ("test/urban_0degC.parquet", "test/urban", 0.0),
        ("highway_2.5DEGC.csv", "highway", 2.5),
        ("n10degC", "", -10.0),
        ("monday", "monday", None),
        ("25degC_urban", "25degC_urban", None),
        ("mixed1_degC", "mixed1_degC", None),
    ],
)
def test_names(name: str, cycle: str, degrees: float | None) -> None:
    assert split_name(name) == (cycle, degrees)


def table(rows: list[tuple[str, int, float, float, float]]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["recording", "steps", "rmse_mv", "mae_mv", "max_error_mv"])


def test_every_step_counts_the_same() -> None:
    errors = table([("a_25degC", 100, 3.0, 2.0, 9.0), ("b_25degC", 300, 5.0, 4.0, 8.0), ("a_n10degC", 7, 1.0, 1.0, 1.0),
                    ("x", 5, 99.0, 99.0, 99.0), ("overall", 412, 50.0, 50.0, 99.0)])  # fmt: skip
    cold, warm = by_temperature(errors).to_dict("records")
    assert cold == {
        "temperature": -10.0,
        "recordings": 1,
        "steps": 7,
        "rmse_mv": 1.0,
        "mae_mv": 1.0,
        "max_error_mv": 1.0,
    }
    assert warm["rmse_mv"] == pytest.approx(math.sqrt((100 * 9 + 300 * 25) / 400))
    assert warm["mae_mv"] == pytest.approx(3.5)
    assert (warm["max_error_mv"], warm["steps"], warm["recordings"]) == (9.0, 400, 2)


def test_a_nan_is_not_averaged_away() -> None:
    errors = table([("a_25degC", 100, math.nan, math.nan, math.nan), ("b_25degC", 300, 5.0, 4.0, 8.0)])
    (row,) = by_temperature(errors).to_dict("records")
    assert all(math.isnan(row[name]) for name in ("rmse_mv", "mae_mv", "max_error_mv"))


def test_grid_of_cycles() -> None:
    errors = table([("b_25degC", 1, 2.0, 2.0, 2.0), ("a_0degC", 1, 3.0, 3.0, 3.0), ("a_25degC", 1, 4.0, 4.0, 4.0)])
    grid = cycle_by_temperature(errors)
    assert (list(grid.index), list(grid.columns)) == (["a", "b"], [0.0, 25.0])
    assert grid.loc["a", 25.0] == 4.0
    assert math.isnan(grid.loc["b", 0.0])
    assert by_temperature(table([("x", 1, 1.0, 1.0, 1.0)])).empty
