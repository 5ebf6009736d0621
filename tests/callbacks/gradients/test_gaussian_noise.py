import math

import pytest
import torch

from vestim_pl.callbacks.gradients.gaussian_noise import GaussianNoise, noise_std


@pytest.mark.parametrize(("step", "variance"), [(0, 0.3), (1, 0.3 / 2**0.55), (999, 0.3 / 1000**0.55)])
def test_variance_is_annealed_as_in_the_paper(step, variance):
    assert noise_std(step, eta=0.3, gamma=0.55) ** 2 == pytest.approx(variance)


def drawn(*numbers, size=4):
    (noise,) = GaussianNoise(torch.device("cpu")).draw([torch.empty(size)], *numbers)
    return noise


def test_noise_is_standard_normal():
    noise = drawn(0, 5, 0, size=100_000)
    assert noise.mean().abs() < 0.02
    assert noise.std() == pytest.approx(1.0, abs=0.02)
    assert (noise.abs() > 2).float().mean() == pytest.approx(0.0455, abs=0.003)


def test_noise_has_the_shapes_of_the_tensors_and_no_number_twice():
    tensors = [torch.empty(30, 40), torch.empty(()), torch.empty(50, dtype=torch.bfloat16)]
    noise = GaussianNoise(torch.device("cpu")).draw(tensors, 0, 5, 0)
    assert [(part.shape, part.dtype) for part in noise] == [(tensor.shape, torch.float32) for tensor in tensors]
    assert len(torch.cat([part.flatten() for part in noise]).unique()) > 1245  # of 1251; float32 may meet by chance


def test_noise_depends_on_each_of_its_numbers_alone():
    places = [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0)]
    seen = {place: tuple(drawn(*place).tolist()) for place in places}
    assert len(set(seen.values())) == 5
    torch.manual_seed(99)
    assert tuple(drawn(0, 1, 0).tolist()) == seen[0, 1, 0]


def test_what_was_drawn_before_makes_no_difference():
    noise = GaussianNoise(torch.device("cpu"))
    for size, step in [(4, 0), (4, 7), (9, 3), (9, 0), (4, 7)]:
        assert torch.equal(noise.draw([torch.empty(size)], 0, step)[0], drawn(0, step, size=size))


def test_steps_are_uncorrelated_for_each_element():
    series = torch.stack([drawn(0, step, 0, size=200) for step in range(900)])
    assert series.mean(1).std() == pytest.approx(1 / math.sqrt(200), rel=0.15)  # steps as a whole
    for lag in (1, 2, 10, 100):
        correlation = (series[lag:] * series[:-lag]).mean()
        assert correlation.abs() < 4 / math.sqrt(series.numel())


def test_global_generator_is_not_touched():
    before = torch.get_rng_state()
    drawn(0, 0, 0)
    assert torch.equal(before, torch.get_rng_state())
