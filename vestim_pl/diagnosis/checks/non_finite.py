"""Check a run for NaN and infinite values."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from vestim_pl.diagnosis.finding import Finding, Severity
from vestim_pl.settings.override import Override

__all__ = ["check_non_finite", "is_data_fault"]

CHECK = "non-finite"
WATCHED = ("train/", "val/")


def check_non_finite(
    metrics: pd.DataFrame,
    events: Sequence[Mapping[str, Any]] = (),
    diverged: bool = False,
    refused: bool = False,
    suggestion: tuple[Override, ...] = (),
) -> Finding:
    """Count non-finite values: losses and errors in the metrics, steps, parameters and inputs in the events.

    A single one is a warning, even in a run that recovered. Steps skipped by the gradient scaler of mixed precision do
    not count: the scaler finds the largest scale by occasional overflow.

    Args:
        metrics: Rows ``key``, ``epoch``, ``step``, ``value`` of the run.
        events: Its events in order.
        diverged: Whether the run ended in a divergence.
        refused: Whether training was refused before it began.
        suggestion: Overrides that keep the next run finite.

    Example::

        >>> metrics = pd.DataFrame({"key": "train/loss", "epoch": 0, "step": [9, 19], "value": [0.5, 0.4]})
        >>> skip = {"kind": "skip", "reason": "epoch 0, batch 12: the loss is NaN", "step": 12}
        >>> print(check_non_finite(metrics, [skip]).evidence)
        1 x skip; first: epoch 0, batch 12: the loss is NaN; the run continued

    """
    if refused:  # the check of the end of the run has the reason
        return Finding(CHECK, Severity.NOTE, "not judged: training did not begin")
    watched = metrics[metrics["key"].str.startswith(WATCHED)]
    bad = watched[~np.isfinite(watched["value"].to_numpy("float64"))]
    left_out = float(metrics.loc[metrics["key"] == "train/left_out", "value"].sum())
    seen = [event for event in events if _is_non_finite(event)]
    if watched.empty and not seen and not diverged:
        return Finding(CHECK, Severity.NOTE, "not judged: no loss or error was logged")
    if not (len(bad) or left_out or seen or diverged):
        text = (
            f"{len(watched):,} logged losses and errors are finite, and no step or parameter was reported as non-finite"
        )
        return Finding(CHECK, Severity.OK, text)
    kinds = Counter(str(event["kind"]).replace("_", " ") for event in seen)
    counts = [f"{number} x {kind}" for kind, number in kinds.items()]
    if len(bad):
        counts.append(f"{len(bad)} logged value{'' if len(bad) == 1 else 's'} ({', '.join(sorted(set(bad['key'])))})")
    if left_out:
        counts.append(f"{left_out:.0f} batches left out of the training error")
    first = f"; first: {seen[0].get('reason', '')}" if seen else ""
    end = "the run ended there" if diverged else "the run continued"
    from_data = bool(seen) and all(map(is_data_fault, seen))
    where = "; correct the recordings named in events.jsonl" if from_data else ""
    evidence = f"{', '.join(counts) or 'training diverged'}{first}; {end}{where}"
    return Finding(CHECK, Severity.ERROR if diverged else Severity.WARNING, evidence, () if from_data else suggestion)


def is_data_fault(event: Mapping[str, Any]) -> bool:
    """Whether a batch was skipped because it held a non-finite value itself; the learning rate is not the cause."""
    return event.get("kind") == "skip" and event.get("values", {}).get("cause") == "batch"


def _is_non_finite(event: Mapping[str, Any]) -> bool:
    kind, values = event.get("kind"), event.get("values", {})
    if kind == "rollback":  # also made for a loss that only rose
        return bool(values.get("non_finite"))
    return kind == "non_finite" or (kind == "skip" and values.get("cause") != "overflow")
