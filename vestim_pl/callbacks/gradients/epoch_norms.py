"""Summarize the gradient norms of an epoch, to help choose a clipping threshold."""

import math
from dataclasses import dataclass, field

import numpy as np

__all__ = ["EpochNorms"]

_UNCHANGED = 1.0 - 1e-5  # a smaller reduction of the norm is rounding, not clipping


@dataclass
class EpochNorms:
    """Norms observed in an epoch, before and after clipping. Non-finite norms are counted separately, never averaged.

    Attributes:
        before: Finite norms before clipping.
        after: Finite norms after clipping, for steps whose update was applied.
        clipped: Number of steps in which clipping reduced the norm.
        compared: Number of steps for which both norms are known and finite.
        non_finite: Number of steps whose norm before clipping was NaN or infinite.

    """

    before: list[float] = field(default_factory=list)
    after: list[float] = field(default_factory=list)
    clipped: int = 0
    compared: int = 0
    non_finite: int = 0

    def observe(self, before: float, after: float | None) -> None:
        """Add one step; ``after`` is None if no update was applied.

        Example::

            >>> norms = EpochNorms()
            >>> norms.observe(4.0, 1.0)
            >>> norms.observe(float("inf"), None)
            >>> norms.clip_fraction, norms.non_finite
            (1.0, 1)

        """
        if not math.isfinite(before):
            self.non_finite += 1
            return
        self.before.append(before)
        if after is not None and math.isfinite(after):
            self.after.append(after)
            self.compared += 1
            self.clipped += after < before * _UNCHANGED

    @property
    def clip_fraction(self) -> float:
        """Fraction of the compared steps in which clipping reduced the norm, 0..1; NaN if no steps were compared."""
        return self.clipped / self.compared if self.compared else float("nan")

    def summary(self) -> dict[str, float]:
        """Return the known statistics of the epoch by name; percentiles are NaN if every norm was non-finite."""
        figures: dict[str, float] = {"non_finite": float(self.non_finite)}
        if self.compared:
            figures["clip_fraction"] = self.clip_fraction
        if self.before:
            percentiles = np.percentile(self.before, (50, 90, 99)).tolist()
            figures |= dict(zip(("median", "p90", "p99"), percentiles, strict=True))
        elif self.non_finite:
            figures |= dict.fromkeys(("median", "p90", "p99"), float("nan"))
        return figures
