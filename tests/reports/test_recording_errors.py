"""error_table against NumPy; which rows RecordingErrors says were scored."""

import numpy as np
import pandas as pd
import pytest
import torch

from vestim_pl.data import RecordingTable
from vestim_pl.functional.sequence_batch import SequenceBatch
from vestim_pl.reports.recording_errors import RecordingErrors, error_table


def test_errors_by_recording_and_overall_equal_numpy():
    generator = np.random.default_rng(0)
    measured = generator.normal(3.7, 0.2, 50)
    estimated = measured + generator.normal(0, 0.01, 50)
    names = ["b"] * 20 + ["a"] * 30
    table = error_table(pd.DataFrame({"recording": names, "measured": measured, "estimated": estimated}))
    assert table["recording"].tolist() == ["a", "b", "overall"]
    error = (estimated - measured) * 1000
    for name, part in (("a", error[20:]), ("b", error[:20]), ("overall", error)):
        row = table.set_index("recording").loc[name]
        assert row["steps"] == len(part)
        assert row["rmse_mv"] == pytest.approx(np.sqrt(np.mean(part**2)))
        assert row["mae_mv"] == pytest.approx(np.mean(np.abs(part)))
        assert row["max_error_mv"] == pytest.approx(np.max(np.abs(part)))


@pytest.mark.parametrize("horizon", [0, 1])
def test_steps_name_recording_time_and_voltage_of_the_estimated_row(horizon):
    table = RecordingTable.of(
        ["a", "b"], [torch.arange(6.0)[:, None] / 10, torch.zeros(7, 1)], [torch.arange(6.0), 10 + torch.arange(7.0)]
    )
    collected = RecordingErrors(table, horizon, {"soc": 0})
    weight = torch.tensor([[0.0, 0.0, 1.0], [0.0, 1.0, 1.0]])
    batch = SequenceBatch(
        torch.zeros(2, 3, 1), torch.zeros(2, 3), weight, torch.ones(2, dtype=torch.bool), torch.tensor([8, 1])
    )
    collected.on_test_start(None, None)
    collected.on_test_batch_end(None, None, torch.full((2, 3), 5.0), batch, 0)
    steps = collected.steps()
    rows = [2 + horizon, 3 + horizon, 10 + horizon]
    assert steps["measured"].tolist() == table.target[rows].tolist()
    assert steps["recording"].tolist() == ["a", "a", "b"]
    assert steps["time"].tolist() == [2 + horizon, 3 + horizon, 4 + horizon]
    assert set(steps["estimated"]) == {5.0}
    assert steps["soc"].tolist() == pytest.approx([(2 + horizon) / 10, (3 + horizon) / 10, 0.0])


def test_steps_of_all_processes_are_gathered_also_where_one_has_none(monkeypatch):
    table = RecordingTable.of(["a", "b"], [torch.zeros(2, 1)] * 2, [torch.arange(2.0), 10 + torch.arange(2.0)])
    others = [
        (torch.tensor([3, 2]), torch.tensor([3.0, 2.0])),
        (torch.empty(0, dtype=torch.int64), torch.empty(0)),
    ]
    monkeypatch.setattr("vestim_pl.reports.recording_errors.gather", lambda trainer, own: [*others, own])
    collected = RecordingErrors(table)
    collected.on_test_start(None, None)
    batch = SequenceBatch(
        torch.zeros(2, 1, 1),
        torch.zeros(2, 1),
        torch.tensor([[1.0], [0.0]]),
        torch.ones(2).bool(),
        torch.tensor([1, 2]),
    )
    collected.on_test_batch_end(None, None, torch.tensor([[1.0], [7.0]]), batch, 0)
    collected.on_test_epoch_end(None, None)
    steps = collected.steps()
    assert steps["estimated"].tolist() == [1.0, 2.0, 3.0]
    assert steps["recording"].tolist() == ["a", "b", "b"]


def test_each_checkpoint_has_its_recordings_and_its_overall_row():
    steps = pd.DataFrame({"recording": ["a", "b", "a", "b"], "measured": 3.7, "estimated": [3.71, 3.7, 3.7, 3.7]})
    table = error_table(steps.assign(checkpoint=["two", "two", "one", "one"]))
    assert table[["checkpoint", "recording"]].to_numpy().tolist() == [
        ["two", "a"], ["two", "b"], ["two", "overall"], ["one", "a"], ["one", "b"], ["one", "overall"]
    ]  # fmt: skip
    assert table["max_error_mv"].tolist() == pytest.approx([10.0, 0.0, 10.0, 0.0, 0.0, 0.0])
    assert next(iter(table)) == "checkpoint"
