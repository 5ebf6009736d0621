"""Check whether clipping limited nearly every step of a run."""

import numpy as np
import pandas as pd

from vestim_pl.diagnosis.checks.clipping import ClipSetting, round_up
from vestim_pl.diagnosis.finding import Finding, Severity

__all__ = ["check_over_clipping"]

CHECK = "over-clipping"
MOST = 0.9


def check_over_clipping(metrics: pd.DataFrame, clip: ClipSetting, diverged: bool = False) -> Finding:
    """Judge the clip fraction of every epoch, as ``GradientNormMonitor`` logged it.

    The log holds norms and no single values, and the norms of a diverged run are those of the divergence. No threshold
    is suggested in these cases.

    Args:
        metrics: Rows ``key``, ``epoch``, ``step``, ``value`` of the run.
        clip: What clipped, and the threshold.
        diverged: Whether losses, gradients or weights diverged in this run.

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
        return Finding(CHECK, Severity.NOTE, "unknown: no epoch logged its clip fraction")
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
        evidence += "; the norms of a diverged run give no better threshold"
        return Finding(CHECK, Severity.WARNING, evidence)
    if clip.by_value:
        evidence += "; the log holds norms, not values: run diagnose before a training to measure a threshold"
        return Finding(CHECK, Severity.WARNING, evidence)
    norms = _values(metrics, "grad_norm/p90")
    return Finding(CHECK, Severity.WARNING, evidence, clip.to(round_up(float(norms.median()))) if len(norms) else ())


def _values(metrics: pd.DataFrame, key: str) -> "pd.Series[float]":
    values = metrics.loc[metrics["key"] == key, "value"]
    return values[np.isfinite(values.to_numpy("float64"))]
