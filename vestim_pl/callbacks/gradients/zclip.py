"""A clipping limit that follows the gradient norm: ZClip's running statistics, made robust."""

import math
from enum import StrEnum
from typing import Any, NamedTuple

import torch
from torch import Tensor

__all__ = ["ClippingReaction", "NormStatistics", "clipping_limit", "initial_statistics", "update_statistics"]

Number = Any
"""A float, or a scalar tensor on a device: the formulas below are the same, and each is fast where it belongs."""

RELATIVE_STD_FLOOR = 0.01
"""A standard deviation under 1 % of the mean counts as 1 %: else equal norms would make any change an outlier."""

TINY = torch.finfo(torch.float32).tiny


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
    """Running statistics of a gradient norm: floats like the norm, or scalar tensors on a device not to be waited for.

    Attributes:
        seen: Number of finite norms so far.
        mean: Running mean.
        variance: Running variance.

    """

    seen: Number
    mean: Number
    variance: Number

    def like(self, norm: Number) -> "NormStatistics":
        """The same numbers as floats, or as tensors on the device of the norm."""
        if not isinstance(norm, Tensor):
            return NormStatistics(*map(float, self))
        return NormStatistics(*(torch.as_tensor(value, device=norm.device, dtype=torch.float32) for value in self))


def initial_statistics() -> NormStatistics:
    """Statistics of nothing."""
    return NormStatistics(0.0, 0.0, 0.0)


def clipping_limit(
    statistics: NormStatistics,
    norm: Number,
    *,
    z_threshold: float,
    warmup_steps: int,
    reaction: ClippingReaction = ClippingReaction.RECIPROCAL,
) -> tuple[Number, Number]:
    r"""Norm to which a gradient is to be clipped, from the statistics of the norms before it.

    .. math:: z = \frac{g - m}{s} \qquad g^* = m + \frac{z_{thres}^2}{z} s \quad\text{if}\quad z > z_{thres}

    Args:
        statistics: Statistics of the norms so far, without this one.
        norm: Norm of the gradient, float or scalar tensor like the statistics.
        z_threshold: Standard deviations above the mean from which a norm is an outlier.
        warmup_steps: Until so many norms are known there is no limit.
        reaction: What an outlier is clipped to.

    Returns:
        The limit, infinite where nothing is to be clipped, and the z-score, zero until ``warmup_steps`` norms are
        known. A norm that is not finite has no limit: clipping could only spread the damage over all parameters.

    Example::

        >>> statistics = NormStatistics(seen=100, mean=1.0, variance=0.04)
        >>> limit, z = clipping_limit(statistics, 2.0, z_threshold=2.5, warmup_steps=25)
        >>> round(limit, 3), round(z, 3)  # 1 + 2.5^2 / 5 x 0.2
        (1.25, 5.0)

    """
    std = _std(statistics)
    z = (norm - statistics.mean) / std
    excess: Number = 0.0 if reaction is ClippingReaction.MEAN else z_threshold
    if reaction is ClippingReaction.RECIPROCAL:
        excess = z_threshold * z_threshold / _larger(z, z_threshold)
    known = statistics.seen >= warmup_steps
    limit = _where(known & (z > z_threshold) & _finite(norm), statistics.mean + excess * std, math.inf)
    return limit, _where(known, z, 0.0)


def update_statistics(
    statistics: NormStatistics, norm: Number, *, alpha: float, z_threshold: float, warmup_steps: int
) -> NormStatistics:
    """Take a norm into the statistics; a non-finite one leaves them as they are.

    Over the first ``warmup_steps`` norms mean and variance are the plain ones, then exponential moving averages as in
    the paper: ``m' = alpha m + (1 - alpha) g`` and ``v' = alpha v + (1 - alpha) (g - m')^2``. An outlier enters as
    ``m + z_threshold s``. The paper enters the clipped norm; with the reciprocal that lies next to the mean, so norms
    that grow for good would shrink the variance and be clipped to the old mean for ever. This way the limit catches
    up in some tens of steps, while a single spike moves the mean by ``(1 - alpha) z_threshold s`` at most.

    Args:
        statistics: Statistics so far.
        norm: Norm of the gradient before clipping, float or scalar tensor like the statistics.
        alpha: Smoothing of the moving averages, 0 to 1; ``1 / (1 - alpha)`` steps is their memory.
        z_threshold: Standard deviations above the mean from which a norm is an outlier.
        warmup_steps: Number of norms of the plain mean at the start.

    """
    seen, mean, variance = statistics
    warm = seen < warmup_steps
    highest = _where(warm, math.inf, mean + z_threshold * _std(statistics))
    finite = _finite(norm)
    deviation = _where(finite, _smaller(norm, highest) - mean, 0.0)
    rate = _where(warm, 1.0 / (seen + 1.0), 1.0 - alpha)
    keep = 1.0 - rate
    spread = _where(warm, keep, keep * keep) * deviation * deviation
    updated = _where(finite, keep * variance + rate * spread, variance)
    return NormStatistics(seen + finite, mean + rate * deviation, updated)


def _std(statistics: NormStatistics) -> Number:
    """Standard deviation, at least a hundredth of the mean, and never zero."""
    floor = _larger(RELATIVE_STD_FLOOR * statistics.mean, TINY)
    return _larger(statistics.variance**0.5, floor)


def _where(condition: Number, chosen: Number, other: Number) -> Number:
    if isinstance(condition, Tensor):
        return torch.where(condition, chosen, other)
    return chosen if condition else other


def _larger(value: Number, least: Number) -> Number:
    return torch.clamp(value, min=least) if isinstance(value, Tensor) else max(value, least)


def _smaller(value: Number, most: Number) -> Number:
    return torch.clamp(value, max=most) if isinstance(value, Tensor) else min(value, most)


def _finite(value: Number) -> Number:
    return torch.isfinite(value) if isinstance(value, Tensor) else math.isfinite(value)
