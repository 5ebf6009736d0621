import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from vestim_pl.reports.run_metrics import EpochAxis, curve, find_key, metric_files, read_metrics

STEPS = 200


def values(metrics: pd.DataFrame, key: str) -> list[float]:
    return list(metrics.loc[metrics["key"] == key, "value"])


def test_a_nan_stays_and_an_empty_cell_does_not_become_one(tmp_path: Path) -> None:
    file = tmp_path / "metrics.csv"
    file.write_text("epoch,step,a,b\n0,9,1.5,\n0,19,nan,\n1,29,,inf\n1,39,,-inf\n")
    metrics = read_metrics([file])
    assert metrics["key"].tolist() == ["a", "a", "b", "b"]
    assert metrics["step"].tolist() == [9, 19, 29, 39]
    np.testing.assert_array_equal(metrics["value"], [1.5, math.nan, math.inf, -math.inf])


def test_parts_come_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    for name in ("metrics.csv", "metrics.10.csv", "metrics.2.csv", "metrics.1.csv", "metrics.old.csv"):
        (tmp_path / name).write_text("epoch,step\n")
    assert [path.name for path in metric_files(tmp_path)] == [
        "metrics.1.csv", "metrics.2.csv", "metrics.10.csv", "metrics.csv"
    ]  # fmt: skip


def test_a_resumed_run_is_joined_and_the_later_part_counts(
    tmp_path: Path, metrics_of: Callable[..., pd.DataFrame]
) -> None:
    whole, again = metrics_of(range(8)), metrics_of(range(5, 8), seed=1)
    whole[whole["epoch"] < 6].to_csv(tmp_path / "metrics.1.csv", index=False)  # epoch 5 was made and then lost
    again.to_csv(tmp_path / "metrics.csv", index=False)
    metrics = read_metrics(metric_files(tmp_path))
    rows = metrics[metrics["key"] == "val/rmse_mv"]
    assert rows["epoch"].tolist() == list(range(8))
    expected = [*whole["val/rmse_mv"].dropna()[:5], *again["val/rmse_mv"].dropna()]
    np.testing.assert_allclose(rows["value"], expected)
    for _, group in metrics.groupby("key"):
        assert group["step"].is_monotonic_increasing


def test_steps_made_twice_within_a_part_both_stay(tmp_path: Path) -> None:
    """A rollback goes back in its own part: what was tried is not hidden."""
    (tmp_path / "metrics.csv").write_text("epoch,step,a\n0,9,1\n0,19,nan\n0,9,1\n0,19,0.5\n")
    assert len(read_metrics(metric_files(tmp_path))) == 4


def test_the_end_of_an_epoch_stands_at_its_number(metrics_of: Callable[..., pd.DataFrame], tmp_path: Path) -> None:
    metrics_of(range(4)).to_csv(tmp_path / "metrics.csv", index=False)
    metrics = read_metrics([tmp_path / "metrics.csv"])
    axis = EpochAxis.of(metrics)
    np.testing.assert_allclose(curve(metrics, "val/rmse_mv", axis)["x"], [0, 1, 2, 3])
    np.testing.assert_allclose(axis.at([0, STEPS / 2, STEPS, 5 * STEPS]), [-1, -0.5, 0, 4])


def test_an_epoch_cut_short_does_not_fill_its_place(metrics_of: Callable[..., pd.DataFrame], tmp_path: Path) -> None:
    frame = metrics_of(range(4))
    frame[frame["step"] < 3 * STEPS + 100].to_csv(tmp_path / "metrics.csv", index=False)
    axis = EpochAxis.of(read_metrics([tmp_path / "metrics.csv"]))
    assert axis.at(3 * STEPS + 100) == pytest.approx(2.5)


@pytest.mark.parametrize("text", ["", "epoch,step\n", "epoch,step,a\n,0,1\n", "epoch,step,test/a\n3,0,1\n"])
def test_an_axis_without_epochs(text: str, tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text(text)
    axis = EpochAxis.of(read_metrics([tmp_path / "metrics.csv"]))
    assert np.isfinite(axis.at([0, 1, 1000])).all()


def test_the_order_of_the_patterns_decides() -> None:
    metrics = pd.DataFrame({"key": ["lr-Adam", "learning_rate"]})
    assert find_key(metrics, "learning_rate", "lr-.*") == "learning_rate"
    assert find_key(metrics, "rate") is None
