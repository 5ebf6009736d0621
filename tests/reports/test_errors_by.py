"""Errors by condition against plain NumPy, and which band a step falls into."""

import math

import numpy as np
import pandas as pd
import pytest

from vestim_pl.reports.errors_by import MINUS, errors_by, implied_capacity, interval_coverage


@pytest.fixture
def steps() -> pd.DataFrame:
    generator = np.random.default_rng(0)
    parts = []
    for name, rows in (("a", 900), ("b", 600)):
        current = np.repeat(generator.uniform(-9.0, 3.0, rows // 30), 30)
        soc = 0.95 + np.cumsum(current) / 3600.0 / 2.5
        measured = generator.normal(3.7, 0.1, rows)
        estimated = measured + generator.normal(0.002, 0.01, rows)
        temperature = generator.uniform(-12.0, 31.0, rows)
        parts.append(
            pd.DataFrame({"recording": name, "time": np.arange(rows, dtype=float), "measured": measured,
                          "estimated": estimated, "soc": soc, "current": current, "temperature": temperature})
        )  # fmt: skip
    return pd.concat(parts, ignore_index=True)


def test_a_band_has_the_figures_of_its_steps(steps):
    table = errors_by(steps).set_index(["by", "group"])
    chosen = steps[(steps["temperature"] >= 10.0) & (steps["temperature"] < 20.0)]
    error = 1000.0 * (chosen["estimated"] - chosen["measured"]).to_numpy()
    row = table.loc[("temperature", "10 to 20 °C")]
    assert (row["low"], row["high"], row["recordings"], row["steps"]) == (10.0, 20.0, 2, len(error))
    assert row["rmse_mv"] == pytest.approx(math.sqrt((error**2).mean()))
    assert row["mae_mv"] == pytest.approx(np.abs(error).mean())
    assert row["max_error_mv"] == pytest.approx(np.abs(error).max())
    assert row["mean_mv"] == pytest.approx(error.mean())
    assert (row["p5_mv"], row["p95_mv"]) == pytest.approx(tuple(np.quantile(error, (0.05, 0.95))))


@pytest.mark.parametrize("by", ["temperature", "soc", "current", "c_rate"])
def test_every_step_is_in_one_band(steps, by):
    table = errors_by(steps)
    assert table.loc[table["by"] == by, "steps"].sum() == len(steps)


def test_limits_belong_to_the_band_above_and_a_missing_value_to_none():
    steps = pd.DataFrame({"recording": "a", "time": range(6), "measured": 3.7, "estimated": 3.7})
    table = errors_by(steps.assign(temperature=[-10.0, 0.0, 9.99, 10.0, math.nan, math.inf]))
    found = table[table["by"] == "temperature"].set_index("group")["steps"].to_dict()
    assert found == {f"{MINUS}10 to 0 °C": 1, "0 to 10 °C": 2, "10 to 20 °C": 1}


def test_bands_of_current_are_round_and_have_one_of_rest():
    current = [-18.0, -4.1, -0.09, 0.0, 0.05, 5.9]
    steps = pd.DataFrame({"recording": "a", "time": range(6), "measured": 3.7, "estimated": 3.7, "current": current})
    table = errors_by(steps)
    assert table.loc[table["by"] == "current", ["group", "steps"]].to_numpy().tolist() == [
        [f"{MINUS}20 to {MINUS}15 A", 1],
        [f"{MINUS}5 to {MINUS}0.25 A", 1],
        [f"rest ({MINUS}0.25 to 0.25 A)", 3],
        ["5 to 10 A", 1],
    ]  # fmt: skip
    assert "c_rate" not in set(table["by"]), "no capacity is known"
    rates = errors_by(steps, capacity_ah=3.0)
    assert rates.loc[rates["by"] == "c_rate", ["group", "steps"]].to_numpy().tolist() == [
        ["rest (0 to 0.05 C)", 3], ["1 to 2 C", 2], ["5 to 10 C", 1]
    ]  # fmt: skip


def test_capacity_is_that_by_which_the_soc_was_counted(steps):
    assert implied_capacity(steps) == pytest.approx(2.5, rel=0.02)
    two = pd.concat([steps.assign(checkpoint=name) for name in ("seed 0", "seed 1")])
    assert implied_capacity(two) == implied_capacity(steps)
    assert implied_capacity(steps.assign(soc=0.5)) is None, "the SOC never changes"
    assert implied_capacity(steps.assign(current=-steps["current"])) is None, "a negative capacity"
    assert implied_capacity(steps.drop(columns="soc")) is None


def test_a_constant_quantity_is_one_band_and_an_unknown_one_has_no_row():
    steps = pd.DataFrame({"recording": "a", "time": range(3), "measured": 3.7, "estimated": [3.7, 3.71, 3.72]})
    table = errors_by(steps.assign(current=0.0, soc=1.0, temperature=20.0))
    assert table[table["by"] != "lag"][["by", "group"]].to_numpy().tolist() == [
        ["temperature", "20 to 30 °C"], ["soc", "from 90 %"], ["current", "all"]
    ]  # fmt: skip
    assert set(errors_by(steps)["by"]) <= {"lag"}


def test_steps_outside_the_training_range_are_apart():
    steps = pd.DataFrame({"recording": "a", "time": range(3), "measured": 3.7, "estimated": [3.7, 3.71, 3.75]})
    table = errors_by(steps.assign(outside=[False, False, True])).set_index(["by", "group"])
    assert table.loc[("outside", "outside"), ["steps", "max_error_mv"]].tolist() == pytest.approx([1, 50.0])
    assert table.loc[("outside", "inside"), ["steps", "max_error_mv"]].tolist() == pytest.approx([2, 10.0])


def test_a_non_finite_estimate_is_not_averaged_away():
    steps = pd.DataFrame({"recording": "a", "time": range(4), "measured": 3.7, "estimated": [3.7, math.nan, 3.7, 3.8]})
    cold, warm = errors_by(steps.assign(temperature=[5.0, 5.0, 15.0, 15.0])).iloc[:2].to_dict("records")
    assert all(math.isnan(cold[name]) for name in ("rmse_mv", "max_error_mv", "mean_mv", "p95_mv"))
    assert warm["max_error_mv"] == pytest.approx(100.0)


def test_coverage_counts_the_steps_within_their_interval():
    steps = pd.DataFrame({"recording": "a", "time": range(4), "measured": 3.7, "estimated": 3.7, "soc": 0.55})
    table = errors_by(steps.assign(lower_v=[3.6, 3.6, 3.71, 3.7], upper_v=[3.8, 3.69, 3.8, 3.7]))
    assert table.set_index("by").loc["soc", "coverage"] == 0.5


def test_each_checkpoint_has_its_own_rows(steps):
    two = pd.concat([steps.assign(checkpoint="seed 1"), steps.assign(checkpoint="seed 0", estimated=3.7)])
    table = errors_by(two)
    assert list(dict.fromkeys(table["checkpoint"])) == ["seed 1", "seed 0"]
    first = table[table["checkpoint"] == "seed 1"].drop(columns="checkpoint").reset_index(drop=True)
    pd.testing.assert_frame_equal(first, errors_by(steps))


def test_a_checkpoint_without_intervals_has_no_coverage():
    steps = pd.DataFrame({"recording": "a", "time": range(4), "measured": [3.6, 3.7, 3.7, 3.7], "estimated": 3.7,
                          "soc": 0.5})  # fmt: skip
    with_intervals = steps.assign(checkpoint="new", lower_v=3.65, upper_v=3.75)
    both = pd.concat([with_intervals, steps.assign(checkpoint="old")], ignore_index=True)
    table = errors_by(both).set_index(["checkpoint", "by"])
    assert table.loc[("new", "soc"), "coverage"] == 0.75
    assert math.isnan(table.loc[("old", "soc"), "coverage"])
    assert interval_coverage(both) == {"new": 0.75}
