import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vestim_pl.data import RecordingTable, WindowBatchSampler, WindowDataset
from vestim_pl.errors import ConfigurationError


@given(st.integers(1, 80), st.integers(2, 9), st.integers(1, 4), st.booleans(), st.integers(0, 9))
def test_every_item_comes_once_on_one_rank_in_equally_many_batches(items, batch_size, world_size, shuffle, epoch):
    if items < world_size:
        return
    seen, lengths = [], set()
    for rank in range(world_size):
        sampler = WindowBatchSampler(items, batch_size, shuffle=shuffle, seed=5, rank=rank, world_size=world_size)
        sampler.set_epoch(epoch)
        batches = list(sampler)
        assert len(batches) == len(sampler)
        assert all(1 <= len(batch) <= batch_size for batch in batches)
        lengths.add(len(batches))
        seen += np.concatenate(batches).tolist()
    assert sorted(seen) == list(range(items))
    assert len(lengths) == 1


@given(st.integers(1, 30), st.integers(1, 4))
def test_a_batch_size_of_one_repeats_at_most_an_item_a_rank(items, world_size):
    if items < world_size:
        return
    ranks = [list(WindowBatchSampler(items, 1, rank=rank, world_size=world_size)) for rank in range(world_size)]
    assert len({len(batches) for batches in ranks}) == 1
    seen = [max(int(batch[0]), ~int(batch[0])) for batches in ranks for batch in batches]
    assert set(seen) == set(range(items))
    assert len(seen) - items < world_size


def test_seed_and_epoch_decide_the_order():
    sampler = WindowBatchSampler(40, 8, seed=1)
    first = np.concatenate(list(sampler)).tolist()
    assert np.concatenate(list(sampler)).tolist() == first
    sampler.set_epoch(1)
    assert np.concatenate(list(sampler)).tolist() != first
    sampler.set_epoch(0)
    assert np.concatenate(list(sampler)).tolist() == first
    assert np.concatenate(list(WindowBatchSampler(40, 8, seed=2))).tolist() != first


def test_lightning_reaches_set_epoch():
    sampler = WindowBatchSampler(4, 2)
    sampler.sampler.set_epoch(7)
    assert sampler.epoch == 7


def test_more_ranks_than_windows_are_refused():
    with pytest.raises(ConfigurationError, match=r"trainer\.devices: 3 processes for 2 windows"):
        WindowBatchSampler(2, 1, world_size=3)


def test_an_epoch_takes_twelve_bytes_an_item_at_most():
    import tracemalloc

    items = 100_000
    tracemalloc.start()
    sampler = WindowBatchSampler(items, batch_size=1)
    batches = iter(sampler)
    next(batches)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < (4 + 4 * 8) * items  # the order, and while they are made the bounds of as many batches
    held = sampler._bounds.nbytes + 4 * items
    assert held <= 12 * items + 8


@given(st.integers(1, 30), st.integers(1, 4), st.integers(1, 3), st.booleans())
def test_windows_of_all_ranks_that_count_are_each_window_once(rows, world_size, batch_size, shuffle):
    table = RecordingTable.of(["a"], [torch.zeros(rows, 1)], [torch.arange(float(rows))])
    if rows < world_size:
        return
    windows, counted = WindowDataset(table, lookback=1), []
    for rank in range(world_size):
        for index in WindowBatchSampler(rows, batch_size, shuffle=shuffle, rank=rank, world_size=world_size):
            batch = windows.__getitems__(index)
            assert len(batch.target), "a rank without a batch"
            counted += batch.target[batch.weight > 0].tolist()
    assert sorted(counted) == list(range(rows))
