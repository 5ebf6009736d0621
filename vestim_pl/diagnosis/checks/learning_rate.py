"""Check the learning rate with a short range test."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from vestim_pl.diagnosis.finding import Finding, Severity
from vestim_pl.diagnosis.overrides import learning_rate

__all__ = ["RangeTest", "check_learning_rate"]

CHECK = "learning rate"
RISEN = 1.5  # times the loss at the start, above which a rate is too high
BELOW_STEEPEST = 20.0  # the sweep makes one step per rate; thousands of steps need a lower one
SLOW = 30.0  # times below a good rate, from which training is slow


@dataclass(frozen=True)
class RangeTest:
    """Loss over a learning rate that grows with each step, on one batch (Smith 2017, arXiv:1506.01186).

    Attributes:
        rates: Learning rates, increasing.
        losses: Loss before the update at that rate; the last one may be large or non-finite.
        update_ratio: Norm of an update at the configured rate over the norm of the weights.

    """

    rates: Sequence[float]
    losses: Sequence[float]
    update_ratio: float = math.nan

    @property
    def steepest(self) -> float:
        """Rate of the largest fall of the loss in a step, before the loss blew up; NaN if it never fell.

        Example::

            >>> RangeTest([1e-4, 1e-3, 1e-2, 1e-1], [1.0, 0.95, 0.5, 3.0]).steepest
            0.001

        """
        falls = [
            (before - after, rate)
            for rate, before, after in zip(self.rates, self.losses, self.losses[1:], strict=False)
            if math.isfinite(before - after) and rate < self.unstable  # beyond, the loss only recovers
        ]
        fall, rate = max(falls, default=(0.0, math.nan))
        return rate if fall > 0 else math.nan

    @property
    def unstable(self) -> float:
        """Lowest rate whose update raised the loss above 1.5 times its start, or to NaN; infinite without such a rate.

        Example::

            >>> RangeTest([1e-4, 1e-3, 1e-2, 1e-1], [1.0, 0.95, 0.5, 3.0]).unstable
            0.01

        """
        for before, loss in zip(self.rates, self.losses[1:], strict=False):
            if not loss <= RISEN * self.losses[0]:
                return before
        return math.inf


def check_learning_rate(test: RangeTest, rate: float) -> Finding:
    """Compare the configured rate with the range test.

    Example::

        >>> test = RangeTest([1e-4, 1e-3, 1e-2, 1e-1], [1.0, 0.95, 0.5, 3.0], update_ratio=0.5)
        >>> finding = check_learning_rate(test, 0.05)
        >>> finding.severity.value, finding.override
        ('error', 'optimizer.lr=5e-05')

    """
    blows_up = f"{test.unstable:.1g}" if math.isfinite(test.unstable) else f"no rate up to {test.rates[-1]:.1g}"
    evidence = (
        f"optimizer.lr is {rate:g}; in a range test the loss falls fastest at {test.steepest:.1g} and blows up at"
        f" {blows_up}; an update moves the weights by {100 * test.update_ratio:.2g} % of their norm"
    )
    falls = math.isfinite(test.steepest)
    good = float(f"{min(test.steepest / BELOW_STEEPEST if falls else rate / 10, test.unstable / 10):.1g}")
    if not math.isfinite(test.losses[0]):
        return Finding(CHECK, Severity.ERROR, "the loss is non-finite before the first update")
    if rate >= test.unstable:
        return Finding(CHECK, Severity.ERROR, evidence, learning_rate(good))
    if 3 * rate >= test.unstable:
        return Finding(CHECK, Severity.WARNING, f"{evidence}: less than three times as high", learning_rate(good))
    if falls and SLOW * rate < good:
        evidence += (
            f": {good / rate:.3g} times below a safe {good:g}, so training is slow or stays at a constant prediction"
        )
        return Finding(CHECK, Severity.WARNING, evidence, learning_rate(good))
    if not falls:
        return Finding(CHECK, Severity.WARNING, f"the loss fell at no rate from {test.rates[0]:.1g} on")
    return Finding(CHECK, Severity.OK, evidence)
