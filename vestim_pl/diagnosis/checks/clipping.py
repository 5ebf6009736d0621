"""How often clipping engages at the start of training, and what the threshold then does."""

import math
from collections.abc import Sequence

import numpy as np

from vestim_pl.diagnosis.clip_setting import ClipSetting
from vestim_pl.diagnosis.finding import Finding, Severity

__all__ = ["check_clipping"]

CHECK = "gradient clipping"
LIMITS_EVERY_STEP = 0.9  # part of the steps; GradientNormMonitor calls the same a clip burst
CUTS_DEEP = 1.5  # median norm over threshold from which the usual gradient is cut, not just touched


def check_clipping(norms: Sequence[float], clip: ClipSetting, unstable: bool = False, lower_rate: str = "") -> Finding:
    """Hold the threshold against the gradient norms of the first steps.

    A threshold is a guard against spikes. One below nearly every norm sets the size of every step instead: gradients
    are normalised batch by batch, and a spike looks like any other step. That holds for the bound on top of a limit
    that follows the norm as well.

    Args:
        norms: Size of the gradient before clipping, one an optimizer step: norm, or largest value where values are
            clipped.
        clip: What clips, and at which threshold.
        unstable: Whether the learning rate is too high for the weights: no threshold comes from steps at such a rate.
        lower_rate: Override that lowers it, for gradients that are lost after a few updates.

    Example::

        >>> finding = check_clipping([1.0, 1.2, 1.4], ClipSetting(0.5))
        >>> print(finding.evidence)
        clipping at 0.5 engages in 3 of the first 3 steps (100 %) and cuts the gradient norm from a median of 1.2 by
        2.4: it sets the size of nearly every step instead of catching spikes
        >>> finding.override
        'trainer.gradient_clip_val=1.4'

    """
    finite = [norm for norm in norms if math.isfinite(norm)]
    if len(finite) < len(norms) or not finite:
        return _not_finite(norms, clip, lower_rate)
    median, p90 = np.percentile(finite, (50, 90)).tolist()
    wait = "; a threshold has to wait for a learning rate that is stable" if unstable else ""
    if clip.threshold is None:
        if clip.adaptive:
            return Finding(CHECK, Severity.OK, f"the limit follows the norm (median {median:.3g} at the start)")
        return Finding(
            CHECK,
            Severity.WARNING,
            f"nothing is clipped: one spike (the {clip.size} is {median:.3g} now) goes into the weights whole{wait}",
            "" if unstable else f"{clip.key}={p90_or_more(p90, clip):g}",
        )
    clipped = sum(norm > clip.threshold for norm in finite)
    engaged = (
        f"clipping at {clip.threshold:g} engages in {clipped} of the first {len(finite)} steps"
        f" ({100 * clipped / len(finite):.0f} %)"
    )
    if clipped < LIMITS_EVERY_STEP * len(finite):
        return Finding(CHECK, Severity.OK, f"{engaged}; median of the {clip.size} {median:.3g}, P90 {p90:.3g}")
    follows = ", whatever limit would follow the norm" if clip.adaptive else ""
    return Finding(
        CHECK,
        Severity.WARNING if median >= CUTS_DEEP * clip.threshold else Severity.NOTE,
        f"{engaged} and cuts the {clip.size} from a median of {median:.3g} by {median / clip.threshold:.2g}: it sets"
        f" the size of nearly every step instead of catching spikes{follows}{wait}",
        "" if unstable else f"{clip.key}={round_up(p90):g}",
    )


def _not_finite(norms: Sequence[float], clip: ClipSetting, lower_rate: str) -> Finding:
    """Before the first update nothing but data or initialisation is to blame, after it the learning rate."""
    first = next((number for number, norm in enumerate(norms) if not math.isfinite(norm)), 0)
    bad = sum(not math.isfinite(norm) for norm in norms)
    evidence = f"the {clip.size} is not finite in {bad} of the first {len(norms)} steps, first "
    if not first:
        return Finding(CHECK, Severity.ERROR, f"{evidence}before any update: look at data and initialisation")
    evidence += f"after {first} update{'' if first == 1 else 's'}"
    return Finding(CHECK, Severity.ERROR, evidence, lower_rate)


def p90_or_more(p90: float, clip: ClipSetting) -> float:
    """Threshold for a training without one: never below a norm of 1; a single value may be far smaller."""
    return round_up(p90) if clip.by_value else max(1.0, round_up(p90))


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
