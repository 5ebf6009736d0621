"""Where a run diverged, and after which signs."""

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from vestim_pl.diagnosis.finding import Finding, Severity

__all__ = ["check_divergence"]

CHECK = "divergence"
BAD = ("skip", "non_finite", "rollback")
SIGNS = ("skip", "clip_burst", "non_finite", "rollback", "recovery")
_NOT_FINITE = "first not finite"
_NO_NUMBER = re.compile(r"\b(not finite|nan|inf)\b")
GREW = 3.0  # times the median of before


def check_divergence(
    metrics: pd.DataFrame, events: Sequence[Mapping[str, Any]], diverged: bool, reason: str, way_out: str = ""
) -> Finding:
    """Find the step, where it began, and the signs before: norms or losses that grew.

    How the run ended is another finding's (`check_ending`) and not told again.

    Args:
        metrics: Rows ``key``, ``epoch``, ``step``, ``value`` of the run.
        events: Its events in order.
        diverged: Whether the run ended in it.
        reason: How the run ended, in a sentence, which the first event may be as well.
        way_out: Overrides that mend it.

    Example::

        >>> values = [1.0, 1.1, 0.9, 1.0, 40.0]
        >>> metrics = pd.DataFrame({"key": "grad_norm/pre_clip", "epoch": 0, "step": range(5), "value": values})
        >>> event = {"kind": "non_finite", "step": 5, "reason": "model parameters became NaN/Inf"}
        >>> finding = check_divergence(metrics, [event], True, "model parameters became NaN/Inf", "optimizer.lr=0.001")
        >>> print(finding.evidence)
        diverged at step 5; signs before: the gradient norm grew from a median of 1.05 to 40 (step 4)
        >>> finding.override
        'optimizer.lr=0.001'

    """
    seen = [event for event in events if event.get("kind") in BAD]
    first, what, word = _first(seen, metrics)
    if first is None and not diverged:
        if metrics.empty:
            return Finding(CHECK, Severity.NOTE, "not known: the run left no numbers")
        return Finding(CHECK, Severity.OK, "every loss, gradient and parameter that was looked at was finite")
    at = _last_step(events, first) if diverged else first
    signs = [*_event_signs(events, at), *_growth(metrics, first)]
    before = f"; signs before: {', '.join(signs)}" if signs else "; no sign before it in events and metrics"
    if diverged:
        where = f" at step {at}" if at is not None else ""
        told = "" if what in reason else f": {what}"
        began = told if first == at else f", {word} at step {first}{told}"
        return Finding(CHECK, Severity.ERROR, f"diverged{where}{began}{before}", way_out)
    counted = ", ".join(f"{number} {kind}" for kind, number in Counter(str(e["kind"]) for e in seen).items())
    told = f"{word} at step {first}: {what}; the run went on{f' ({counted})' if counted else ''}{before}"
    if seen and all(_is_data(event) for event in seen):
        return Finding(
            CHECK, Severity.WARNING, f"{told}; the data are at fault: open the recordings that events.jsonl names"
        )
    return Finding(CHECK, Severity.WARNING, told, way_out)


def _first(seen: Sequence[Mapping[str, Any]], metrics: pd.DataFrame) -> tuple[int | None, str, str]:
    """Step where it began, what was seen there, by an event, else by a metric, and the word for it."""
    bad = metrics[~np.isfinite(metrics["value"].to_numpy("float64"))].sort_values("step", kind="stable")
    at_metric = int(bad["step"].iloc[0]) if len(bad) and not math.isnan(bad["step"].iloc[0]) else None
    event = next((event for event in seen if isinstance(event.get("step"), int)), None)
    if event is not None and (at_metric is None or event["step"] <= at_metric + 1):  # an event comes after its step
        reason = _reason(event)
        a_level = event["kind"] == "rollback" and not _NO_NUMBER.search(reason)
        return int(event["step"]), reason, "first astray" if a_level else _NOT_FINITE
    return at_metric, "" if at_metric is None else f"{bad['key'].iloc[0]} is {bad['value'].iloc[0]}", _NOT_FINITE


def _reason(event: Mapping[str, Any]) -> str:
    """Reason of an event; of a monitored metric its value alone, not what the callback makes of it."""
    values = event.get("values")
    if isinstance(values, Mapping) and "monitor" in values and "value" in values:
        return f"{values['monitor']} is {str(values['value']).lower().replace('infinity', 'inf')}"
    return str(event.get("reason", event["kind"]))


def _is_data(event: Mapping[str, Any]) -> bool:
    """A skip for a batch that held the bad number itself; the learning rate is not to blame."""
    values = event.get("values")
    return event.get("kind") == "skip" and isinstance(values, Mapping) and values.get("cause") == "batch"


def _last_step(events: Sequence[Mapping[str, Any]], first: int | None) -> int | None:
    """Step of the error that ended the run, else that of the first number that was not finite."""
    ends = [event["step"] for event in events if _ends(event) and isinstance(event.get("step"), int)]
    return int(ends[-1]) if ends else first


def _ends(event: Mapping[str, Any]) -> bool:
    values = event.get("values")
    broke = event.get("kind") == "stop" and isinstance(values, Mapping) and bool(values.get("error"))
    return broke or (event.get("kind") == "non_finite" and not (isinstance(values, Mapping) and "monitor" in values))


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
