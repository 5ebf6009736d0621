"""Whether a run has learnt anything but the mean voltage."""

import math

import pandas as pd

from vestim_pl.diagnosis.finding import Finding, Severity

__all__ = ["check_constant_prediction", "other_rate"]

CHECK = "constant prediction"
FLAT = 0.1  # of the measured variation
NEAR = 0.9  # of the standard deviation: what a constant would reach, but for a tenth
USUAL = 1e-3  # Adam's usual learning rate: far below it little is learnt, far above it units saturate


def check_constant_prediction(
    steps: pd.DataFrame | None,
    val_rmse_mv: float,
    target_std_mv: float,
    rate: float | None = None,
    ended: bool = True,
    astray: bool = False,
) -> Finding:
    """Hold the estimates against the best constant, whose RMSE is the standard deviation of the voltage.

    The guide's story: the validation RMSE stood still (there at 67 mV) while nothing was NaN: the network said the same
    voltage whatever it was fed with.

    Args:
        steps: Tested steps with ``measured`` and ``estimated`` [V]; None without a test.
        val_rmse_mv: Best validation RMSE in mV; NaN where none was finite.
        target_std_mv: Standard deviation of the training voltage in mV, from the checkpoint; NaN where unknown.
        rate: ``optimizer.lr`` times what recoveries left of it, for the way out.
        ended: Whether training ended by itself; a run cut short may only not have got there yet.
        astray: Whether training went astray at that rate, so that a higher one is no way out.

    Example::

        >>> steps = pd.DataFrame({"measured": [3.6, 3.7, 3.8], "estimated": [3.7, 3.7, 3.7]})
        >>> finding = check_constant_prediction(steps, math.nan, math.nan, rate=1e-5)
        >>> print(finding.evidence)
        it says nearly the same voltage always: estimates vary by 0 mV (standard deviation) where the measured voltage
        varies by 81.6 mV, and the RMSE is 81.6 mV, as that of the best constant
        >>> finding.override
        'optimizer.lr=0.001'

    """
    override = "" if rate is None else f"optimizer.lr={rate / 10 if astray else other_rate(rate):g}"
    if steps is not None and len(steps):
        measured, estimated = (steps[name].to_numpy("float64") * 1000.0 for name in ("measured", "estimated"))
        varies, deviation = float(estimated.std()), float(measured.std())
        rmse = math.sqrt(float(((estimated - measured) ** 2).mean()))
        numbers = f"estimates vary by {varies:.3g} mV (standard deviation) where the measured voltage varies by"
        numbers += f" {deviation:.3g} mV, and the RMSE is {rmse:.3g} mV"
        if not math.isfinite(rmse):
            return Finding(CHECK, Severity.ERROR, f"estimates of the test are not finite: {numbers}")
        if deviation and varies < FLAT * deviation:
            evidence = f"it says nearly the same voltage always: {numbers}, as that of the best constant"
            return Finding(CHECK, Severity.ERROR, evidence, override)
        if deviation and rmse >= NEAR * deviation:
            return Finding(CHECK, Severity.ERROR, f"it is no better than a constant: {numbers}", override)
        return Finding(CHECK, Severity.OK, numbers)
    if not (math.isfinite(val_rmse_mv) and math.isfinite(target_std_mv)):
        return Finding(CHECK, Severity.NOTE, "not known: neither a test nor a validation with a checkpoint beside it")
    numbers = (
        f"the best validation RMSE is {val_rmse_mv:.3g} mV, the standard deviation of the training voltage"
        f" {target_std_mv:.3g} mV"
    )
    if val_rmse_mv < NEAR * target_std_mv:
        return Finding(CHECK, Severity.OK, numbers)
    if not ended:
        return Finding(CHECK, Severity.NOTE, f"as far as it got it is no better than a constant: {numbers}")
    return Finding(CHECK, Severity.ERROR, f"it is no better than a constant: {numbers}", override)


def other_rate(rate: float) -> float:
    """Learning rate to try where little was learnt: up to the usual one, ten times it, or back from saturation.

    Example::

        >>> other_rate(1e-9), other_rate(0.005), round(other_rate(1.0), 3)
        (0.001, 0.05, 0.1)

    """
    if rate < USUAL:
        return USUAL
    return 10 * rate if rate < 10 * USUAL else rate / 10
