"""Check whether the training loss falls, and falls smoothly."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from vestim_pl.diagnosis.checks.epoch_values import epoch_values, last_tenth
from vestim_pl.diagnosis.finding import Finding, Severity
from vestim_pl.diagnosis.overrides import learning_rate

__all__ = ["check_loss_curve"]

CHECK = "loss"
FEWEST = 5  # epochs needed
RISE = 1.25  # times the lowest RMSE so far, above which an epoch counts as risen
RISEN = 0.05  # largest fraction of risen epochs
JUMP = 2.0  # times the lowest RMSE so far, which no epoch may reach
FALL = 0.9  # times the RMSE of the first epoch; the end must be below


def check_loss_curve(
    metrics: pd.DataFrame,
    events: Sequence[Mapping[str, Any]] = (),
    smaller_rate: float | None = None,
    larger_rate: float | None = None,
) -> Finding:
    """Judge the training RMSE of each epoch, the root of its loss in mV.

    It falls smoothly if all of these hold:

    - the median of the last tenth of the epochs is at most 0.9 times the first epoch;
    - at most 5 % of the epochs are above 1.25 times the lowest earlier epoch, and no epoch is above 2 times;
    - no recovery went back to an earlier state.

    Fewer than five epochs are not judged.

    Args:
        metrics: Rows ``key``, ``epoch``, ``step``, ``value`` of the run.
        events: Its events in order.
        smaller_rate: Learning rate to suggest where the loss rose.
        larger_rate: Learning rate to suggest where the loss did not fall.

    Example::

        >>> values = [300.0, 200.0, 150.0, 120.0, 260.0, 110.0]
        >>> metrics = pd.DataFrame({"key": "train/rmse_mv", "epoch": range(6), "step": range(6), "value": values})
        >>> finding = check_loss_curve(metrics, smaller_rate=1e-5)
        >>> print(finding.evidence)
        training RMSE 300 -> 110 mV in 6 epochs; 1 of them rose more than 25 % above the lowest so far (limit 0), most
        in epoch 4, to 2.2 times
        >>> finding.override
        'optimizer.lr=1e-05'

    """
    epochs, values = epoch_values(metrics, "train/rmse_mv")
    finite = np.isfinite(values)
    epochs, values = epochs[finite], values[finite]
    back = [event for event in events if event.get("kind") == "rollback"]
    smaller, larger = learning_rate(smaller_rate), learning_rate(larger_rate)
    if back:
        counted = f"{len(back)} time{'' if len(back) == 1 else 's'}"
        evidence = f"recovery went back to an earlier state {counted}; first: {back[0].get('reason', '')}"
        return Finding(CHECK, Severity.WARNING, evidence, smaller)
    if len(values) < FEWEST:
        return Finding(CHECK, Severity.NOTE, f"not judged: {len(values)} finite epochs, {FEWEST} needed")
    numbers = f"training RMSE {values[0]:.4g} -> {last_tenth(values):.4g} mV in {len(values)} epochs"
    if rose := _rises(epochs, values):
        return Finding(CHECK, Severity.WARNING, f"{numbers}; {rose}", smaller)
    if last_tenth(values) > FALL * values[0]:
        evidence = f"{numbers}: it did not fall by 10 %"
        return Finding(CHECK, Severity.WARNING, evidence, larger)
    highest = float(_above_lowest(values).max())
    return Finding(CHECK, Severity.OK, f"{numbers}, never more than {max(highest, 1.0):.2f} times the lowest so far")


def _rises(epochs: NDArray[np.float64], values: NDArray[np.float64]) -> str:
    """Describe how the loss rose; empty if within the limits."""
    above = _above_lowest(values)
    risen, limit = int((above > RISE).sum()), int(RISEN * len(values))
    worst = int(above.argmax())
    if risen <= limit and above[worst] < JUMP:
        return ""
    return (
        f"{risen} of them rose more than {100 * (RISE - 1):.0f} % above the lowest so far (limit {limit}),"
        f" most in epoch {epochs[1 + worst]:.0f}, to {above[worst]:.2g} times"
    )


def _above_lowest(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Ratio of every value but the first to the lowest earlier value."""
    ratio: NDArray[np.float64] = values[1:] / np.maximum(np.minimum.accumulate(values)[:-1], np.finfo(float).tiny)
    return ratio
