"""How often clipping engages at the start of training, and what the threshold then does."""

import math
from collections.abc import Sequence

from vestim_pl.diagnosis.finding import Finding, Severity
from vestim_pl.functional.gradient_norms import percentile

__all__ = ["check_clipping"]

CHECK = "gradient clipping"
LIMITS_EVERY_STEP = 0.9  # part of the steps; GradientNormMonitor calls the same a clip burst
CUTS_DEEP = 1.5  # median norm over threshold from which the usual gradient is cut, not just touched


def check_clipping(norms: Sequence[float], threshold: float | None, adaptive: bool = False) -> Finding:
    """Hold the threshold against the gradient norms of the first steps.

    A threshold is a guard against spikes. One below nearly every norm sets the size of every step instead: gradients
    are normalised batch by batch, and a spike looks like any other step.

    Args:
        norms: Gradient norms before clipping, one an optimizer step.
        threshold: ``trainer.gradient_clip_val``; None or 0 for no clipping.
        adaptive: Whether a callback clips by a limit that follows the norm.

    Example::

        >>> finding = check_clipping([1.0, 1.2, 1.4], threshold=0.5)
        >>> print(finding.evidence)
        clipping at 0.5 engages in 3 of the first 3 steps (100 %) and cuts the gradient norm from a median of 1.2 by
        2.4: it sets the size of nearly every step instead of catching spikes
        >>> finding.override
        'trainer.gradient_clip_val=1.4'

    """
    finite = [norm for norm in norms if math.isfinite(norm)]
    if len(finite) < len(norms) or not finite:
        total = f"in {len(norms) - len(finite)} of the first {len(norms)} steps"
        bad = next((number for number, norm in enumerate(norms) if not math.isfinite(norm)), 0)
        when = "before any update: look at data and initialisation" if bad == 0 else f"after {bad} updates"
        return Finding(
            CHECK,
            Severity.ERROR,
            f"the gradient norm is not finite {total}, first {when}",
        )
    median, p90 = percentile(finite, 50), percentile(finite, 90)
    if not threshold:
        if adaptive:
            return Finding(CHECK, Severity.OK, f"the limit follows the norm (median {median:.3g} at the start)")
        return Finding(
            CHECK,
            Severity.WARNING,
            f"nothing is clipped: one spike (the norm is {median:.3g} now) goes into the weights whole",
            f"trainer.gradient_clip_val={max(1.0, round_up(p90)):g}",
        )
    clipped = sum(norm > threshold for norm in finite)
    engaged = (
        f"clipping at {threshold:g} engages in {clipped} of the first {len(finite)} steps"
        f" ({100 * clipped / len(finite):.0f} %)"
    )
    if clipped < LIMITS_EVERY_STEP * len(finite):
        return Finding(CHECK, Severity.OK, f"{engaged}; median norm {median:.3g}, P90 {p90:.3g}")
    return Finding(
        CHECK,
        Severity.WARNING if median >= CUTS_DEEP * threshold else Severity.NOTE,
        f"{engaged} and cuts the gradient norm from a median of {median:.3g} by {median / threshold:.2g}: it sets the"
        " size of nearly every step instead of catching spikes",
        f"trainer.gradient_clip_val={round_up(p90):g}",
    )


def round_up(value: float) -> float:
    """Two digits, upwards: a threshold that is not below the norm it was taken from.

    Example::

        >>> round_up(1.251), round_up(0.0301)
        (1.3, 0.031)

    """
    if value <= 0:
        return value
    grain = 10.0 ** (math.floor(math.log10(value)) - 1)
    return float(f"{math.ceil(value / grain - 1e-9) * grain:.2g}")
