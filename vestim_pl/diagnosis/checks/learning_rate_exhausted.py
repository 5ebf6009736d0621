"""Check whether the learning rate became too small too early."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from vestim_pl.diagnosis.finding import Finding, Severity
from vestim_pl.diagnosis.overrides import callback_key, callback_settings, learning_rate
from vestim_pl.settings.override import Override

__all__ = ["check_learning_rate_exhausted"]

CHECK = "learning rate left"
SPENT = 0.011  # of the highest rate: two cuts by ten, or seven by two
IDLE = 0.25  # fraction of the run at such a rate
PATIENCE, STOP = 15, 40  # validations without progress before a cut, and before the end


def check_learning_rate_exhausted(
    metrics: pd.DataFrame,
    events: Sequence[Mapping[str, Any]],
    rate: float | None = None,
    callbacks: Mapping[str, Any] | None = None,
) -> Finding:
    """Find a run that trained for long at a rate too small to change the weights.

    A quarter of the steps must have had such a rate, so a schedule that ends low is not reported. Steps of a warmup do
    not count.

    Args:
        metrics: Rows ``key``, ``epoch``, ``step``, ``value`` of the run.
        events: Its events in order; cuts are of the kinds ``plateau`` and ``rollback``.
        rate: ``optimizer.lr``, the highest rate if the first cut came before anything was logged.
        callbacks: The node ``callbacks`` of the run's configuration, for suggestions and the length of a warmup.

    Example::

        >>> rates = [1e-3, 1e-3, 1e-6, 1e-6, 1e-6]
        >>> metrics = pd.DataFrame({"key": "learning_rate", "epoch": 0, "step": range(0, 50, 10), "value": rates})
        >>> finding = check_learning_rate_exhausted(metrics, [{"kind": "plateau", "step": 15}])
        >>> finding.severity.value, finding.evidence
        ('warning', 'the learning rate fell from 0.001 to 1e-06 by 1 cut, and 60 % of the logged steps were made at 1 %
        or less')

    """
    callbacks = callbacks or {}
    rows = metrics[metrics["key"] == "learning_rate"].sort_values("step", kind="stable")
    rows = rows[np.isfinite(rows["value"].to_numpy("float64"))]
    if rows.empty:
        return Finding(CHECK, Severity.NOTE, "unknown: no learning rate was logged")
    values = rows[~_warming_up(rows, callbacks)]["value"].to_numpy("float64")
    if not values.size:
        return Finding(CHECK, Severity.OK, f"the warmup was not over: the learning rate had reached {_last(rows):g}")
    last = float(values[-1])
    cuts = sum(event.get("kind") in ("plateau", "rollback") for event in events)
    rises = values.max() > values[0]
    highest = max(float(values.max()), rate or 0.0) if cuts and not rises else float(values.max())
    peak = 0 if highest > values.max() else int(values.argmax())
    idle = float((values[peak:] <= SPENT * highest).sum() / len(values))
    evidence = f"the learning rate fell from {highest:g} to {last:g} by {cuts} cut{'' if cuts == 1 else 's'}"
    if highest and last <= SPENT * highest and idle >= IDLE:
        evidence += f", and {100 * idle:.0f} % of the logged steps were made at 1 % or less"
        kinds = {event.get("kind") for event in events}
        return Finding(CHECK, Severity.WARNING, evidence, _suggestion(kinds, highest, callbacks))
    if last == highest:
        return Finding(CHECK, Severity.OK, f"the learning rate ended where it was highest, at {last:g}")
    return Finding(CHECK, Severity.OK, evidence)


def _last(rows: pd.DataFrame) -> float:
    return float(rows["value"].iloc[-1])


def _warming_up(rows: pd.DataFrame, callbacks: Mapping[str, Any]) -> "pd.Series[bool]":
    """Whether each row lies in the warmup, whose duration is in steps or epochs."""
    warmup = callback_settings(callbacks, "LearningRateWarmup") or {}
    duration = warmup.get("duration", 0)
    unit = "epoch" if warmup.get("unit") == "epochs" else "step"
    return rows[unit] < (duration if isinstance(duration, int) else 0)


def _suggestion(kinds: Collection[object], highest: float, callbacks: Mapping[str, Any]) -> tuple[Override, ...]:
    """More patience after cuts by a plateau, a lower rate after cuts by rollbacks, else another schedule."""
    if "plateau" not in kinds:
        return learning_rate(highest / 10) if "rollback" in kinds else (Override("scheduler", "plateau"),)
    overrides = []
    for kind, usual in (("PlateauLearningRate", PATIENCE), ("EarlyStopping", STOP)):
        if name := callback_key(callbacks, kind):
            patience = _patience(callbacks[name].get("patience"), usual)
            overrides.append(Override(f"callbacks.{name}.patience", patience, "patience" not in callbacks[name]))
    return tuple(overrides)


def _patience(now: object, usual: int) -> int:
    """Return the usual patience, or three times that of the run if it was at least the usual one."""
    return 3 * now if isinstance(now, int) and now >= usual else usual
