import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from vestim_pl.data.indexing.window_arithmetic import batch_bounds, count_windows, epoch_order, window_starts

lengths_of_recordings = st.lists(st.integers(0, 30), min_size=1, max_size=6).map(np.array)


@given(lengths_of_recordings, st.integers(1, 12), st.integers(1, 5), st.integers(0, 3))
def test_windows_are_all_those_that_lie_in_one_recording(lengths, lookback, stride, horizon):
    borders = np.concatenate([[0], np.cumsum(lengths)])
    counts = count_windows(lengths, lookback, stride, horizon)
    firsts = np.concatenate([[0], np.cumsum(counts)])
    expected = [
        border + start
        for border, length in zip(borders[:-1], lengths, strict=True)
        for start in range(0, length, stride)
        if start + lookback + horizon <= length
    ]
    starts = window_starts(np.arange(firsts[-1]), borders, firsts, stride)
    assert starts.tolist() == expected


@given(st.integers(1, 60), st.integers(1, 9), st.integers(1, 5))
def test_ranks_have_disjoint_complete_shares_in_equally_many_batches(items, batch_size, world_size):
    if items < world_size:
        return
    shares = [batch_bounds(items, batch_size, rank, world_size) for rank in range(world_size)]
    assert len({len(bounds) for bounds in shares}) == 1
    assert len(shares[0]) - 1 == -(-items // (world_size * batch_size))
    assert sum(int(bounds[-1]) for bounds in shares) == items
    for bounds in shares:
        sizes = np.diff(bounds)
        assert bounds[0] == 0
        assert sizes.max() <= batch_size
        if batch_size > 1:
            assert sizes.min() >= 1


@given(st.integers(1, 500), st.integers(0, 2**40), st.integers(0, 1000))
def test_an_epochs_order_is_a_permutation_that_seed_and_epoch_decide(items, seed, epoch):
    order = epoch_order(items, seed, epoch)
    assert sorted(order.tolist()) == list(range(items))
    assert np.array_equal(order, epoch_order(items, seed, epoch))
    assert order.dtype == np.int32


def test_another_epoch_or_seed_has_another_order():
    orders = [tuple(epoch_order(50, seed, epoch)) for seed in range(3) for epoch in range(3)]
    assert len(set(orders)) == len(orders)


def test_rows_beyond_32_bits_are_counted():
    lengths = np.array([2**32, 10])
    borders = np.concatenate([[0], np.cumsum(lengths)])
    counts = count_windows(lengths, 4)
    firsts = np.concatenate([[0], np.cumsum(counts)])
    last = np.array([firsts[-1] - 1])
    assert window_starts(last, borders, firsts).tolist() == [2**32 + 6]
