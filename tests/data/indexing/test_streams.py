import numpy as np
import torch

from vestim_pl.data import StreamBatchSampler, StreamDataset


def test_a_batch_is_the_rows_that_the_step_names(table):
    three = table(30, 17, 25)
    streams = StreamDataset(three)
    for step in StreamBatchSampler(three.lengths, chunk=7, lanes=3, burn_in=2):
        batch = streams[step]
        rows = torch.from_numpy(step.rows)
        assert torch.equal(batch.inputs[:, :, 0], rows.float())
        assert torch.equal(batch.inputs[:, :, 1], 2 * rows.float())
        assert torch.equal(batch.target, rows.float())
        assert torch.equal(batch.weight, torch.from_numpy(step.weight))
        assert torch.equal(batch.fresh, torch.from_numpy(step.fresh))
        assert batch.first_row.tolist() == step.first_row.tolist()
        assert batch.first_row.dtype == torch.int64


def test_the_horizon_shifts_the_target_within_the_recording(table):
    two = table(30, 17)
    streams = StreamDataset(two, horizon=2)
    seen = []
    for step in StreamBatchSampler(two.lengths - 2, chunk=7, lanes=3, starts=two.borders[:-1], whole=True):
        batch = streams[step]
        assert torch.equal(batch.target, batch.inputs[:, :, 0] + 2)
        seen += batch.target[torch.from_numpy(step.valid)].tolist()
    assert sorted(seen) == [*range(2, 30), *range(32, 47)]


def test_batches_are_gathered_on_the_tables_device(table):
    one = table(30).to(torch.device("meta"))
    batch = StreamDataset(one)[next(iter(StreamBatchSampler(one.lengths, 7, 2)))]
    assert {tensor.device.type for tensor in batch} == {"meta"}


def test_indices_are_fetched_as_whole_batches(table):
    one = table(30)
    step = next(iter(StreamBatchSampler(np.array([30]), 7, 2)))
    assert torch.equal(StreamDataset(one).__getitems__(step).target, StreamDataset(one)[step].target)
