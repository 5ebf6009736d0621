"""Whether the learning rate ran out before the training did."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from vestim_pl.diagnosis.finding import Finding, Severity

__all__ = ["check_learning_rate_exhausted"]

CHECK = "learning rate left"
SPENT = 0.011  # of the highest rate: two cuts by ten, or seven by two
IDLE = 0.25  # part of the run at such a rate
PATIENT = "callbacks.plateau.patience=15 callbacks.early_stopping.patience=40"


def check_learning_rate_exhausted(
    metrics: pd.DataFrame, events: Sequence[Mapping[str, Any]], rate: float | None = None
) -> Finding:
    """Look for a run that went on for long at a rate too small to move anything.

    A schedule that ends low is no such run: it must have spent a quarter of its steps there.

    Args:
        metrics: Rows ``key``, ``epoch``, ``step``, ``value`` of the run.
        events: Its events in order; cuts are of the kinds ``plateau`` and ``rollback``.
        rate: ``optimizer.lr``: what the first cut was from, where it came before anything was logged.

    Example::

        >>> rates = [1e-3, 1e-3, 1e-6, 1e-6, 1e-6]
        >>> metrics = pd.DataFrame({"key": "learning_rate", "epoch": 0, "step": range(0, 50, 10), "value": rates})
        >>> finding = check_learning_rate_exhausted(metrics, [{"kind": "plateau", "step": 15}])
        >>> finding.severity.value, finding.evidence
        ('warning', 'the learning rate fell from 0.001 to 1e-06 by 1 cut, and 60 % of the logged steps were made at 1 %
        or less')

    """
    rows = metrics[metrics["key"] == "learning_rate"].sort_values("step", kind="stable")
    values = rows["value"].to_numpy("float64")
    values = values[np.isfinite(values)]
    if not values.size:
        return Finding(CHECK, Severity.NOTE, "not known: no learning rate was logged")
    last = float(values[-1])
    cuts = sum(event.get("kind") in ("plateau", "rollback") for event in events)
    highest = max(float(values.max()), rate or 0.0) if cuts else float(values.max())
    peak = 0 if highest > values.max() else int(values.argmax())
    idle = float((values[peak:] <= SPENT * highest).sum() / len(values))
    told = f"the learning rate fell from {highest:g} to {last:g} by {cuts} cut{'' if cuts == 1 else 's'}"
    if highest and last <= SPENT * highest and idle >= IDLE:
        evidence = f"{told}, and {100 * idle:.0f} % of the logged steps were made at 1 % or less"
        return Finding(CHECK, Severity.WARNING, evidence, _way_out({event.get("kind") for event in events}, highest))
    if last == highest:
        return Finding(CHECK, Severity.OK, f"the learning rate ended where it was highest, at {last:g}")
    return Finding(CHECK, Severity.OK, told)


def _way_out(kinds: Collection[object], highest: float) -> str:
    """More patience for what a plateau has cut, a lower start for what rollbacks have, else another schedule."""
    if "plateau" in kinds:
        return PATIENT
    return f"optimizer.lr={highest / 10:g}" if "rollback" in kinds else "scheduler=plateau"
