"""A clipping limit that follows the gradient norm: ZClip's running statistics, made robust."""

from enum import StrEnum
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["ClippingReaction", "NormStatistics", "clipping_limit", "initial_statistics", "update_statistics"]

RELATIVE_STD_FLOOR = 0.01
"""A standard deviation under 1 % of the mean counts as 1 %: else equal norms would make any change an outlier."""


class ClippingReaction(StrEnum):
    """To what an outlying norm with z-score z is clipped; m is the running mean and s the standard deviation.

    Attributes:
        RECIPROCAL: ``m + z_threshold^2 / z * s``: the worse the outlier, the closer to the mean (the paper's choice).
        THRESHOLD: ``m + z_threshold * s``.
        MEAN: ``m``.

    """

    RECIPROCAL = "reciprocal"
    THRESHOLD = "threshold"
    MEAN = "mean"


class NormStatistics(NamedTuple):
    """Running statistics of a gradient norm, on its device, so that keeping them costs no host sync.

    Attributes:
        count: Finite norms seen so far, scalar.
        mean: Running mean, scalar.
        variance: Running variance, scalar.

    """

    count: Tensor
    mean: Tensor
    variance: Tensor


def initial_statistics(device: torch.device | str = "cpu") -> NormStatistics:
    """Statistics of nothing."""
    return NormStatistics(*torch.zeros(3, device=device).unbind())


def clipping_limit(
    statistics: NormStatistics,
    norm: Tensor,
    *,
    z_threshold: float,
    warmup_steps: int,
    reaction: ClippingReaction = ClippingReaction.RECIPROCAL,
) -> tuple[Tensor, Tensor]:
    r"""Norm to which a gradient is to be clipped, from the statistics of the norms before it.

    .. math:: z = \frac{g - m}{s} \qquad g^* = m + \frac{z_{thres}^2}{z} s \quad\text{if}\quad z > z_{thres}

    Args:
        statistics: Statistics of the norms so far, without this one.
        norm: Norm of the gradient, scalar.
        z_threshold: Standard deviations above the mean from which a norm is an outlier.
        warmup_steps: Until so many norms are known there is no limit.
        reaction: What an outlier is clipped to.

    Returns:
        The limit, infinite where nothing is to be clipped, and the z-score, zero until ``warmup_steps`` norms are
        known. A norm that is not finite has no limit: clipping could only spread the damage over all parameters.

    Example::

        >>> statistics = NormStatistics(torch.tensor(100.0), torch.tensor(1.0), torch.tensor(0.04))
        >>> limit, z = clipping_limit(statistics, torch.tensor(2.0), z_threshold=2.5, warmup_steps=25)
        >>> round(limit.item(), 3), round(z.item(), 3)  # 1 + 2.5^2 / 5 x 0.2
        (1.25, 5.0)

    """
    std = _std(statistics)
    z = (norm - statistics.mean) / std
    excess = {
        ClippingReaction.RECIPROCAL: z_threshold**2 / z,
        ClippingReaction.THRESHOLD: torch.full_like(z, z_threshold),
        ClippingReaction.MEAN: torch.zeros_like(z),
    }[ClippingReaction(reaction)]
    known = statistics.count >= warmup_steps
    limit = torch.where(known & (z > z_threshold) & torch.isfinite(norm), statistics.mean + excess * std, torch.inf)
    return limit, torch.where(known, z, 0.0)


def update_statistics(
    statistics: NormStatistics, norm: Tensor, *, alpha: float, z_threshold: float, warmup_steps: int
) -> NormStatistics:
    """Take a norm into the statistics; a non-finite one leaves them as they are.

    Over the first ``warmup_steps`` norms mean and variance are the plain ones, then exponential moving averages as in
    the paper: ``m' = alpha m + (1 - alpha) g`` and ``v' = alpha v + (1 - alpha) (g - m')^2``. An outlier enters as
    ``m + z_threshold s``. The paper enters the clipped norm; with the reciprocal that lies next to the mean, so norms
    that grow for good would shrink the variance and be clipped to the old mean for ever. This way the limit catches
    up in some tens of steps, while a single spike moves the mean by ``(1 - alpha) z_threshold s`` at most.

    Args:
        statistics: Statistics so far.
        norm: Norm of the gradient before clipping, scalar.
        alpha: Smoothing of the moving averages, 0 to 1; ``1 / (1 - alpha)`` steps is their memory.
        z_threshold: Standard deviations above the mean from which a norm is an outlier.
        warmup_steps: Number of norms of the plain mean at the start.

    """
    count, mean, variance = statistics
    warm = count < warmup_steps
    highest = torch.where(warm, torch.inf, mean + z_threshold * _std(statistics))
    finite = torch.isfinite(norm)
    deviation = torch.where(finite, torch.minimum(norm, highest) - mean, 0.0)
    rate = torch.where(warm, 1.0 / (count + 1.0), 1.0 - alpha)
    keep = 1.0 - rate
    spread = torch.where(warm, keep, keep * keep) * deviation.square()
    updated = torch.where(finite, keep * variance + rate * spread, variance)
    return NormStatistics(count + finite, mean + rate * deviation, updated)


def _std(statistics: NormStatistics) -> Tensor:
    """Standard deviation, at least a hundredth of the mean, and never zero."""
    floor = (RELATIVE_STD_FLOOR * statistics.mean).clamp(min=torch.finfo(statistics.mean.dtype).tiny)
    return torch.maximum(statistics.variance.sqrt(), floor)
