import math

import pytest
import torch

from vestim_pl.callbacks.gradients.zclip import (
    ClippingReaction,
    NormStatistics,
    clipping_limit,
    outlier_threshold,
    update_statistics,
)

OPTIONS = {"z_threshold": 2.5, "warmup_steps": 25}


def feed(norms, alpha=0.97, number=float, **options):
    options = OPTIONS | options
    statistics = NormStatistics(*map(number, NormStatistics()))
    limits = []
    for norm in norms:
        limits.append(float(clipping_limit(statistics, number(norm), **options)[0]))
        statistics = update_statistics(statistics, number(norm), alpha=alpha, **options)
    return NormStatistics(*map(float, statistics)), limits


def reference(norms, alpha=0.97, z_threshold=2.5, warmup_steps=25):
    """The paper's recursion in plain floats, for norms without outliers."""
    first = norms[:warmup_steps]
    mean = sum(first) / len(first)
    variance = sum((norm - mean) ** 2 for norm in first) / len(first)
    for norm in norms[warmup_steps:]:
        assert (norm - mean) / math.sqrt(variance) < z_threshold
        mean = alpha * mean + (1 - alpha) * norm
        variance = alpha * variance + (1 - alpha) * (norm - mean) ** 2
    return mean, variance


@pytest.fixture
def calm():
    return (1.0 + 0.1 * torch.rand(60, generator=torch.Generator().manual_seed(1)).clamp(0.1, 0.8)).tolist()


@pytest.mark.parametrize("length", [5, 25, 26, 60])
def test_statistics_are_those_of_the_paper(calm, length):
    statistics, _ = feed(calm[:length])
    mean, variance = reference(calm[:length])
    assert statistics.seen == length
    assert statistics.mean == pytest.approx(mean, rel=1e-5)
    assert statistics.variance == pytest.approx(variance, rel=1e-3)


@pytest.mark.parametrize(
    ("reaction", "expected"), [("reciprocal", 1 + 2.5**2 / 5 * 0.2), ("threshold", 1 + 2.5 * 0.2), ("mean", 1.0)]
)
def test_outlier_is_clipped_as_the_reaction_says(reaction, expected):
    statistics = NormStatistics(50.0, 1.0, 0.04)
    limit, z = clipping_limit(statistics, 2.0, reaction=ClippingReaction(reaction), **OPTIONS)
    assert limit == pytest.approx(expected)
    assert z == pytest.approx(5.0)


def test_no_limit_below_the_threshold_nor_in_the_warm_up():
    known = NormStatistics(25.0, 1.0, 0.04)
    assert clipping_limit(known, 1.49, **OPTIONS)[0] == math.inf
    assert clipping_limit(known, 1.51, **OPTIONS)[0] < 1.51
    unknown = known._replace(seen=24.0)
    assert clipping_limit(unknown, 9.0, **OPTIONS)[0] == math.inf


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("at", [0, 10, 40])
def test_non_finite_norm_leaves_the_statistics_alone(calm, bad, at):
    clean, _ = feed(calm)
    with_bad, limits = feed([*calm[:at], bad, *calm[at:]])
    assert with_bad == clean
    assert limits[at] == math.inf


def test_single_spike_moves_the_mean_by_little(calm):
    before, _ = feed(calm)
    after, limits = feed([*calm, 1e6])
    std = max(before.variance**0.5, 0.01 * before.mean)
    assert limits[-1] == pytest.approx(before.mean, rel=0.01)
    assert 0 < after.mean - before.mean <= 0.03 * 2.5 * std * 1.001


def test_the_limit_follows_norms_that_grow_permanently(calm):
    _, limits = feed(calm + [10 * norm for norm in calm] * 3)
    assert limits[61] < 2  # clipped at first ...
    assert all(limit == math.inf for limit in limits[-60:])  # ... and no longer


def test_equal_norms_do_not_make_every_change_an_outlier():
    _, limits = feed([1.0] * 30 + [1.02, 1.1])
    assert limits[-2] == math.inf
    assert limits[-1] < 1.1


@pytest.mark.parametrize("reaction", list(ClippingReaction))
def test_tensors_and_floats_are_the_same(calm, reaction):
    norms = [*calm, 30.0, math.nan, math.inf, *calm, 0.0, 5.0]
    floats, limits = feed(norms)
    tensors, others = feed(norms, number=lambda value: torch.tensor(value, dtype=torch.float64))
    assert tensors == pytest.approx(floats)
    assert others == pytest.approx(limits)
    known = NormStatistics(50.0, 1.0, 0.04)
    limit, z = clipping_limit(known.like(2.0), 2.0, reaction=reaction, **OPTIONS)
    as_tensors = NormStatistics(*map(torch.tensor, known))
    other, other_z = clipping_limit(as_tensors, torch.tensor(2.0), reaction=reaction, **OPTIONS)
    assert (other.item(), other_z.item()) == pytest.approx((limit, z))


def test_statistics_move_between_devices():
    known = NormStatistics(50.0, 1.0, 0.04)
    there = known.like(torch.zeros((), device="meta"))
    assert all(value.device.type == "meta" for value in there)
    assert NormStatistics(*map(torch.tensor, known)).like(1.0) == pytest.approx(known)


@pytest.mark.parametrize("number", [float, torch.tensor])
def test_the_threshold_is_the_norm_above_which_a_limit_applies(number):
    known = NormStatistics(*map(number, (25.0, 1.0, 0.04)))
    assert float(outlier_threshold(known, **OPTIONS)) == pytest.approx(1.0 + 2.5 * 0.2)
    assert float(outlier_threshold(known._replace(seen=number(24.0)), **OPTIONS)) == math.inf
