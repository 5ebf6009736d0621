"""What the learning curves show of a run that went well, and of one that died."""

import numpy as np
import pandas as pd
import pytest

from vestim_pl.reports.learning_curves import learning_curves
from vestim_pl.reports.run_folder import RunFolder


@pytest.fixture
def trace(run_dir):
    def find(name):
        return next(each for each in learning_curves(RunFolder.read(run_dir))["data"] if each["name"] == name)

    return find


def test_curves_have_the_logged_values_and_the_best_is_marked(run_dir, trace):
    metrics = pd.read_csv(run_dir / "metrics.csv")
    logged = metrics["val/rmse_mv"].dropna()
    assert trace("validation")["y"] == pytest.approx(logged.tolist(), rel=1e-4)
    assert trace("validation")["x"] == pytest.approx(list(range(24)))
    best = f"best {logged.min():.2f} mV, epoch {int(metrics.loc[logged.idxmin(), 'epoch'])}"
    assert trace(best)["x"] == [metrics.loc[logged.idxmin(), "epoch"]]


def test_panels_lie_above_each_other_without_overlap(run_dir):
    layout = learning_curves(RunFolder.read(run_dir))["layout"]
    domains = [layout[name]["domain"] for name in ("yaxis4", "yaxis3", "yaxis2", "yaxis")]
    assert [text["text"] for text in layout["annotations"]] == ["RMSE [mV]", "Learning rate", "Gradient norm", "Events"]
    edges = np.ravel(domains)
    assert (np.diff(edges) > 0).all()
    assert (edges[0], edges[-1]) == (0.0, 1.0)
    assert layout["yaxis"]["type"] == "log"


def test_every_event_is_placed_in_its_epoch_with_its_reason(trace):
    skips = trace("skip")
    assert len(skips["x"]) == 6
    assert all(3 <= x <= 4 for x in skips["x"]), "in the course of epoch 4"
    assert skips["text"][0] == "step 817: Epoch 4, Batch 17: loss is NaN; step skipped"


def test_markup_in_a_reason_stays_text(run_dir, trace, events_of, make_event):
    events_of(run_dir, [make_event("skip", "<a href='x'>press</a>", 100)])
    assert trace("skip")["text"] == ["step 100: &lt;a href='x'&gt;press&lt;/a&gt;"]


def test_a_non_finite_value_is_a_cross_and_a_gap_in_its_curve(run_dir, trace):
    lines = (run_dir / "metrics.csv").read_text().splitlines()
    place = lines[0].split(",").index("val/rmse_mv")
    rows = [row.split(",") for row in lines[1:]]
    last = [row for row in rows if row[place]][-1]
    last[place] = "inf"
    (run_dir / "metrics.csv").write_text("\n".join([lines[0], *map(",".join, rows)]) + "\n")
    assert trace("validation")["y"][-1] is None
    assert trace("NaN or Inf")["x"] == [23.0]
    assert trace("NaN or Inf")["text"] == ["inf"]


def test_a_run_that_died_in_its_first_epoch_shows_its_loss(run_dir):
    text = "epoch,step,train/loss,learning_rate\n0,9,1.0,0.1\n0,19,20.0,0.1\n0,29,nan,0.1\n"
    (run_dir / "metrics.csv").write_text(text)
    figure = learning_curves(RunFolder.read(run_dir))
    loss = next(each for each in figure["data"] if each["name"] == "training loss")
    assert loss["y"] == [1.0, 20.0, None]
    assert figure["layout"]["annotations"][0]["text"].startswith("Training loss")


def test_a_long_curve_is_thinned_but_no_non_finite_value_is_lost(run_dir):
    steps = np.arange(60_000)
    loss = np.where(steps == 31_001, np.nan, 1.0)
    pd.DataFrame({"epoch": 0, "step": steps, "train/loss": loss}).to_csv(run_dir / "metrics.csv", na_rep="nan")
    figure = learning_curves(RunFolder.read(run_dir))
    assert len(figure["data"][0]["x"]) < 4100
    assert any(each["name"] == "NaN or Inf" for each in figure["data"])


def test_nothing_logged_has_no_figure(run_dir):
    (run_dir / "metrics.csv").write_text("epoch,step\n")
    assert learning_curves(RunFolder.read(run_dir)) is None
