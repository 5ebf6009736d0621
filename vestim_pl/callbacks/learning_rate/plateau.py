"""When a metric has stopped improving: the decision of ReduceLROnPlateau as a pure function."""

import math
from dataclasses import dataclass, replace

__all__ = ["PlateauProgress", "PlateauRule", "observe_metric"]


@dataclass(frozen=True)
class PlateauRule:
    """What counts as an improvement, and what follows where none comes.

    Attributes:
        mode: ``min`` if lower is better, ``max`` if higher is.
        patience: Evaluations without improvement that are borne; the next one cuts.
        threshold: Least improvement that counts.
        threshold_mode: ``rel`` for a part of the best value, ``abs`` for the metric's own unit.
        cooldown: Evaluations after a cut that are not counted as bad.

    """

    mode: str = "min"
    patience: int = 10
    threshold: float = 1e-4
    threshold_mode: str = "rel"
    cooldown: int = 0

    def improves(self, value: float, best: float) -> bool:
        """Whether ``value`` is better than ``best`` by more than the threshold.

        Example::

            >>> PlateauRule(threshold=0.1).improves(0.95, best=1.0)
            False

        """
        sign = 1.0 if self.mode == "max" else -1.0
        if self.threshold_mode == "rel":
            return sign * value > sign * best * (1.0 + sign * self.threshold)
        return sign * value > sign * best + self.threshold


@dataclass(frozen=True)
class PlateauProgress:
    """Where the watch over the metric stands: plain numbers, for the checkpoint.

    Attributes:
        best: Best value so far; infinite before the first.
        bad_evaluations: Evaluations in a row without improvement.
        cooldown_left: Evaluations that will not be counted as bad yet.

    """

    best: float
    bad_evaluations: int = 0
    cooldown_left: int = 0

    @classmethod
    def start(cls, mode: str) -> "PlateauProgress":
        """Progress before the first value."""
        return cls(best=math.inf if mode == "min" else -math.inf)


def observe_metric(progress: PlateauProgress, value: float, rule: PlateauRule) -> tuple[PlateauProgress, bool]:
    """Take in one value of the metric and decide whether the learning rate is to be cut.

    The semantics are those of ``torch.optim.lr_scheduler.ReduceLROnPlateau``, but for one thing: a value that is not
    finite says nothing about a plateau. It is neither an improvement nor a bad evaluation, and changes nothing.

    Args:
        progress: Progress so far.
        value: The metric.
        rule: What counts.

    Returns:
        Progress, and whether to cut.

    Example::

        >>> rule = PlateauRule(patience=1)
        >>> progress = PlateauProgress.start("min")
        >>> for value in (1.0, 1.0, float("nan"), 1.0):
        ...     progress, cut = observe_metric(progress, value, rule)
        ...     print(progress.bad_evaluations, cut)
        0 False
        1 False
        1 False
        0 True

    """
    if not math.isfinite(value):
        return progress, False
    if rule.improves(value, progress.best):
        progress = replace(progress, best=value, bad_evaluations=0)
    else:
        progress = replace(progress, bad_evaluations=progress.bad_evaluations + 1)
    if progress.cooldown_left:
        progress = replace(progress, cooldown_left=progress.cooldown_left - 1, bad_evaluations=0)
    if progress.bad_evaluations <= rule.patience:
        return progress, False
    return replace(progress, bad_evaluations=0, cooldown_left=rule.cooldown), True
