import math

import pytest
import torch

from vestim_pl.functional.noise_table import NoiseTable

TENSORS = [torch.zeros(30, 40), torch.zeros(50)]


def noise(table, *arguments, std=1.0):
    return torch.cat([part.flatten() for part in table.at(*arguments, std)])


def test_noise_is_normal_with_the_deviation_asked_for():
    drawn = torch.stack([noise(NoiseTable(TENSORS), seed, step, 0, std=0.3) for seed in (0, 1) for step in (0, 1500)])
    assert drawn.mean().abs() < 0.3 * 4 / math.sqrt(drawn.numel())
    assert drawn.std() == pytest.approx(0.3, rel=0.05)
    assert (drawn.abs() > 0.6).float().mean() == pytest.approx(0.0455, abs=0.01)


def test_noise_depends_on_each_of_its_numbers_and_on_nothing_before():
    table = NoiseTable(TENSORS)
    places = [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (0, 999, 0), (0, 1000, 0)]
    drawn = [noise(table, *place) for place in places]
    assert len({tuple(values.tolist()) for values in drawn}) == len(places)
    for place, values in zip(reversed(places), reversed(drawn), strict=True):
        assert torch.equal(noise(table, *place), values)
        assert torch.equal(noise(NoiseTable(TENSORS), *place), values)


def test_steps_are_uncorrelated_for_each_element():
    table = NoiseTable([torch.zeros(200)])
    series = torch.stack([noise(table, 0, step, 0) for step in range(900)])
    series = (series - series.mean(0)) / series.std(0)
    assert series.mean(1).std() == pytest.approx(1 / math.sqrt(200), rel=0.15)  # steps as a whole
    for lag in (1, 2, 10, 100):
        correlation = (series[lag:] * series[:-lag]).mean()
        assert correlation.abs() < 4 / math.sqrt(series.numel())


def test_an_element_seldom_meets_a_number_again():
    table = NoiseTable([torch.zeros(100)])
    series = torch.stack([noise(table, 0, step, 0) for step in range(1000)])
    repeated = [len(column) - len(set(column)) for column in series.T.tolist()]
    assert max(repeated) <= 5
