"""Where a run diverged, and after which signs."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from vestim_pl.diagnosis.finding import Finding, Severity

__all__ = ["check_divergence"]

CHECK = "divergence"
SIGNS = ("skip", "clip_burst", "non_finite", "rollback", "recovery")
GREW = 3.0  # times the median of before


def check_divergence(
    metrics: pd.DataFrame, events: Sequence[Mapping[str, Any]], diverged: bool, reason: str, rate: float | None = None
) -> Finding:
    """Find the step and the signs before it: events, and norms of the gradient or losses that grew.

    Args:
        metrics: Rows ``key``, ``epoch``, ``step``, ``value`` of the run.
        events: Its events in order.
        diverged: Whether the run ended in it.
        reason: How the run ended, in a sentence.
        rate: ``optimizer.lr``, for the way out.

    Example::

        >>> values = [1.0, 1.1, 0.9, 1.0, 40.0]
        >>> metrics = pd.DataFrame({"key": "grad_norm/pre_clip", "epoch": 0, "step": range(5), "value": values})
        >>> event = {"kind": "non_finite", "step": 5, "reason": "model parameters became NaN/Inf"}
        >>> finding = check_divergence(metrics, [event], True, "model parameters became NaN/Inf", 1e-2)
        >>> print(finding.evidence)
        diverged at step 5: model parameters became NaN/Inf; signs before: the gradient norm grew from a median of
        1.05 to 40 (step 4)
        >>> finding.override
        '+preset=resilient optimizer.lr=0.001'

    """
    seen = [event for event in events if event.get("kind") in ("skip", "non_finite", "rollback")]
    bad = metrics[~np.isfinite(metrics["value"].to_numpy("float64"))]
    steps = [int(event["step"]) for event in seen if isinstance(event.get("step"), int | float)]
    steps += [int(bad["step"].min())] if len(bad) else []
    if not diverged and not steps:
        return Finding(CHECK, Severity.OK, "every loss, gradient and parameter that was looked at was finite")
    at = _last_step(events, steps) if diverged else (min(steps) if steps else None)
    signs = [*_event_signs(events, at), *_growth(metrics, at)]
    before = f"; signs before: {', '.join(signs)}" if signs else "; no sign before it in events and metrics"
    override = "+preset=resilient" + (f" optimizer.lr={rate / 10:g}" if rate else "")
    if not diverged:
        came_back = f"first not finite at step {at}, and the run went on"
        counted = ", ".join(f"{number} {kind}" for kind, number in Counter(str(e["kind"]) for e in seen).items())
        told = f"{came_back} ({counted}){before}" if counted else f"{came_back}{before}"
        return Finding(CHECK, Severity.WARNING, told, override)
    where = f" at step {at}" if at is not None else ""
    return Finding(CHECK, Severity.ERROR, f"diverged{where}: {reason}{before}", override)


def _last_step(events: Sequence[Mapping[str, Any]], steps: Sequence[int]) -> int | None:
    """Step of the event that ended the run, else the first that was not finite."""
    ends = [e["step"] for e in events if e.get("kind") in ("non_finite", "stop") and isinstance(e.get("step"), int)]
    return int(ends[-1]) if ends else min(steps, default=None)


def _event_signs(events: Sequence[Mapping[str, Any]], at: int | None) -> list[str]:
    """Events before that step, counted by kind, with the first step of each."""
    told = []
    for kind in SIGNS:
        steps = [int(event["step"]) for event in events if event.get("kind") == kind and "step" in event]
        steps = [step for step in steps if at is None or step < at]
        if steps:
            name = kind.replace("_", " ")
            told.append(f"{len(steps)} x {name} from step {steps[0]} on")
    return told


def _growth(metrics: pd.DataFrame, at: int | None) -> list[str]:
    """Norms and losses whose largest late value is far above the median of what was before."""
    told = []
    for key, name in {"grad_norm/pre_clip": "the gradient norm", "train/loss": "the training loss"}.items():
        rows = metrics[metrics["key"] == key]
        rows = rows[(rows["step"] <= at) if at is not None else rows["step"].notna()]
        rows = rows[np.isfinite(rows["value"].to_numpy("float64"))].sort_values("step", kind="stable")
        if len(rows) < 4:
            continue
        half = len(rows) // 2
        values, steps = rows["value"].to_numpy("float64"), rows["step"].to_numpy("float64")
        usual, peak = float(np.median(values[:half])), half + int(values[half:].argmax())
        if usual > 0 and values[peak] >= GREW * usual:
            told.append(f"{name} grew from a median of {usual:.3g} to {values[peak]:.3g} (step {steps[peak]:.0f})")
    return told
