"""Judge recordings against each other: one interval, one capacity, one kind of voltage."""

from collections.abc import Mapping

import numpy as np

from vestim_pl.data.preparation.meaning.evidence import Evidence
from vestim_pl.settings.override import Override

__all__ = ["ALIKE_INTERVAL", "disagreements", "interval_problem", "shared_interval"]

ALIKE_CAPACITY = 0.2
ALIKE_INTERVAL = 0.05
_ACCEPT = f"or accept the values as they are with {Override('data.checks', 'warn')}"


def disagreements(evidence: Mapping[str, Evidence], intervals: Mapping[str, float | None]) -> dict[str, str]:
    """Find recordings that differ from the others in a way that no cell explains.

    Args:
        evidence: Figures by recording.
        intervals: Seconds between the prepared rows by recording.

    Returns:
        One line for each recording that differs, by its name.

    """
    problems = _unlike_intervals(intervals)
    for label, problem in _unlike_capacities(evidence).items():
        problems.setdefault(label, problem)
    return problems


def interval_problem(label: str, interval: float | None, expected: float | None) -> str | None:
    """Return in one line that a recording has another interval than the training had; None if it has not.

    Example::

        >>> print(interval_problem("us06.csv", 0.1, 1.0))
        us06.csv: rows are 0.1 s apart, but the checkpoint was trained with 1 s; set data.resample=1
        >>> interval_problem("us06.csv", 1.001, 1.0) is None
        True

    """
    if interval is None or expected is None or abs(interval - expected) <= ALIKE_INTERVAL * expected:
        return None
    return (
        f"{label}: rows are {interval:.4g} s apart, but the checkpoint was trained with {expected:.4g} s; set "
        f"{Override('data.resample', float(f'{expected:.6g}'))}"
    )


def shared_interval(intervals: Mapping[str, float | None]) -> Override | None:
    """Return the setting that gives all recordings one interval, the longest; None where they are alike.

    Example::

        >>> print(shared_interval({"a": 1.0, "b": 0.1}))
        data.resample=1
        >>> shared_interval({"a": 1.0, "b": 1.001}) is None
        True

    """
    known = [interval for interval in intervals.values() if interval is not None]
    if not known or all(abs(each - _most_common(known)) <= ALIKE_INTERVAL * _most_common(known) for each in known):
        return None
    return Override("data.resample", float(f"{max(known):.3g}"))


def _unlike_intervals(intervals: Mapping[str, float | None]) -> dict[str, str]:
    known = {label: interval for label, interval in intervals.items() if interval is not None}
    if not known:
        return {}
    usual, fix = _most_common(list(known.values())), shared_interval(known)
    advice = f"set {fix}, so that all have one interval, {_ACCEPT}"
    return {
        label: f"{label}: rows are {interval:.4g} s apart, those of most recordings {usual:.4g} s; {advice}"
        for label, interval in known.items()
        if abs(interval - usual) > ALIKE_INTERVAL * usual
    }


def _unlike_capacities(evidence: Mapping[str, Evidence]) -> dict[str, str]:
    known = {label: each.capacity_ah for label, each in evidence.items() if each.capacity_ah is not None}
    if len(known) < 2:
        return {}
    usual = float(np.median(list(known.values())))
    advice = (
        "correct the unit or the SOC of this file (data.units.current, data.units.time, data.units.soc), leave it "
        f"out with data.on_bad_file=skip, {_ACCEPT}"
    )
    return {
        label: f"{label}: current and SOC imply {capacity:.4g} Ah, those of most recordings {usual:.4g} Ah; {advice}"
        for label, capacity in known.items()
        if abs(capacity - usual) > ALIKE_CAPACITY * abs(usual)
    }


def _most_common(intervals: list[float]) -> float:
    """Return the interval that most recordings have; the median may lie between two that none has."""
    values = np.asarray(intervals)
    alike, counts = np.unique(np.round(np.log(values) / np.log1p(ALIKE_INTERVAL)), return_counts=True)
    group = alike[int(np.argmax(counts))]
    return float(np.median(values[np.round(np.log(values) / np.log1p(ALIKE_INTERVAL)) == group]))
