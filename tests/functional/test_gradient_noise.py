import pytest
import torch

from vestim_pl.functional.gradient_noise import gaussian_noise, noise_std


@pytest.mark.parametrize(("step", "variance"), [(0, 0.3), (1, 0.3 / 2**0.55), (999, 0.3 / 1000**0.55)])
def test_variance_is_annealed_as_in_the_paper(step, variance):
    assert noise_std(step, eta=0.3, gamma=0.55) ** 2 == pytest.approx(variance)


def test_noise_is_standard_normal():
    noise = gaussian_noise(torch.empty(100_000), torch.Generator(), 0, 5, 0)
    assert noise.mean().abs() < 0.02
    assert noise.std() == pytest.approx(1.0, abs=0.02)


def test_noise_depends_on_each_of_its_numbers_alone():
    drawn = {
        arguments: tuple(gaussian_noise(torch.empty(4), torch.Generator(), *arguments).tolist())
        for arguments in [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0)]
    }
    assert len(set(drawn.values())) == 5
    torch.manual_seed(99)
    assert tuple(gaussian_noise(torch.empty(4), torch.Generator(), 0, 1, 0).tolist()) == drawn[0, 1, 0]


def test_global_generator_is_not_touched():
    before = torch.get_rng_state()
    gaussian_noise(torch.empty(4), torch.Generator(), 0, 0, 0)
    assert torch.equal(before, torch.get_rng_state())
