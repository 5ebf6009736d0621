import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from vestim_pl.data import StreamBatchSampler
from vestim_pl.errors import ConfigurationError


def rows_of(steps):
    return [row for step in steps for row in step.rows[step.valid].tolist()]


def test_it_needs_nothing_but_lengths():
    data = torch.arange(90.0)
    sampler = StreamBatchSampler([40, 50], chunk=8, lanes=3, burn_in=2, seed=1)
    seen = [data[step.rows][torch.from_numpy(step.valid)] for step in sampler]
    assert sorted(torch.cat(seen).tolist()) == data.tolist()
    assert len(seen) == len(sampler)


def test_seed_and_epoch_decide_the_order():
    def epoch(number, seed=1):
        sampler = StreamBatchSampler([40, 50, 31], chunk=8, lanes=3, seed=seed)
        sampler.sampler.set_epoch(number)
        return rows_of(sampler)

    assert epoch(0) == epoch(0)
    assert len({tuple(epoch(number, seed)) for number in range(4) for seed in range(2)}) == 8


def test_unshuffled_and_whole_are_the_same_every_epoch():
    for options in ({"shuffle": False}, {"whole": True}):
        sampler = StreamBatchSampler([40, 50, 31], chunk=8, lanes=3, **options)
        first = rows_of(sampler)
        sampler.set_epoch(3)
        assert rows_of(sampler) == first


def test_ranks_share_the_rows():
    samplers = [StreamBatchSampler([40, 51, 7], 8, 2, rank=rank, world_size=3) for rank in range(3)]
    assert len({len(list(sampler)) for sampler in samplers}) == 1
    assert sorted(row for sampler in samplers for row in rows_of(sampler)) == list(range(98))


def test_recordings_may_lie_apart():
    sampler = StreamBatchSampler([3, 4], chunk=4, lanes=1, starts=[10, 20], whole=True)
    assert rows_of(sampler) == [20, 21, 22, 23, 10, 11, 12]


def test_it_is_a_batch_sampler_of_torchs_loader():
    class Foreign(Dataset):
        data = torch.arange(90.0)

        def __len__(self):
            return 90

        def __getitems__(self, step):
            return self.data[step.rows], step.weight, step.fresh

    loader = DataLoader(
        Foreign(), batch_sampler=StreamBatchSampler([90], 10, 2), collate_fn=lambda batch: batch, num_workers=2
    )
    shapes = {tuple(np.shape(part) for part in batch) for batch in loader}
    assert shapes == {((2, 10), (2, 10), (2,))}


@pytest.mark.parametrize("lengths", [[], [4, 0]])
def test_empty_recordings_are_refused(lengths):
    with pytest.raises(ConfigurationError, match="recordings of at least 1 row"):
        StreamBatchSampler(lengths, 4, 2)


@pytest.mark.parametrize(
    ("chunk", "lanes", "burn_in", "name"), [(0, 1, 0, "chunk"), (1, 0, 0, "lanes"), (1, 1, -1, "burn_in")]
)
def test_numbers_out_of_range_are_refused(chunk, lanes, burn_in, name):
    with pytest.raises(ConfigurationError, match=rf"sampling\.{name}: .* is too small"):
        StreamBatchSampler([5], chunk, lanes, burn_in)
