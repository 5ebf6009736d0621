"""Find where a run diverged, and the signs before it."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from vestim_pl.diagnosis.checks.non_finite import is_data_fault
from vestim_pl.diagnosis.finding import Finding, Severity
from vestim_pl.settings.override import Override

__all__ = ["check_divergence"]

CHECK = "divergence"
BAD = ("skip", "non_finite", "rollback")
SIGNS = ("skip", "clip_burst", "non_finite", "rollback", "recovery")
_NON_FINITE = "first non-finite value"
GREW = 3.0  # times the earlier median


def check_divergence(
    metrics: pd.DataFrame,
    events: Sequence[Mapping[str, Any]],
    diverged: bool,
    reason: str,
    overrides: tuple[Override, ...] = (),
) -> Finding:
    """Report the step of a divergence, where it began, and earlier signs: events, and growing norms or losses.

    `check_ending` reports how the run ended.

    Args:
        metrics: Rows ``key``, ``epoch``, ``step``, ``value`` of the run.
        events: Its events in order.
        diverged: Whether the run ended in a divergence.
        reason: How the run ended, in a sentence; it may equal the reason of the first event.
        overrides: Settings that prevent it.

    Example::

        >>> values = [1.0, 1.1, 0.9, 1.0, 40.0]
        >>> metrics = pd.DataFrame({"key": "grad_norm/pre_clip", "epoch": 0, "step": range(5), "value": values})
        >>> event = {"kind": "non_finite", "step": 5, "reason": "model parameters became NaN/Inf"}
        >>> finding = check_divergence(metrics, [event], True, "model parameters became NaN/Inf")
        >>> print(finding.evidence)
        diverged at step 5; signs before: the gradient norm grew from a median of 1.05 to 40 (step 4)

    """
    seen = [event for event in events if event.get("kind") in BAD]
    first, what, word = _first(seen, metrics)
    if first is None and not diverged:
        if metrics.empty:
            return Finding(CHECK, Severity.NOTE, "unknown: the run logged no numbers")
        return Finding(CHECK, Severity.OK, "every loss, gradient and parameter that was checked was finite")
    at = _last_step(events, first) if diverged else first
    signs = [*_event_signs(events, at), *_growth(metrics, first)]
    before = f"; signs before: {', '.join(signs)}" if signs else "; no earlier sign in events and metrics"
    if diverged:
        where = f" at step {at}" if at is not None else ""
        cause = "" if what in reason else f": {what}"
        began = cause if first == at else f", {word} at step {first}{cause}"
        return Finding(CHECK, Severity.ERROR, f"diverged{where}{began}{before}", overrides)
    counted = ", ".join(f"{number} {kind}" for kind, number in Counter(str(e["kind"]) for e in seen).items())
    evidence = f"{word} at step {first}: {what}; the run continued{f' ({counted})' if counted else ''}{before}"
    if seen and all(map(is_data_fault, seen)):
        return Finding(
            CHECK, Severity.WARNING, f"{evidence}; the cause is the data: see the recordings named in events.jsonl"
        )
    return Finding(CHECK, Severity.WARNING, evidence, overrides)


def _first(seen: Sequence[Mapping[str, Any]], metrics: pd.DataFrame) -> tuple[int | None, str, str]:
    """Find the step where it began, what was seen there, and the name for it."""
    bad = metrics[~np.isfinite(metrics["value"].to_numpy("float64"))].sort_values("step", kind="stable")
    at_metric = int(bad["step"].iloc[0]) if len(bad) and not math.isnan(bad["step"].iloc[0]) else None
    event = next((event for event in seen if isinstance(event.get("step"), int)), None)
    if event is not None and (
        at_metric is None or event["step"] <= at_metric + 1
    ):  # an event is written after its step
        a_level = event["kind"] == "rollback" and not event.get("values", {}).get("non_finite")
        return int(event["step"]), _reason(event), "first divergence" if a_level else _NON_FINITE
    return at_metric, "" if at_metric is None else f"{bad['key'].iloc[0]} is {bad['value'].iloc[0]}", _NON_FINITE


def _reason(event: Mapping[str, Any]) -> str:
    """Return the reason of an event; for a monitored metric only its value, not what the callback did."""
    values = event.get("values", {})
    if "monitor" in values and "value" in values:
        return f"{values['monitor']} is {str(values['value']).lower().replace('infinity', 'inf')}"
    return str(event.get("reason", event["kind"]))


def _last_step(events: Sequence[Mapping[str, Any]], first: int | None) -> int | None:
    """Find the step of the error that ended the run, else of the first non-finite value."""
    ends = [event["step"] for event in events if _ends(event) and isinstance(event.get("step"), int)]
    return int(ends[-1]) if ends else first


def _ends(event: Mapping[str, Any]) -> bool:
    values = event.get("values", {})
    broke = event.get("kind") == "stop" and bool(values.get("error"))
    return broke or (event.get("kind") == "non_finite" and "monitor" not in values)


def _event_signs(events: Sequence[Mapping[str, Any]], at: int | None) -> list[str]:
    """Count the events before that step by kind, with the first step of each."""
    signs = []
    for kind in SIGNS:
        steps = [int(event["step"]) for event in events if event.get("kind") == kind and "step" in event]
        steps = [step for step in steps if at is None or step < at]
        if steps:
            name = kind.replace("_", " ")
            signs.append(f"{len(steps)} x {name} from step {steps[0]} on")
    return signs


def _growth(metrics: pd.DataFrame, at: int | None) -> list[str]:
    """Find norms and losses whose maximum in the second half is far above their median in the first half."""
    signs = []
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
            signs.append(f"{name} grew from a median of {usual:.3g} to {values[peak]:.3g} (step {steps[peak]:.0f})")
    return signs
