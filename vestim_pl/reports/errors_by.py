"""Pool test errors over steps of like temperature, state of charge, current or C-rate."""

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from vestim_pl.reports.error_autocorrelation import error_autocorrelation

__all__ = ["CONDITIONS", "MINUS", "errors_by", "implied_capacity", "interval_coverage"]

CONDITIONS: Mapping[str, str] = {
    "temperature": "°C",
    "soc": "%",
    "current": "A",
    "c_rate": "C",
    "outside": "",
}
"""Quantities by which errors are pooled, with the unit of their bands."""

MINUS = "\N{MINUS SIGN}"
_C_RATES = (0.0, 0.05, 0.2, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0, np.inf)
_MOST_BANDS = 8
_REST = 0.05  # of a band of current: below that the cell rests
_LEAST_SWING = 0.1  # of the SOC, from which a recording tells a capacity
_COLUMNS = (
    "by", "group", "low", "high", "recordings", "steps", "rmse_mv", "mae_mv", "max_error_mv", "mean_mv", "p5_mv",
    "p95_mv",
)  # fmt: skip


def errors_by(steps: pd.DataFrame, capacity_ah: float | None = None) -> pd.DataFrame:
    """Pool the errors of single steps by condition, and correlate the error with itself over time.

    Each step counts the same. A band without a step has no row. A non-finite error makes the figures of its band NaN.

    Args:
        steps: Columns ``recording``, ``time`` [s], ``measured`` and ``estimated`` [V]; optional ``temperature`` [degC],
            ``soc`` [0 to 1], ``current`` [A], ``outside`` (of the training range), ``lower_v`` and ``upper_v`` [V],
            ``checkpoint``.
        capacity_ah: Rated capacity for the C-rate; by default what SOC and current imply.

    Returns:
        Columns ``by`` (``temperature``, ``soc``, ``current``, ``c_rate``, ``outside`` or ``lag``), ``group`` (name of
        the band), ``low`` and ``high`` (its limits, upper one excluded), ``recordings``, ``steps``, ``rmse_mv``,
        ``mae_mv``, ``max_error_mv``, ``mean_mv`` (estimated minus measured), ``p5_mv`` and ``p95_mv`` (quantiles),
        ``coverage`` (share of steps within the interval; only where there is one) and ``autocorrelation`` (only in
        the rows of a ``lag``, in s). The first column is ``checkpoint`` where the steps have one.

    Example::

        >>> steps = pd.DataFrame({"recording": "a", "time": [0.0, 1.0], "measured": 3.7, "estimated": [3.703, 3.696],
        ...     "temperature": [19.0, 21.0]})
        >>> errors_by(steps)[["by", "group", "rmse_mv"]].dropna().round(1).to_dict("records")
        [{'by': 'temperature', 'group': '10 to 20 °C', 'rmse_mv': 3.0},
         {'by': 'temperature', 'group': '20 to 30 °C', 'rmse_mv': 4.0}]

    """
    if "checkpoint" in steps:
        tables = []
        for name, part in steps.groupby("checkpoint", sort=False, observed=True):
            tables.append(errors_by(part.drop(columns="checkpoint"), capacity_ah))
            tables[-1].insert(0, "checkpoint", str(name))
        return pd.concat(tables, ignore_index=True)
    conditions = _conditions(steps, implied_capacity(steps) if capacity_ah is None else capacity_ah)
    error = 1000.0 * (steps["estimated"].astype(np.float64) - steps["measured"].astype(np.float64))
    frame = pd.DataFrame({"recording": steps["recording"], "error": error})
    if {"lower_v", "upper_v"} <= set(steps) and steps["lower_v"].notna().any():  # another checkpoint may have them
        frame["covered"] = steps["measured"].between(steps["lower_v"], steps["upper_v"])
    rows = [
        {"by": by, "group": _name(low, high, by), "low": low, "high": high, **_pool(part)}
        for by, (values, edges) in conditions.items()
        for (low, high), part in _in_bands(frame, values, edges)
    ]
    lags = error_autocorrelation(steps).rename(columns={"lag": "low", "pairs": "steps"})
    lags = lags.assign(by="lag", group=[f"{lag:g} s" for lag in lags["low"]], high=lags["low"])
    names = [*_COLUMNS, *(["coverage"] if "covered" in frame else []), "autocorrelation"]
    pooled = pd.DataFrame(rows, columns=pd.Index(names))
    return pd.concat([pooled, lags], ignore_index=True)[names] if len(lags) else pooled


def interval_coverage(steps: pd.DataFrame) -> dict[str, float]:
    """Compute the share of steps whose measured voltage is within the interval, by checkpoint.

    Args:
        steps: As for `errors_by`.

    Returns:
        Share from 0 to 1 by name of the checkpoint, an empty name for a single one;
        those without intervals are left out.

    Example::

        >>> steps = pd.DataFrame({"measured": [3.7, 3.8], "lower_v": 3.65, "upper_v": 3.75})
        >>> interval_coverage(steps)
        {'': 0.5}

    """
    if not {"lower_v", "upper_v"} <= set(steps):
        return {}
    known = steps[steps["lower_v"].notna() & steps["upper_v"].notna()]
    within = known["measured"].between(known["lower_v"], known["upper_v"])
    names = known["checkpoint"].astype(str) if "checkpoint" in known else pd.Series("", known.index)
    return {str(name): float(share) for name, share in within.groupby(names, sort=False).mean().items()}


