"""Side by side, each order equals that of its sampler alone, differs by epoch, and covers all data."""

import numpy as np
import pytest

from vestim_pl.data import StreamSampling, WindowSampling
from vestim_pl.data.batches import training_batches

SAMPLINGS = {"windows": WindowSampling(lookback=8, batch_size=5), "streams": StreamSampling(lookback=8, lanes=3)}


def rows_of(batch):
    return np.asarray(batch.rows if hasattr(batch, "rows") else batch)


@pytest.mark.parametrize("kind", SAMPLINGS)
def test_each_order_is_that_of_its_sampler_in_every_epoch(table, kind):
    sampling = type(SAMPLINGS[kind])(**(vars(SAMPLINGS[kind]) | {"orders": 3}))
    _, sampler = training_batches(table(40, 33, 21), sampling, seed=4)
    seen = set()
    for epoch in (0, 1, 5):
        sampler.set_epoch(epoch)
        batches = list(sampler)
        assert len(batches) == len(sampler)
        for order, one in enumerate(sampler.samplers):
            assert one.epoch == epoch
            alone = [rows_of(step) for step in one]
            for batch, expected in zip(batches, alone, strict=True):
                parts = np.split(rows_of(batch), 3)
                assert np.array_equal(parts[order], expected)
            seen.add(tuple(np.concatenate(alone).flatten().tolist()))
    assert len(seen) == 9, "an order was met twice"


def test_the_first_order_is_the_one_of_a_single_network(table):
    rows = table(40, 33, 21)
    batches = []
    for orders in (1, 2):
        _, sampler = training_batches(rows, StreamSampling(lookback=8, lanes=3, orders=orders), seed=4)
        sampler.set_epoch(2)
        batches.append([step.rows[:3] for step in sampler])
    assert all(np.array_equal(one, two) for one, two in zip(*batches, strict=True))
