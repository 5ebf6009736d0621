import math
from itertools import pairwise

import pytest
import torch
from lightning.pytorch import LightningModule
from torch import nn

from vestim_pl.callbacks.lookback.lookback_reach import (
    StepGradient,
    disable_dropout,
    first_windows,
    gradient_of_step,
    lookback_for,
    lookback_sizes,
    relative_difference,
    smallest_sufficient,
)


def test_sizes_are_multiples_and_at_most_0_6_of_the_window():
    sizes = lookback_sizes(400, 8)
    assert all(size % 8 == 0 for size in sizes)
    assert sizes[0] == 8
    assert 240 >= sizes[-1] > 200
    assert all(b - a >= a / 8 for a, b in pairwise(sizes))
    assert lookback_sizes(10, 8) == []


@pytest.mark.parametrize("guess", range(9))
@pytest.mark.parametrize("threshold", range(1, 10))
def test_smallest_sufficient_is_found_from_any_guess(threshold, guess):
    sizes, asked = list(range(1, 10)), []
    index = smallest_sufficient(sizes, lambda size: asked.append(size) or size >= threshold, guess)
    assert sizes[index] == threshold
    assert len(asked) == len(set(asked)) <= 5
    if index == guess:
        assert len(asked) <= 2


def test_no_size_may_suffice():
    assert smallest_sufficient([1, 2, 3], lambda size: False, guess=3) == 3


def test_lookback_is_the_longest_measurement_with_growth_and_margin():
    sizes = [8, 16, 24, 32, 40, 48]
    assert lookback_for([32, 16, 16], sizes, 100) == 40
    assert lookback_for([8, 16], sizes, 100) == 32
    assert lookback_for([8, 40], sizes, 100) == 48, "growth alone does not make it whole"
    assert lookback_for([8, 48], sizes, 100) == 100
    assert lookback_for([100, 8], sizes, 100) == 100


class Small(LightningModule):
    def __init__(self):
        super().__init__()
        self.used, self.unused = nn.Linear(2, 1), nn.Linear(1, 1)

    def training_step(self, batch, batch_idx):
        return self.used(batch).mean() if batch is not None else None


def test_gradient_of_step_is_that_of_backward_and_touches_nothing():
    module, batch = Small(), torch.randn(4, 2)
    found = gradient_of_step(module, batch, 0)
    assert all(parameter.grad is None for parameter in module.parameters())
    module.training_step(batch, 0).backward()
    expected = [p.grad.flatten() if p.grad is not None else torch.zeros(p.numel()) for p in module.parameters()]
    assert torch.equal(found.gradient, torch.cat(expected))
    assert gradient_of_step(module, None, 0) is None


@pytest.mark.parametrize(
    "bad", [StepGradient(torch.tensor(math.nan), torch.ones(2)), StepGradient(torch.tensor(1.0), torch.zeros(2))]
)
def test_difference_is_nan_for_a_nan_loss_or_a_zero_gradient(bad):
    assert math.isnan(relative_difference(bad, bad))


def test_difference_is_the_larger_of_loss_and_gradient():
    whole = StepGradient(torch.tensor(1.0), torch.tensor([1.0, 0.0]))
    assert relative_difference(StepGradient(torch.tensor(1.5), torch.tensor([1.0, 0.0])), whole) == 0.5
    assert relative_difference(StepGradient(torch.tensor(1.0), torch.tensor([1.0, 0.25])), whole) == 0.25


def test_first_windows_of_nested_batches():
    batch = {"x": torch.zeros(8, 5, 2), "y": [torch.arange(8)]}
    part = first_windows(batch, 3, lambda batch, n: {**batch, "x": batch["x"][:, -n:]})
    assert part["x"].shape == (3, 5, 2)
    assert part["y"][0].tolist() == [0, 1, 2]


def test_all_dropout_is_off():
    module = nn.Sequential(nn.Dropout(0.5), nn.LSTM(2, 2, 2, dropout=0.5))
    disable_dropout(module)
    torch.manual_seed(0)
    x = torch.randn(3, 4, 2)
    assert torch.equal(module(x)[0], module(x)[0])
