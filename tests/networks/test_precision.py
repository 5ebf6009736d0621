"""Full precision inside autocast."""

import torch

from vestim_pl.networks.precision import full_precision


def test_autocast_is_off_inside_and_on_again_after():
    weight = torch.ones(2, 2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        with full_precision(weight):
            assert (weight @ weight).dtype == torch.float32
        assert (weight @ weight).dtype == torch.bfloat16
    with full_precision(weight):
        assert (weight @ weight).dtype == torch.float32
