"""Pack the traces of every tested recording into a report, so that a browser can draw any of them.

Rows stay as they are up to `ROWS_OF_ONE` a recording and `BYTES_OF_ALL` together. Of more, each bucket of rows keeps
those with the lowest and the highest voltage and error, and the worst minute stays whole.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from vestim_pl.reports.figures import plain
from vestim_pl.reports.page import compressed
from vestim_pl.reports.worst_minute import worst_minute

__all__ = ["BYTES_OF_ALL", "ROWS_OF_ONE", "measured_traces", "outside_spans", "pack", "recording_traces", "thinned"]

ROWS_OF_ONE = 20_000
"""Rows of a recording that are drawn; a browser stays quick with these."""
BYTES_OF_ALL = 2_600_000
"""Bytes of all traces in a report, which then stays below 4 MB."""

_FEATURES = {"current": 1e-3, "temperature": 1e-2, "soc": 1e-4}
"""Features drawn, with their resolution: a finer one would only store noise."""
_VOLTS, _MILLIVOLTS, _SECONDS = 5e-5, 0.02, 1e-3
_RESOLUTION = {
    "time": _SECONDS, "measured": _VOLTS, "error": _MILLIVOLTS, "below": _MILLIVOLTS, "above": _MILLIVOLTS,
    **_FEATURES,
}  # fmt: skip
_MISSING = 0xFFFF
_MOST_SPANS = 200


@dataclass(frozen=True)
class _Recording:
    """Aligned series of a recording: time, measured, features, and of each checkpoint error, below and above."""

    name: str
    series: dict[str, NDArray[np.float64]]
    outside: NDArray[np.bool_]


def recording_traces(
    steps: pd.DataFrame, order: Sequence[str], bytes_of_all: int = BYTES_OF_ALL, rows_of_one: int = ROWS_OF_ONE
) -> dict[str, Any] | None:
    """Pack the traces of all recordings as `assets/recordings.js` reads them; None without any.

    Args:
        steps: Columns ``recording``, ``time`` [s], ``measured`` and ``estimated`` [V]; optional ``current`` [A],
            ``temperature`` [degC], ``soc``, ``lower_v`` and ``upper_v`` [V], ``outside`` and ``checkpoint``.
        order: Names of the recordings in the order in which they are offered.
        bytes_of_all: Most bytes of all traces together.
        rows_of_one: Most rows of a recording.

    """
    checkpoints = list(map(str, steps["checkpoint"].unique())) if "checkpoint" in steps else []
    groups = dict(iter(steps.groupby("recording", sort=False, observed=True)))
    found = [_recording(name, groups[name], checkpoints) for name in order if name in groups]
    if not found:
        return None
    packed = [_packed(recording, rows_of_one) for recording in found]
    share = 1.0
    while (size := sum(len(each["data"]) for each in packed)) > bytes_of_all and share > 1e-3:
        share *= min(0.9, 0.95 * bytes_of_all / size)
        most = [max(200, int(share * min(rows_of_one, len(each.outside)))) for each in found]
        packed = [_packed(recording, rows) for recording, rows in zip(found, most, strict=True)]
    return {"checkpoints": [plain(name) for name in checkpoints], "recordings": packed}


def measured_traces(name: str, columns: Mapping[str, NDArray[Any]], rows: int = ROWS_OF_ONE) -> dict[str, Any]:
    """Pack the measured traces of one recording, for a page without estimates.

    Args:
        name: Name of the recording.
        columns: ``time`` [s] and ``voltage`` [V]; optional ``current`` [A], ``temperature`` [degC] and ``soc``.
        rows: Most rows that are drawn.

    """
    time = np.asarray(columns["time"], np.float64)
    series = {"time": time, "measured": np.asarray(columns["voltage"], np.float64)}
    series |= {feature: np.asarray(columns[feature], np.float64) for feature in _FEATURES if feature in columns}
    signals = [series["measured"], *([series["current"]] if "current" in series else [])]
    kept = thinned(signals, rows, slice(0, 0))
    return {
        "name": name,
        "rows": len(time),
        "kept": len(kept),
        **_time_unit(time),
        "worst": None,
        "outside": [],
        "outside_rows": 0,
        **pack({each: values[kept] for each, values in series.items()}, _RESOLUTION),
    }


def outside_spans(time: NDArray[np.float64], outside: NDArray[np.bool_]) -> list[tuple[float, float]]:
    """Join rows outside the training range to spans of time; short gaps between them close if there are many.

    Example::

        >>> outside_spans(np.arange(5.0), np.array([False, True, True, False, True]))
        [(1.0, 2.0), (4.0, 4.0)]

    """
    edges = np.flatnonzero(np.diff(np.concatenate([[False], outside, [False]]).astype(np.int8)))
    spans = [(float(time[start]), float(time[end - 1])) for start, end in edges.reshape(-1, 2)]
    while len(spans) > _MOST_SPANS:
        gaps = np.array([later[0] - earlier[1] for earlier, later in pairwise(spans)])
        limit = float(np.median(gaps))
        joined = [spans[0]]
        for gap, span in zip(gaps, spans[1:], strict=True):
            if gap <= limit:
                joined[-1] = (joined[-1][0], span[1])
            else:
                joined.append(span)
        spans = joined
    return spans


def thinned(signals: Sequence[NDArray[np.float64]], most: int, keep: slice) -> NDArray[np.int64]:
    """Choose rows so that each signal keeps its lowest and highest value in each bucket of rows.

    Args:
        signals: Series of the same length n.
        most: Number of rows wanted, without those of ``keep``.
        keep: Rows that all stay.

    Returns:
        Increasing rows; all n of them if those are no more than wanted.

    Example::

        >>> signal = np.array([0.0, 5, 1, 1, 2, 2, 9, 3])
        >>> thinned([signal], 4, slice(3, 5)).tolist()
        [0, 1, 3, 4, 6, 7]

    """
    rows = len(signals[0])
    if rows <= most:
        return np.arange(rows)
    width = int(np.ceil(rows / max(1, most // (2 * len(signals)))))
    buckets = int(np.ceil(rows / width))
    starts = width * np.arange(buckets)
    chosen = [np.array([0, rows - 1]), np.arange(rows)[keep]]
    for signal in signals:
        for sign in (1.0, -1.0):
            padded = np.full(buckets * width, np.inf)
            padded[:rows] = np.where(np.isfinite(signal), sign * signal, np.inf)
            chosen.append(np.minimum(starts + padded.reshape(buckets, width).argmin(axis=1), rows - 1))
    return np.unique(np.concatenate(chosen))


def pack(series: Mapping[str, NDArray[np.float64]], resolution: Mapping[str, float]) -> dict[str, Any]:
    """Quantise series to 16 bits (time to 32), difference and compress them.

    Half-precision floats resolve 2 to 4 mV at 3 V. Steps of a 65534th of the range, or of the resolution if that is
    coarser, resolve 0.05 mV. Differences compress better than values.

    Args:
        series: Equally long series; non-finite values are kept as missing.
        resolution: Smallest step of each that is worth storing.

    Returns:
        ``columns``: name, lowest value, step and bytes of each; ``data``: their bytes, all lowest bytes first.

    """
    columns, planes = [], []
    for name, values in series.items():
        size = 4 if name == "time" else 2
        finite = values[np.isfinite(values)]
        low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 0.0)
        step = max(resolution[name.partition(".")[0]], (high - low) / (_MISSING - 1 if size == 2 else 2.0**31))
        places = np.where(np.isfinite(values), np.rint((values - low) / step), _MISSING).astype(np.int64)
        changes = np.diff(places, prepend=0).astype(f"<u{size}")
        planes.append(changes.view(np.uint8).reshape(-1, size).T.tobytes())
        columns.append({"name": name, "low": low, "step": step, "bytes": size})
    return {"columns": columns, "data": compressed(b"".join(planes))}


def _recording(name: str, steps: pd.DataFrame, checkpoints: Sequence[str]) -> _Recording:
    parts = [steps]
    if checkpoints:
        by_name = dict(iter(steps.groupby("checkpoint", observed=True)))
        empty = steps.iloc[:0]
        whole = steps.drop_duplicates("time").sort_values("time")
        parts = [_aligned(by_name.get(each, empty), whole["time"]) for each in checkpoints]
        steps = whole
    series = {"time": _floats(steps, "time"), "measured": _floats(steps, "measured")}
    series |= {feature: _floats(steps, feature) for feature in _FEATURES if feature in steps}
    for place, part in enumerate(parts):
        estimated = _floats(part, "estimated")
        series[f"error.{place}"] = 1000.0 * (estimated - series["measured"])
        if {"lower_v", "upper_v"} <= set(part) and part["lower_v"].notna().any():
            series[f"below.{place}"] = 1000.0 * (estimated - _floats(part, "lower_v"))
            series[f"above.{place}"] = 1000.0 * (_floats(part, "upper_v") - estimated)
    outside = steps["outside"].fillna(False).to_numpy(bool) if "outside" in steps else np.zeros(len(steps), bool)
    return _Recording(name, series, outside)


def _aligned(steps: pd.DataFrame, time: pd.Series) -> pd.DataFrame:
    return steps.drop_duplicates("time").set_index("time").reindex(time).reset_index()


def _floats(steps: pd.DataFrame, name: str) -> NDArray[np.float64]:
    return steps[name].to_numpy(np.float64)


def _packed(recording: _Recording, most: int) -> dict[str, Any]:
    series, time = recording.series, recording.series["time"]
    errors = {name: values for name, values in series.items() if name.startswith("error.")}
    minutes = [worst_minute(time[known], error[known]) for error, known in _scored(errors)]
    worst = max(minutes, key=lambda minute: np.inf if np.isnan(minute.rmse_mv) else minute.rmse_mv)
    whole = slice(*np.searchsorted(time, (worst.start - 30.0, worst.end + 30.0)))
    rows = thinned([series["measured"], *errors.values()], most, whole)
    return {
        "name": recording.name,
        "rows": len(time),
        "kept": len(rows),
        **_time_unit(time),
        "worst": {"start": worst.start, "end": worst.end, "rmse": _known(worst.rmse_mv)},
        "outside": outside_spans(time, recording.outside),
        "outside_rows": int(recording.outside.sum()),
        **pack({name: values[rows] for name, values in series.items()}, _RESOLUTION),
    }


def _time_unit(time: NDArray[np.float64]) -> dict[str, Any]:
    """Unit of the axis, and its seconds."""
    duration = time[-1] - time[0]
    if duration <= 300:
        return {"unit": "s", "seconds": 1.0}
    return {"unit": "h", "seconds": 3600.0} if duration > 4 * 3600 else {"unit": "min", "seconds": 60.0}


def _scored(errors: Mapping[str, NDArray[np.float64]]) -> list[tuple[NDArray[np.float64], NDArray[np.bool_]]]:
    """Errors of each checkpoint, and the rows that it scored; with one checkpoint those are all."""
    if len(errors) == 1:
        return [(error, np.ones(len(error), bool)) for error in errors.values()]
    return [(error, np.isfinite(error)) for error in errors.values() if np.isfinite(error).any()]


def _known(value: float) -> float | None:
    return round(value, 3) if np.isfinite(value) else None
