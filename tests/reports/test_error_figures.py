"""The figures hold the numbers that a reader takes from them."""

import numpy as np
import pandas as pd
import pytest

from vestim_pl.reports.error_figures import condition_figure, correlation_figure, error_histogram
from vestim_pl.reports.errors_by import errors_by


@pytest.fixture
def steps():
    generator = np.random.default_rng(0)
    error = np.convolve(generator.normal(0, 1e-2, 4019), np.ones(20) / 20, mode="valid")
    frame = {"recording": "a", "time": np.arange(4000.0), "measured": 3.7, "estimated": 3.7 + error}
    return pd.DataFrame(frame).assign(temperature=np.linspace(-15, 35, 4000), soc=np.linspace(1, 0, 4000))


def test_the_histogram_has_all_steps_but_the_few_outside_and_says_how_many(steps):
    steps.loc[7, "estimated"] = 9.0
    figure = error_histogram(steps)
    shares = figure["data"][0]["y"]
    outside = int(figure["layout"]["title"]["text"].split("; ")[1].split()[0])
    assert outside >= 1
    assert sum(shares) == pytest.approx(100 * (1 - outside / 4000), abs=0.01)
    assert max(abs(x) for x in figure["data"][0]["x"]) < 50, "an outlier would squeeze everything else into a line"


def test_no_finite_error_has_no_histogram(steps):
    assert error_histogram(steps.assign(estimated=np.nan)) is None
    assert error_histogram(steps.iloc[:0]) is None


def test_bars_are_rmse_and_whiskers_reach_from_5_to_95_percent(steps):
    table = errors_by(steps)
    table = table[table["by"] == "temperature"]
    bars, means = condition_figure(table, "Error", "Temperature")["data"]
    assert bars["y"] == pytest.approx(table["rmse_mv"].tolist(), rel=1e-4)
    reach = np.array(means["y"]) + np.array(means["error_y"]["array"])
    assert reach == pytest.approx(table["p95_mv"].to_numpy(), abs=1e-3)
    assert (np.array(means["y"]) - np.array(means["error_y"]["arrayminus"])) == pytest.approx(
        table["p5_mv"].to_numpy(), abs=1e-3
    )


def test_ticks_are_short_and_in_the_order_of_the_bands(steps):
    table = errors_by(steps)
    axis = condition_figure(table[table["by"] == "soc"], "Error", "SOC [%]")["layout"]["xaxis"]
    assert axis["ticktext"][:2] + axis["ticktext"][-1:] == ["below<br>10", "10<br>to 20", "from<br>90"]
    assert axis["categoryarray"][0] == "below 10 %"


def test_the_decay_of_the_autocorrelation_is_marked(steps):
    table = errors_by(steps)
    figure = correlation_figure(table[table["by"] == "lag"])
    (mark,) = figure["layout"]["shapes"]
    assert mark["x0"] == pytest.approx(20 * (1 - 1 / np.e), rel=0.2), "the moving average of 20 s falls linearly"
    assert mark["label"]["text"].startswith("1/e after 1")


def test_each_checkpoint_has_its_own_colour(steps):
    table = errors_by(pd.concat([steps.assign(checkpoint=name) for name in ("x", "<y>")]))
    figure = condition_figure(table[table["by"] == "temperature"], "Error", "Temperature")
    assert [bars["name"] for bars in figure["data"]] == ["x", "&lt;y&gt;"]
    assert len({bars["marker"]["color"] for bars in figure["data"]}) == 2
