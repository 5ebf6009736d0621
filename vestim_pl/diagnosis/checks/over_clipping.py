"""Whether clipping limited a run from end to end."""

import numpy as np
import pandas as pd

from vestim_pl.diagnosis.checks.clipping import round_up
from vestim_pl.diagnosis.clip_setting import ClipSetting
from vestim_pl.diagnosis.finding import Finding, Severity

__all__ = ["check_over_clipping"]

CHECK = "over-clipping"
MOST = 0.9


def check_over_clipping(metrics: pd.DataFrame, clip: ClipSetting, diverged: bool = False) -> Finding:
    """Read the clip fraction of every epoch that ``GradientNormMonitor`` logged.

    A threshold is only named where the log tells one: it holds norms, not single values, and those of a run that
    diverged are the norms of the divergence.

    Args:
        metrics: Rows ``key``, ``epoch``, ``step``, ``value`` of the run.
        clip: What clipped, and at which threshold.
        diverged: Whether losses, gradients or weights went astray in this run.

    Example::

        >>> metrics = pd.DataFrame({"key": ["grad_norm/clip_fraction"] * 3 + ["grad_norm/p90"] * 3,
        ...                         "epoch": [0, 1, 2] * 2, "step": [9, 19, 29] * 2,
        ...                         "value": [1.0, 1.0, 0.95, 2.0, 2.2, 2.1]})
        >>> finding = check_over_clipping(metrics, ClipSetting(0.5))
        >>> finding.severity.value, finding.override
        ('warning', 'trainer.gradient_clip_val=2.1')

    """
    fractions = _values(metrics, "grad_norm/clip_fraction")
    if fractions.empty:
        return Finding(CHECK, Severity.NOTE, "not known: no epoch logged its clip fraction")
    usual = float(fractions.median())
    limited = int((fractions >= MOST).sum())
    evidence = (
        f"clipping{'' if clip.threshold is None else f' at {clip.threshold:g}'} engaged in {100 * usual:.0f} % of the"
        f" steps of a median epoch, and in {100 * MOST:.0f} % or more in {limited} of {len(fractions)} epochs"
    )
    if usual < MOST:
        return Finding(CHECK, Severity.OK, evidence)
    evidence += ": it set the size of nearly every step"
    if diverged:
        evidence += "; the norms of a run that went astray tell no better threshold"
        return Finding(CHECK, Severity.WARNING, evidence)
    if clip.by_value:
        evidence += (
            "; the log holds norms, no values to take a threshold from: diagnose before a training measures them"
        )
        return Finding(CHECK, Severity.WARNING, evidence)
    norms = _values(metrics, "grad_norm/p90")
    override = f"{clip.key}={round_up(float(norms.median())):g}" if len(norms) else ""
    return Finding(CHECK, Severity.WARNING, evidence, override)


def _values(metrics: pd.DataFrame, key: str) -> "pd.Series[float]":
    values = metrics.loc[metrics["key"] == key, "value"]
    return values[np.isfinite(values.to_numpy("float64"))]
