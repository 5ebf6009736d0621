"""Check how often clipping engages at the start of training."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vestim_pl.diagnosis.finding import Finding, Severity
from vestim_pl.diagnosis.overrides import callback_key
from vestim_pl.settings.override import Override

__all__ = ["ClipSetting", "check_clipping"]

TRAINER = "trainer.gradient_clip_val"


@dataclass(frozen=True)
class ClipSetting:
    """Threshold of clipping, by the trainer or by the ``max_norm`` of ``AdaptiveGradientClipping``.

    Attributes:
        threshold: Upper limit for every step; None for no limit.
        key: Setting that holds it.
        added: Whether the configuration lacks that setting.
        adaptive: Whether a callback clips by a limit that follows the norm, with the threshold on top.
        by_value: Whether each value is clipped separately instead of the norm of all.

    """

    threshold: float | None = None
    key: str = TRAINER
    added: bool = False
    adaptive: bool = False
    by_value: bool = False

    @classmethod
    def of(cls, trainer: Mapping[str, Any], callbacks: Mapping[str, Any]) -> "ClipSetting":
        """Read it from the nodes ``trainer`` and ``callbacks`` of a configuration.

        Example::

            >>> node = {"_target_": "vestim_pl.callbacks.AdaptiveGradientClipping", "max_norm": 1.0}
            >>> ClipSetting.of({"gradient_clip_val": None}, {"mine": node}).key
            'callbacks.mine.max_norm'

        """
        if name := callback_key(callbacks, "AdaptiveGradientClipping"):
            node = callbacks[name]
            key, added = f"callbacks.{name}.max_norm", "max_norm" not in node
            return cls(_positive(node.get("max_norm")), key, added, adaptive=True)
        by_value = str(trainer.get("gradient_clip_algorithm") or "norm") == "value"
        added = "gradient_clip_val" not in trainer
        return cls(_positive(trainer.get("gradient_clip_val")), added=added, by_value=by_value)

    def to(self, threshold: float) -> tuple[Override, ...]:
        """Override that sets the threshold."""
        return (Override(self.key, threshold, self.added),)

    @property
    def algorithm(self) -> str:
        """Lightning's word for what is clipped: ``norm`` or ``value``."""
        return "value" if self.by_value else "norm"

    @property
    def size(self) -> str:
        """What is compared with the threshold, in words."""
        return "largest gradient value" if self.by_value else "gradient norm"


def _positive(value: object) -> float | None:
    """Return a threshold; None for 0 and for text, such as an unresolved reference in the file of a run."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and value > 0 else None  # type: ignore[arg-type, operator]


CHECK = "gradient clipping"
LIMITS_EVERY_STEP = 0.9  # fraction of the steps; GradientNormMonitor reports the same as a clip burst
CUTS_DEEP = 1.5  # median norm over threshold, above which the typical gradient is cut considerably


def check_clipping(
    norms: Sequence[float], clip: ClipSetting, unstable: bool = False, lower_rate: tuple[Override, ...] = ()
) -> Finding:
    """Compare the threshold with the gradient norms of the first steps.

    A threshold guards against spikes. One below nearly every norm sets the size of every step instead: it normalises
    the gradients batch by batch, and a spike looks like any other step. The same holds for the upper bound of an
    adaptive limit.

    Args:
        norms: Gradient norm before clipping, one per optimizer step; the largest value where values are clipped.
        clip: What clips, and the threshold.
        unstable: Whether the learning rate is too high; steps at such a rate give no threshold.
        lower_rate: Overrides that lower it, for gradients that become non-finite after a few updates.

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
        return _non_finite(norms, clip, lower_rate)
    median, p90 = np.percentile(finite, (50, 90)).tolist()
    wait = "; choose a threshold once the learning rate is stable" if unstable else ""
    if clip.threshold is None:
        if clip.adaptive:
            return Finding(CHECK, Severity.OK, f"the limit follows the norm (median {median:.3g} at the start)")
        return Finding(
            CHECK,
            Severity.WARNING,
            f"nothing is clipped: one spike reaches the weights in full; median of the {clip.size} {median:.3g}{wait}",
            () if unstable else clip.to(p90_or_more(p90, clip)),
        )
    clipped = sum(norm > clip.threshold for norm in finite)
    engaged = (
        f"clipping at {clip.threshold:g} engages in {clipped} of the first {len(finite)} steps"
        f" ({100 * clipped / len(finite):.0f} %)"
    )
    if clipped < LIMITS_EVERY_STEP * len(finite):
        return Finding(CHECK, Severity.OK, f"{engaged}; median of the {clip.size} {median:.3g}, P90 {p90:.3g}")
    follows = ", whatever the adaptive limit is" if clip.adaptive else ""
    return Finding(
        CHECK,
        Severity.WARNING if median >= CUTS_DEEP * clip.threshold else Severity.NOTE,
        f"{engaged} and cuts the {clip.size} from a median of {median:.3g} by {median / clip.threshold:.2g}: it sets"
        f" the size of nearly every step instead of catching spikes{follows}{wait}",
        () if unstable else clip.to(round_up(p90)),
    )


def _non_finite(norms: Sequence[float], clip: ClipSetting, lower_rate: tuple[Override, ...]) -> Finding:
    """Before the first update the cause is the data or the initialisation, after it the learning rate."""
    first = next((number for number, norm in enumerate(norms) if not math.isfinite(norm)), 0)
    bad = sum(not math.isfinite(norm) for norm in norms)
    evidence = f"the {clip.size} is non-finite in {bad} of the first {len(norms)} steps, first "
    if not first:
        return Finding(CHECK, Severity.ERROR, f"{evidence}before any update: check the data and the initialisation")
    evidence += f"after {first} update{'' if first == 1 else 's'}"
    return Finding(CHECK, Severity.ERROR, evidence, lower_rate)


def p90_or_more(p90: float, clip: ClipSetting) -> float:
    """Return a threshold for a training without one, at least 1 for a norm; a single value may be far smaller."""
    return round_up(p90) if clip.by_value else max(1.0, round_up(p90))


def round_up(value: float) -> float:
    """Round up to two digits, so that the threshold is not below the norm it comes from.

    Example::

        >>> round_up(1.251), round_up(0.0301)
        (1.3, 0.031)

    """
    if value <= 0:
        return value
    grain = 10.0 ** (math.floor(math.log10(value)) - 1)
    return float(f"{math.ceil(value / grain - 1e-9) * grain:.2g}")
