"""Compute a clipping limit that follows the gradient norm: ZClip's running statistics, made robust to outliers."""

import math
from enum import StrEnum
from typing import Any, NamedTuple

import torch
from torch import Tensor

__all__ = [
    "ClippingReaction",
    "NormStatistics",
    "at_most",
    "clipping_limit",
    "outlier_threshold",
    "update_statistics",
]

Number = Any
"""A float, or a scalar tensor on a device. Both obey the same formulas; floats are faster on the CPU."""

RELATIVE_STD_FLOOR = 0.01
"""Smallest standard deviation, as a fraction of the mean; without it, any change after equal norms is an outlier."""

TINY = torch.finfo(torch.float32).tiny


class ClippingReaction(StrEnum):
    """What an outlying norm is clipped to, with z its z-score, m the running mean and s the standard deviation.

    Attributes:
        RECIPROCAL: ``m + z_threshold^2 / z * s``, closer to the mean for a worse outlier (the paper's choice).
        THRESHOLD: ``m + z_threshold * s``.
        MEAN: ``m``.

    """

    RECIPROCAL = "reciprocal"
    THRESHOLD = "threshold"
    MEAN = "mean"


class NormStatistics(NamedTuple):
    """Running statistics of a gradient norm, either as floats or as scalar tensors on the norm's device.

    Attributes:
        seen: Number of finite norms so far.
        mean: Running mean.
        variance: Running variance.

    """

    seen: Number = 0.0
    mean: Number = 0.0
    variance: Number = 0.0

    def like(self, norm: Number) -> "NormStatistics":
        """Convert to floats, or to tensors on the device of the norm."""
        if not isinstance(norm, Tensor):
            return NormStatistics(*map(float, self))
        return NormStatistics(*(torch.as_tensor(value, device=norm.device, dtype=torch.float32) for value in self))


def clipping_limit(
    statistics: NormStatistics,
    norm: Number,
    *,
    z_threshold: float,
    warmup_steps: int,
    reaction: ClippingReaction = ClippingReaction.RECIPROCAL,
) -> tuple[Number, Number]:
    r"""Compute the norm to clip a gradient to, from the statistics of the norms before it.

    .. math:: z = \frac{g - m}{s} \qquad g^* = m + \frac{z_{thres}^2}{z} s \quad\text{if}\quad z > z_{thres}

    Args:
        statistics: Statistics of the norms so far, without this one.
        norm: Norm of the gradient, float or scalar tensor like the statistics.
        z_threshold: Standard deviations above the mean that make a norm an outlier.
        warmup_steps: Norms that must be known before there is a limit.
        reaction: What an outlier is clipped to.

    Returns:
        The limit, infinite if nothing is to be clipped, and the z-score, zero until ``warmup_steps`` norms are known.
        A non-finite norm has no limit: clipping would only spread the damage to all parameters.

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
        excess = z_threshold * z_threshold / _at_least(z, z_threshold)
    known = statistics.seen >= warmup_steps
    limit = _where(known & (z > z_threshold) & _finite(norm), statistics.mean + excess * std, math.inf)
    return limit, _where(known, z, 0.0)


def outlier_threshold(statistics: NormStatistics, *, z_threshold: float, warmup_steps: int) -> Number:
    """Compute the norm above which a gradient is an outlier; infinite until ``warmup_steps`` norms are known."""
    known = statistics.seen >= warmup_steps
    return _where(known, statistics.mean + z_threshold * _std(statistics), math.inf)


def update_statistics(
    statistics: NormStatistics, norm: Number, *, alpha: float, z_threshold: float, warmup_steps: int
) -> NormStatistics:
    """Add a norm before clipping to the statistics; a non-finite norm leaves them unchanged.

    Over the first ``warmup_steps`` norms, mean and variance are the plain ones. After that they are exponential moving
    averages as in the paper: ``m' = alpha m + (1 - alpha) g`` and ``v' = alpha v + (1 - alpha) (g - m')^2``.

    An outlier enters as ``m + z_threshold s``. The paper enters the clipped norm instead. With the reciprocal reaction
    that value lies close to the mean, so norms that grow permanently would shrink the variance and stay clipped to the
    old mean forever. Here the limit catches up within some tens of steps, while a single spike moves the mean by at
    most ``(1 - alpha) z_threshold s``.
    """
    seen, mean, variance = statistics
    warm = seen < warmup_steps
    highest = _where(warm, math.inf, mean + z_threshold * _std(statistics))
    finite = _finite(norm)
    deviation = _where(finite, at_most(norm, highest) - mean, 0.0)
    rate = _where(warm, 1.0 / (seen + 1.0), 1.0 - alpha)
    keep = 1.0 - rate
    spread = _where(warm, keep, keep * keep) * deviation * deviation
    updated = _where(finite, keep * variance + rate * spread, variance)
    return NormStatistics(seen + finite, mean + rate * deviation, updated)


def _std(statistics: NormStatistics) -> Number:
    """Compute the standard deviation, at least a hundredth of the mean and never zero."""
    floor = _at_least(RELATIVE_STD_FLOOR * statistics.mean, TINY)
    return _at_least(statistics.variance**0.5, floor)


def _where(condition: Number, chosen: Number, other: Number) -> Number:
    if isinstance(condition, Tensor):
        return torch.where(condition, chosen, other)
    return chosen if condition else other


def at_most(value: Number, upper: Number) -> Number:
    """Return the value, or the upper bound if the value exceeds it."""
    return torch.clamp(value, max=upper) if isinstance(value, Tensor) else min(value, upper)


def _at_least(value: Number, lower: Number) -> Number:
    return torch.clamp(value, min=lower) if isinstance(value, Tensor) else max(value, lower)


def _finite(value: Number) -> Number:
    return torch.isfinite(value) if isinstance(value, Tensor) else math.isfinite(value)
