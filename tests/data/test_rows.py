import numpy as np
import pytest
import torch

from vestim_pl.data.rows import FileRows, MemoryRows


@pytest.fixture(params=["memory", "files"])
def rows(request, tmp_path):
    return MemoryRows(2) if request.param == "memory" else FileRows(tmp_path, 2)


def test_rows_come_back_as_they_were_appended(rows):
    parts = [
        (torch.rand(n, 2), np.random.default_rng(n).random(n).astype(np.float32), np.arange(n, dtype=float))
        for n in (3, 1, 40, 500)
    ]
    for part in parts:
        rows.append(*part)
    inputs, target, time = rows.collected()
    assert torch.equal(inputs, torch.cat([part[0] for part in parts]))
    assert np.array_equal(target.numpy(), np.concatenate([part[1] for part in parts]))
    assert np.array_equal(time, np.concatenate([part[2] for part in parts]))
    assert (inputs.dtype, target.dtype, time.dtype) == (torch.float32, torch.float32, np.float64)


def test_no_rows(rows):
    inputs, target, time = rows.collected()
    assert (inputs.shape, target.shape, time.shape) == ((0, 2), (0,), (0,))


def test_memory_holds_hardly_more_than_the_rows():
    rows = MemoryRows(3)
    for number in range(1, 200):
        rows.append(torch.zeros(1000, 3), np.zeros(1000, np.float32), np.zeros(1000))
        held = sum(block._values.nbytes for block in rows._blocks)
        assert held <= 1.3 * number * 1000 * (3 * 4 + 4 + 8)
