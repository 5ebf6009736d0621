import pytest
import torch

from vestim_pl.data import StreamSampling, WindowSampling
from vestim_pl.data.batches import evaluation_batches, training_batches


def batches(pair):
    data, sampler = pair
    return [data.__getitems__(index) for index in sampler]


def counted_rows(found, horizon=0):
    """Rows that count in the loss; the target is the row's number."""
    return sorted(int(row) for batch in found for row in batch.target[batch.weight > 0].tolist())


@pytest.mark.parametrize("sampling", [WindowSampling(lookback=8, batch_size=7), StreamSampling(lookback=8, lanes=3)])
def test_training_covers_the_table_on_all_ranks(table, sampling):
    rows = table(40, 70, 55)
    expected = counted_rows(batches(training_batches(rows, sampling, seed=2)))
    shared = [batches(training_batches(rows, sampling, seed=2, rank=rank, world_size=2)) for rank in range(2)]
    assert len(shared[0]) == len(shared[1])
    if isinstance(sampling, WindowSampling):
        assert counted_rows(shared[0] + shared[1]) == expected
        assert expected == [row for first, last in ((0, 40), (40, 110), (110, 165)) for row in range(first + 7, last)]


@pytest.mark.parametrize("kind", [WindowSampling, StreamSampling])
def test_orders_side_by_side_each_cover_the_table_each_in_its_own_way(table, kind):
    rows, size = table(40, 70, 55), {"batch_size": 7} if kind is WindowSampling else {"lanes": 7}
    alone = training_batches(rows, kind(lookback=8, **size), seed=2)
    data, sampler = training_batches(rows, kind(lookback=8, **size, orders=3), seed=2)
    assert len(sampler) == len(alone[1])
    for epoch in (0, 1):
        alone[1].set_epoch(epoch)
        sampler.set_epoch(epoch)
        found = batches((data, sampler))
        parts = [
            [type(batch)(*(field.tensor_split(3)[order] for field in batch)) for batch in found] for order in range(3)
        ]
        expected = batches(alone)
        for one, same in zip(parts[0], expected, strict=True):
            assert all(torch.equal(left, right) for left, right in zip(one, same, strict=True))
        if kind is WindowSampling:
            assert counted_rows(parts[1]) == counted_rows(parts[2]) == counted_rows(expected)
        firsts = [torch.cat([batch.first_row for batch in part]).tolist() for part in parts]
        assert firsts[0] != firsts[1] != firsts[2] != firsts[0]


@pytest.mark.parametrize("horizon", [0, 2])
def test_both_evaluations_of_windows_score_the_same_rows(table, horizon):
    rows = table(40, 20, 33)
    common = {"lookback": 8, "horizon": horizon, "evaluation_chunk": 9}
    windows = batches(evaluation_batches(rows, WindowSampling(evaluation="windows", **common)))
    streams = batches(evaluation_batches(rows, WindowSampling(evaluation="streams", **common)))
    expected = [row for first, last in ((0, 40), (40, 60), (60, 93)) for row in range(first + 7 + horizon, last)]
    assert counted_rows(windows) == expected
    assert counted_rows(streams) == expected
    for batch in streams:
        assert torch.equal(batch.target, batch.inputs[:, :, 0] + horizon)


def test_a_streamed_evaluation_scores_all_but_the_burn_in(table):
    rows = table(40, 20)
    found = batches(evaluation_batches(rows, StreamSampling(lookback=8, burn_in=5, evaluation_chunk=9)))
    assert counted_rows(found) == [*range(5, 40), *range(45, 60)]
    step_rows = found[0].first_row[:, None] + torch.arange(9)
    assert torch.equal(found[0].target[found[0].weight > 0], step_rows[found[0].weight > 0].float())


def test_evaluated_windows_have_a_stride_of_their_own(table):
    sampling = WindowSampling(lookback=8, stride=3, evaluation_stride=5)
    assert counted_rows(batches(evaluation_batches(table(30), sampling))) == [7, 12, 17, 22, 27]
    assert counted_rows(batches(training_batches(table(30), sampling))) == list(range(7, 30, 3))


def test_streams_may_be_evaluated_on_windows(table):
    sampling = StreamSampling(lookback=8, burn_in=2, evaluation="windows")
    found = batches(evaluation_batches(table(20), sampling))
    assert counted_rows(found) == list(range(7, 20))
    assert all(batch.fresh.all() for batch in found)


@pytest.mark.parametrize("evaluation", ["windows", "streams"])
def test_evaluation_is_the_same_every_time_and_shared_by_ranks(table, evaluation):
    sampling = WindowSampling(lookback=8, evaluation=evaluation, evaluation_chunk=9, evaluation_batch_size=5)
    rows = table(40, 20, 33)
    once, again = (batches(evaluation_batches(rows, sampling)) for _ in range(2))
    assert all(torch.equal(left.target, right.target) for left, right in zip(once, again, strict=True))
    shared = [batches(evaluation_batches(rows, sampling, rank=rank, world_size=2)) for rank in range(2)]
    assert len(shared[0]) == len(shared[1])
    assert counted_rows(shared[0] + shared[1]) == counted_rows(once)
