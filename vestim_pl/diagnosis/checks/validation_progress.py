"""Check whether the validation error improves."""

import math

import numpy as np
import pandas as pd

from vestim_pl.diagnosis.checks.epoch_values import epoch_values, last_tenth
from vestim_pl.diagnosis.finding import Finding, Severity
from vestim_pl.diagnosis.overrides import learning_rate

__all__ = ["check_validation_progress"]

CHECK = "validation"
FEWEST = 5  # validations needed
IMPROVED = 0.9  # times the first validation; the end must be below
BETTER = 0.9  # times the RMSE of the best constant; the best must be below


def check_validation_progress(
    metrics: pd.DataFrame, constant_mv: float = math.nan, rate: float | None = None
) -> Finding:
    """Compare the end of the validation curve with its beginning, and its best with a constant voltage.

    It improves if the median of the last tenth of the validations is at most 0.9 times the first one, and the best is
    at most 0.9 times the RMSE of the mean voltage. A flat curve fails at any level, and so does one that ends where it
    began. Fewer than five validations are not judged.

    Args:
        metrics: Rows ``key``, ``epoch``, ``step``, ``value`` of the run.
        constant_mv: RMSE in mV of the best constant, the standard deviation of the voltage; NaN where unknown.
        rate: Learning rate to suggest; None for no suggestion.

    Example::

        >>> values = [67.3, 67.4, 67.28, 67.28, 67.28]
        >>> metrics = pd.DataFrame({"key": "val/rmse_mv", "epoch": range(5), "step": range(5), "value": values})
        >>> finding = check_validation_progress(metrics, constant_mv=70.0, rate=1e-3)
        >>> print(finding.evidence)
        validation RMSE 67.3 -> 67.28 mV, best 67.28, a constant voltage 70; no better than a constant: the
        best must be 10 % below it
        >>> finding.override
        'optimizer.lr=0.001'

    """
    _, values = epoch_values(metrics, "val/rmse_mv")
    values = values[np.isfinite(values)]
    if len(values) < FEWEST:
        return Finding(CHECK, Severity.NOTE, f"not judged: {len(values)} finite validations, {FEWEST} needed")
    first, end, best = float(values[0]), last_tenth(values), float(values.min())
    known = f", a constant voltage {constant_mv:.4g}" if math.isfinite(constant_mv) else ""
    numbers = f"validation RMSE {first:.4g} -> {end:.4g} mV, best {best:.4g}{known}"
    overrides = learning_rate(rate)
    if best > BETTER * constant_mv:  # false for NaN
        evidence = f"{numbers}; no better than a constant: the best must be 10 % below it"
        return Finding(CHECK, Severity.WARNING, evidence, overrides)
    if best > IMPROVED * first:
        evidence = f"{numbers}; it did not improve: the end must be 10 % below the first"
        return Finding(CHECK, Severity.WARNING, evidence, overrides)
    if end > IMPROVED * first:
        evidence = f"{numbers}; it improved and became worse again: the end must be 10 % below the first"
        return Finding(CHECK, Severity.WARNING, evidence, overrides)
    return Finding(CHECK, Severity.OK, f"{numbers}: {100 * (1 - end / first):.0f} % better at the end")
