import json
import math

import pytest
import torch

from vestim_pl.functional.tensor_range import measure_range


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_first_non_finite_value(bad):
    tensor = torch.tensor([[3.0, -0.5, 0.0], [1.0, bad, math.nan]])
    found = measure_range(tensor)
    assert (found.smallest, found.largest, found.non_finite) == (0.0, 3.0, 2)
    assert (found.index, found.value) == ((1, 1), str(bad))
    json.dumps(found.as_dict())


def test_finite():
    found = measure_range(torch.tensor([-2.0, 1.0]))
    assert (found.smallest, found.largest, found.non_finite, found.index, found.value) == (1.0, 2.0, 0, (), "")


def test_nothing_finite_and_scalars():
    found = measure_range(torch.tensor(math.inf))
    assert math.isnan(found.largest)
    assert (found.non_finite, found.index, found.value) == (1, (), "inf")
    assert '"smallest": null' in json.dumps(found.as_dict(), allow_nan=False)


def test_sparse_and_half():
    sparse = torch.sparse_coo_tensor([[0, 2]], [1.0, math.nan], (3,))
    assert measure_range(sparse).non_finite == 1
    assert measure_range(torch.tensor([60000.0], dtype=torch.float16)).largest == 60000.0
