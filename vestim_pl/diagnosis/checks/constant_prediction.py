"""Check whether a run learnt more than the mean voltage."""

import math

import pandas as pd

from vestim_pl.diagnosis.finding import Finding, Severity
from vestim_pl.diagnosis.overrides import learning_rate

__all__ = ["check_constant_prediction", "other_rate"]

CHECK = "constant prediction"
FLAT = 0.1  # of the standard deviation of the measured voltage
NEAR = 0.9  # of the standard deviation, which is the RMSE of the best constant
USUAL = 1e-3  # Adam's usual learning rate: far below it training is slow, far above it units saturate


def check_constant_prediction(
    steps: pd.DataFrame | None,
    val_rmse_mv: float,
    target_std_mv: float,
    rate: float | None = None,
    ended: bool = True,
    unstable: bool = False,
) -> Finding:
    """Compare the estimates with the best constant, whose RMSE is the standard deviation of the voltage.

    In VEstim's guide the validation RMSE stayed at 67 mV and nothing was NaN, because the network gave the same voltage
    for every input.

    Args:
        steps: Tested steps with ``measured`` and ``estimated`` [V]; None without a test.
        val_rmse_mv: Best validation RMSE in mV; NaN where none was finite.
        target_std_mv: Standard deviation of the training voltage in mV, from the checkpoint; NaN where unknown.
        rate: ``optimizer.lr`` times the factor of recoveries, for the suggestion.
        ended: Whether training ran to its end; a run cut short may still have improved.
        unstable: Whether training diverged at that rate, so that a higher one would not help.

    Example::

        >>> steps = pd.DataFrame({"measured": [3.6, 3.7, 3.8], "estimated": [3.7, 3.7, 3.7]})
        >>> finding = check_constant_prediction(steps, math.nan, math.nan, rate=1e-5)
        >>> print(finding.evidence)
        the estimate is nearly constant: estimates vary by 0 mV (standard deviation) where the measured voltage
        varies by 81.6 mV, and the RMSE is 81.6 mV, as that of the best constant
        >>> finding.override
        'optimizer.lr=0.001'

    """
    overrides = learning_rate(None if rate is None else rate / 10 if unstable else other_rate(rate))
    if steps is not None and len(steps):
        measured, estimated = (steps[name].to_numpy("float64") * 1000.0 for name in ("measured", "estimated"))
        varies, deviation = float(estimated.std()), float(measured.std())
        rmse = math.sqrt(float(((estimated - measured) ** 2).mean()))
        numbers = f"estimates vary by {varies:.3g} mV (standard deviation) where the measured voltage varies by"
        numbers += f" {deviation:.3g} mV, and the RMSE is {rmse:.3g} mV"
        if not math.isfinite(rmse):
            return Finding(CHECK, Severity.ERROR, f"the test has non-finite estimates: {numbers}")
        if deviation and varies < FLAT * deviation:
            evidence = f"the estimate is nearly constant: {numbers}, as that of the best constant"
            return Finding(CHECK, Severity.ERROR, evidence, overrides)
        if deviation and rmse >= NEAR * deviation:
            return Finding(CHECK, Severity.ERROR, f"no better than a constant: {numbers}", overrides)
        return Finding(CHECK, Severity.OK, numbers)
    if not (math.isfinite(val_rmse_mv) and math.isfinite(target_std_mv)):
        return Finding(CHECK, Severity.NOTE, "unknown: no test, and no validation with a checkpoint")
    numbers = (
        f"the best validation RMSE is {val_rmse_mv:.3g} mV, the standard deviation of the training voltage"
        f" {target_std_mv:.3g} mV"
    )
    if val_rmse_mv < NEAR * target_std_mv:
        return Finding(CHECK, Severity.OK, numbers)
    if not ended:
        return Finding(CHECK, Severity.NOTE, f"no better than a constant until it stopped: {numbers}")
    return Finding(CHECK, Severity.ERROR, f"no better than a constant: {numbers}", overrides)


def other_rate(rate: float) -> float:
    """Return a learning rate to try where little was learnt: the usual one, ten times the given one, or a tenth of it.

    Example::

        >>> other_rate(1e-9), other_rate(0.005), round(other_rate(1.0), 3)
        (0.001, 0.05, 0.1)

    """
    if rate < USUAL:
        return USUAL
    return 10 * rate if rate < 10 * USUAL else rate / 10
