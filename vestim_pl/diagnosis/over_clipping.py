"""Whether clipping limited a run from end to end."""

import numpy as np
import pandas as pd

from vestim_pl.diagnosis.clipping import round_up
from vestim_pl.diagnosis.finding import Finding, Severity

__all__ = ["check_over_clipping"]

CHECK = "over-clipping"
MOST = 0.9


def check_over_clipping(metrics: pd.DataFrame, threshold: float | None) -> Finding:
    """Read the clip fraction of every epoch that ``GradientNormMonitor`` logged.

    Args:
        metrics: Rows ``key``, ``epoch``, ``step``, ``value`` of the run.
        threshold: ``trainer.gradient_clip_val``.

    Example::

        >>> metrics = pd.DataFrame({"key": ["grad_norm/clip_fraction"] * 3 + ["grad_norm/p90"] * 3,
        ...                         "epoch": [0, 1, 2] * 2, "step": [9, 19, 29] * 2,
        ...                         "value": [1.0, 1.0, 0.95, 2.0, 2.2, 2.1]})
        >>> finding = check_over_clipping(metrics, 0.5)
        >>> finding.severity.value, finding.override
        ('warning', 'trainer.gradient_clip_val=2.1')

    """
    fractions = _values(metrics, "grad_norm/clip_fraction")
    if fractions.empty:
        return Finding(CHECK, Severity.NOTE, "not known: no epoch logged its clip fraction")
    usual = float(fractions.median())
    limited = int((fractions >= MOST).sum())
    evidence = (
        f"clipping{'' if threshold is None else f' at {threshold:g}'} engaged in {100 * usual:.0f} % of the steps of a"
        f" median epoch, and in {100 * MOST:.0f} % or more in {limited} of {len(fractions)} epochs"
    )
    if usual < MOST:
        return Finding(CHECK, Severity.OK, evidence)
    norms = _values(metrics, "grad_norm/p90")
    override = f"trainer.gradient_clip_val={round_up(float(norms.median())):g}" if len(norms) else ""
    return Finding(CHECK, Severity.WARNING, f"{evidence}: it set the size of nearly every step", override)


def _values(metrics: pd.DataFrame, key: str) -> "pd.Series[float]":
    values = metrics.loc[metrics["key"] == key, "value"]
    return values[np.isfinite(values.to_numpy("float64"))]
