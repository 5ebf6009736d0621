"""Whether the learning rate ran out before the training did."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from vestim_pl.diagnosis.finding import Finding, Severity
from vestim_pl.diagnosis.nodes import name_of, node_of

__all__ = ["check_learning_rate_exhausted"]

CHECK = "learning rate left"
SPENT = 0.011  # of the highest rate: two cuts by ten, or seven by two
IDLE = 0.25  # part of the run at such a rate
PATIENCE, STOP = 15, 40  # validations without progress to a cut, and to the end


def check_learning_rate_exhausted(
    metrics: pd.DataFrame,
    events: Sequence[Mapping[str, Any]],
    rate: float | None = None,
    callbacks: Mapping[str, Any] | None = None,
) -> Finding:
    """Look for a run that went on for long at a rate too small to move anything.

    A schedule that ends low is no such run: it must have spent a quarter of its steps there. Nor is a warmup that is
    not over yet: while the rate rises, only what was logged can have been its highest.

    Args:
        metrics: Rows ``key``, ``epoch``, ``step``, ``value`` of the run.
        events: Its events in order; cuts are of the kinds ``plateau`` and ``rollback``.
        rate: ``optimizer.lr``: what the first cut was from, where it came before anything was logged.
        callbacks: The node ``callbacks`` of the run's configuration, for the way out and the length of a warmup.

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
        return Finding(CHECK, Severity.NOTE, "not known: no learning rate was logged")
    values = rows[~_warming_up(rows, callbacks)]["value"].to_numpy("float64")
    if not values.size:
        return Finding(CHECK, Severity.OK, f"the warmup was not over: the learning rate had come to {_last(rows):g}")
    last = float(values[-1])
    cuts = sum(event.get("kind") in ("plateau", "rollback") for event in events)
    rises = values.max() > values[0]
    highest = max(float(values.max()), rate or 0.0) if cuts and not rises else float(values.max())
    peak = 0 if highest > values.max() else int(values.argmax())
    idle = float((values[peak:] <= SPENT * highest).sum() / len(values))
    told = f"the learning rate fell from {highest:g} to {last:g} by {cuts} cut{'' if cuts == 1 else 's'}"
    if highest and last <= SPENT * highest and idle >= IDLE:
        evidence = f"{told}, and {100 * idle:.0f} % of the logged steps were made at 1 % or less"
        kinds = {event.get("kind") for event in events}
        return Finding(CHECK, Severity.WARNING, evidence, _way_out(kinds, highest, callbacks))
    if last == highest:
        return Finding(CHECK, Severity.OK, f"the learning rate ended where it was highest, at {last:g}")
    return Finding(CHECK, Severity.OK, told)


def _last(rows: pd.DataFrame) -> float:
    return float(rows["value"].iloc[-1])


def _warming_up(rows: pd.DataFrame, callbacks: Mapping[str, Any]) -> "pd.Series[bool]":
    """Which rows lie in the warmup, of as many steps or epochs as it was set to."""
    warmup = node_of(callbacks, "LearningRateWarmup") or {}
    duration = warmup.get("duration", 0)
    unit = "epoch" if warmup.get("unit") == "epochs" else "step"
    return rows[unit] < (duration if isinstance(duration, int) else 0)


def _way_out(kinds: Collection[object], highest: float, callbacks: Mapping[str, Any]) -> str:
    """More patience for what a plateau has cut, a lower start for what rollbacks have, else another schedule."""
    if "plateau" not in kinds:
        return f"optimizer.lr={highest / 10:g}" if "rollback" in kinds else "scheduler=plateau"
    parts = []
    for kind, patience in (("PlateauLearningRate", PATIENCE), ("EarlyStopping", STOP)):
        if name := name_of(callbacks, kind):
            patient = _patient(callbacks[name].get("patience"), patience)
            parts.append(f"{'' if 'patience' in callbacks[name] else '+'}callbacks.{name}.patience={patient}")
    return " ".join(parts)


def _patient(now: object, usual: int) -> int:
    """The usual patience, or three times what the run had where that was as much."""
    return 3 * now if isinstance(now, int) and now >= usual else usual
