import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader
from torch.utils.data.distributed import DistributedSampler

from vestim_pl.data import RecordingTable, WindowDataset
from vestim_pl.errors import ConfigurationError


def counted(lengths):
    """Table whose voltage is the row's number and whose features are its multiples."""
    rows = torch.arange(float(sum(lengths)))
    names = [f"r{index}" for index in range(len(lengths))]
    inputs = torch.stack([rows, 2 * rows, -rows], dim=1)
    return RecordingTable.of(names, list(inputs.split(lengths)), list(rows.split(lengths)))


@given(
    st.lists(st.integers(1, 30), min_size=1, max_size=5),
    st.integers(1, 12),
    st.integers(1, 4),
    st.integers(0, 3),
)
def test_a_batch_holds_the_rows_of_its_windows_and_of_no_other_recording(lengths, lookback, stride, horizon):
    table = counted(lengths)
    if max(lengths) < lookback + horizon:
        with pytest.raises(ConfigurationError, match=rf"has the {lookback + horizon} rows of one window"):
            WindowDataset(table, lookback, stride, horizon)
        return
    windows = WindowDataset(table, lookback, stride, horizon)
    batch = windows.__getitems__(range(len(windows)))
    rows = batch.first_row[:, None] + torch.arange(lookback)
    assert torch.equal(batch.inputs, torch.stack([rows, 2 * rows, -rows], dim=2).float())
    assert torch.equal(batch.target, (rows[:, -1:] + horizon).float())
    assert batch.inputs.is_contiguous()
    last = (rows[:, -1] + horizon).numpy()
    assert (table.recording_of(rows[:, 0].numpy()) == table.recording_of(last)).all()
    assert len(set(batch.first_row.tolist())) == len(windows)
    assert windows.estimated_rows(batch).tolist() == last.tolist()
    assert torch.equal(batch.weight, torch.ones(len(windows), 1))
    assert batch.fresh.all()


def test_one_window_is_a_batch_without_its_dimension():
    windows = WindowDataset(counted([6, 5]), lookback=3)
    assert len(windows) == 7
    for index in (0, 3, 4, 6, -1):
        one = windows[index]
        assert one.inputs.shape == (3, 3)
        assert torch.equal(one.target, windows.__getitems__([index % 7]).target[0])
    with pytest.raises(IndexError):
        windows[7]


def test_a_batch_may_be_changed_without_changing_the_table():
    table = counted([9])
    batch = WindowDataset(table, lookback=3).__getitems__([0, 1])
    batch.inputs.zero_()
    batch.target.zero_()
    batch.weight.zero_()
    assert table.target.tolist() == list(range(9))
    assert table.inputs[2, 1] == 4


@pytest.mark.parametrize("workers", [0, 2])
def test_torchs_own_loader_shuffles_it(workers):
    windows = WindowDataset(counted([20, 13]), lookback=4)
    loader = DataLoader(windows, batch_size=5, shuffle=True, num_workers=workers, collate_fn=WindowDataset.keep)
    seen = torch.cat([batch.first_row for batch in loader]).tolist()
    assert sorted(seen) == sorted(windows.__getitems__(range(len(windows))).first_row.tolist())
    assert seen != sorted(seen)


def test_torchs_own_loader_collates_single_windows():
    windows = WindowDataset(counted([20]), lookback=4)
    batch = torch.utils.data.default_collate([windows[index] for index in (0, 5)])
    assert torch.equal(batch.inputs, windows.__getitems__([0, 5]).inputs)
    assert batch.first_row.tolist() == [0, 5]


def test_distributed_sampler_shards_it():
    windows = WindowDataset(counted([21, 13]), lookback=4)
    seen = []
    for rank in range(2):
        sampler = DistributedSampler(windows, num_replicas=2, rank=rank, seed=1)
        sampler.set_epoch(3)
        loader = DataLoader(windows, batch_size=4, sampler=sampler, collate_fn=WindowDataset.keep)
        seen += torch.cat([batch.first_row for batch in loader]).tolist()
    assert sorted(seen) == sorted(windows.__getitems__(range(len(windows))).first_row.tolist())


def test_batches_are_gathered_on_the_tables_device():
    meta = counted([20]).to(torch.device("meta"))
    batch = WindowDataset(meta, lookback=4).__getitems__([1, 2])
    assert {tensor.device.type for tensor in batch} == {"meta"}
