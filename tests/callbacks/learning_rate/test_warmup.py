import math

import pytest
import torch

from vestim_pl.callbacks.learning_rate.learning_rate_warmup import warmup_factor


def test_the_linear_shape_is_that_of_torch():
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    reference = torch.optim.lr_scheduler.LinearLR(optimizer, start_factor=0.1, total_iters=7)
    for updates in range(10):
        assert warmup_factor(updates, 7, start_factor=0.1) == pytest.approx(reference.get_last_lr()[0])
        optimizer.step()
        reference.step()


def test_the_cosine_shape_starts_and_ends_flat():
    values = [warmup_factor(t, 100, shape="cosine", start_factor=0.2) for t in range(101)]
    assert values[0] == pytest.approx(0.2)
    assert values[50] == pytest.approx(0.6)
    assert values[100] == 1.0
    assert values[1] - values[0] < 0.1 * (values[51] - values[50])
    assert values[25] == pytest.approx(0.2 + 0.8 * 0.5 * (1 - math.cos(math.pi / 4)))


def test_a_duration_of_zero_is_no_warmup():
    assert warmup_factor(0, 0) == 1.0
