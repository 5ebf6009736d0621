from pathlib import Path

import pytest
import torch

from vestim_pl.data.storage import check_storage, fits_in, fits_on
from vestim_pl.errors import ConfigurationError


@pytest.mark.parametrize(
    ("storage", "cache", "workers", "message"),
    [
        ("disk", None, None, r"data\.storage: 'disk' is unknown"),
        ("memory", None, -1, r"data\.num_workers: -1 is negative"),
        ("device", None, 2, r"data\.num_workers: 2 processes cannot prepare .* set data\.num_workers=0"),
        ("mapped", None, None, r"data\.cache: data\.storage=mapped needs a folder"),
    ],
)
def test_what_does_not_go_together_is_named(storage, cache, workers, message):
    with pytest.raises(ConfigurationError, match=message):
        check_storage(storage, cache, workers)


def test_what_goes_together_passes():
    for storage in ("auto", "memory", "device", "mapped"):
        check_storage(storage, Path("cache"), 0)


def test_all_tables_together_have_to_fit(table):
    one = table(100)
    needed = 4 * 100 * (2 * 4 + 4)
    assert fits_in(needed, [one])
    assert not fits_in(needed, [one, one])


def test_nothing_is_moved_to_the_cpu(table):
    assert not fits_on(torch.device("cpu"), [table(3)])