def implied_capacity(steps: pd.DataFrame) -> float | None:
    """Return the capacity in Ah by which the SOC follows from the current; None if they do not say.

    It is the median over recordings whose SOC changes by 10 % or more: charge passed over change of the SOC.

    Example::

        >>> hour = pd.DataFrame({"recording": "a", "time": [0.0, 3600.0], "current": -1.5, "soc": [0.9, 0.4]})
        >>> implied_capacity(hour)
        3.0

    """
    if not {"soc", "current"} <= set(steps) or steps.empty:
        return None
    if "checkpoint" in steps:  # all have the same recordings
        steps = steps[steps["checkpoint"] == steps["checkpoint"].iloc[0]]
    found = []
    for _, part in steps.groupby("recording", sort=False, observed=True):
        time, current, soc = (part[name].to_numpy(np.float64) for name in ("time", "current", "soc"))
        swing = soc[-1] - soc[0]
        if abs(swing) >= _LEAST_SWING:
            charge_as = float(np.diff(time) @ (current[1:] + current[:-1])) / 2.0
            found.append(charge_as / 3600.0 / swing)
    capacity = float(np.median(found)) if found else 0.0
    return capacity if np.isfinite(capacity) and capacity > 0 else None


def _conditions(
    steps: pd.DataFrame, capacity_ah: float | None
) -> dict[str, tuple[NDArray[np.float64], Sequence[float]]]:
    """Values of every step and edges of the bands, for each condition that the steps know."""
    found: dict[str, tuple[NDArray[np.float64], Sequence[float]]] = {}
    edges: dict[str, Callable[[NDArray[np.float64]], Sequence[float]]] = {
        "temperature": _tens,
        "soc": lambda _: [-np.inf, *(tenth / 10 for tenth in range(1, 10)), np.inf],
        "current": _around_rest,
        "outside": lambda _: (-np.inf, 0.5, np.inf),
    }
    for by, choose in edges.items():
        values = steps[by].to_numpy(np.float64) if by in steps else np.empty(0)
        if np.isfinite(values).any():
            found[by] = values, choose(values[np.isfinite(values)])
    if capacity_ah and "current" in found:
        found["c_rate"] = np.abs(found["current"][0]) / capacity_ah, _C_RATES
    return found


def _tens(values: NDArray[np.float64]) -> list[float]:
    first, last = np.floor(values.min() / 10.0), np.floor(values.max() / 10.0) + 1.0
    return [10.0 * ten for ten in np.arange(first, last + 1.0)]


def _around_rest(values: NDArray[np.float64]) -> list[float]:
    """Edges in round steps, with one narrow band around zero."""
    low, high = min(float(values.min()), 0.0), max(float(values.max()), 0.0)
    if low == high:
        return [-np.inf, np.inf]
    step = _round_up((high - low) / _MOST_BANDS)
    rest = _REST * step
    below = [step * place for place in range(int(np.floor(low / step)), 0)] if low < -rest else []
    above = [step * place for place in range(1, int(np.floor(high / step)) + 2)] if high >= rest else []
    return [*below, -rest, rest, *above]


def _round_up(width: float) -> float:
    """Return the next 1, 2 or 5 times a power of ten."""
    power = 10.0 ** np.floor(np.log10(width))
    return float(next(factor for factor in (1, 2, 5, 10) if factor * power >= width * (1 - 1e-9)) * power)


def _in_bands(
    frame: pd.DataFrame, values: NDArray[np.float64], edges: Sequence[float]
) -> list[tuple[tuple[float, float], pd.DataFrame]]:
    place = np.where(np.isfinite(values), np.digitize(values, edges), 0)
    parts = {int(band): part for band, part in frame.groupby(place)}  # type: ignore[call-overload]
    bands = enumerate(pairwise(edges), start=1)
    return [(limits, parts[band]) for band, limits in bands if band in parts]


def _name(low: float, high: float, by: str) -> str:
    """Name a band: '0 to 10 °C', 'below 10 %', 'rest (0 to 0.05 C)'; a hyphen would start a formula in a sheet."""
    scale, unit = (100.0, CONDITIONS[by]) if by == "soc" else (1.0, CONDITIONS[by])
    least, most = (f"{scale * limit:g}".replace("-", MINUS) for limit in (low, high))
    if by == "outside":
        return "outside" if low > 0 else "inside"
    if np.isinf(low) and np.isinf(high):
        return "all"
    if np.isinf(low):
        return f"below {most} {unit}"
    if np.isinf(high):
        return f"from {least} {unit}"
    name = f"{least} to {most} {unit}"
    return f"rest ({name})" if (by == "current" and low == -high) or (by == "c_rate" and low == 0) else name


def _pool(part: pd.DataFrame) -> dict[str, float]:
    error = part["error"].to_numpy()
    low, high = np.quantile(error, (0.05, 0.95)) if np.isfinite(error).all() else (np.nan, np.nan)
    return {
        "recordings": part["recording"].nunique(),
        "steps": len(part),
        "rmse_mv": float(np.sqrt(np.mean(error**2))),
        "mae_mv": float(np.mean(np.abs(error))),
        "max_error_mv": float(np.max(np.abs(error))),
        "mean_mv": float(np.mean(error)),
        "p5_mv": float(low),
        "p95_mv": float(high),
        **({"coverage": float(part["covered"].mean())} if "covered" in part else {}),
    }
