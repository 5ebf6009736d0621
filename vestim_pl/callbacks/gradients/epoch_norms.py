"""Statistics of gradient norms over an epoch, for people who choose a clipping threshold."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median

__all__ = ["EpochNorms", "percentile"]

_UNCHANGED = 1.0 - 1e-5  # rounding of the norm; a clipped one is smaller by more


@dataclass
class EpochNorms:
    """Norms observed in an epoch, before and after clipping; a non-finite one is counted apart, never averaged in.

    Attributes:
        before: Finite norms before clipping.
        after: Finite norms after clipping, of those steps whose update was applied.
        clipped: Steps whose norm clipping reduced.
        compared: Steps of which both norms are known and finite.
        non_finite: Steps whose norm before clipping was NaN or infinite.

    """

    before: list[float] = field(default_factory=list)
    after: list[float] = field(default_factory=list)
    clipped: int = 0
    compared: int = 0
    non_finite: int = 0

    def observe(self, before: float, after: float | None) -> None:
        """Take in one step; ``after`` is None where no update was applied.

        Example::

            >>> norms = EpochNorms()
            >>> norms.observe(4.0, 1.0)
            >>> norms.observe(float("inf"), None)
            >>> norms.clip_fraction, norms.non_finite
            (1.0, 1)

        """
        if not _finite(before):
            self.non_finite += 1
            return
        self.before.append(before)
        if after is not None and _finite(after):
            self.after.append(after)
            self.compared += 1
            self.clipped += after < before * _UNCHANGED

    @property
    def clip_fraction(self) -> float:
        """Part of the compared steps in which clipping engaged, 0..1; NaN without any."""
        return self.clipped / self.compared if self.compared else float("nan")

    def summary(self) -> dict[str, float]:
        """Figures of the epoch by name; only those that are known. NaN where norms were seen and none was finite."""
        figures: dict[str, float] = {"non_finite": float(self.non_finite)}
        if self.compared:
            figures["clip_fraction"] = self.clip_fraction
        if self.before:
            figures |= {
                "median": median(self.before),
                "p90": percentile(self.before, 90),
                "p99": percentile(self.before, 99),
            }
        elif self.non_finite:
            figures |= dict.fromkeys(("median", "p90", "p99"), float("nan"))
        return figures


def percentile(values: Sequence[float], percent: float) -> float:
    """Percentile with linear interpolation between the neighbours, as ``numpy.percentile`` computes it.

    Example::

        >>> percentile([1.0, 2.0, 3.0], 75)
        2.5

    """
    ordered = sorted(values)
    place = (len(ordered) - 1) * percent / 100
    lower = int(place)
    upper = min(lower + 1, len(ordered) - 1)
    return ordered[lower] + (ordered[upper] - ordered[lower]) * (place - lower)


def _finite(value: float) -> bool:
    return abs(value) < float("inf")
