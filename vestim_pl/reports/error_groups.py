"""Pool test errors over recordings of the same ambient temperature or drive cycle."""

import re

import numpy as np
import pandas as pd

__all__ = ["ambient_temperature", "by_temperature", "cycle_by_temperature", "split_name"]

# "_n10degC" and "_-10degC" are below zero; "_10degC" and "-10degC" (the hyphen is a separator) are above
_AMBIENT = re.compile(
    r"^(?P<cycle>.*?)(?:(?:^|[ _-])(?P<sign>n|m|(?<=[ _])-)|[ _-])?(?P<degrees>\d+(?:\.\d+)?)degc$", re.IGNORECASE
)
_SUFFIX = re.compile(r"\.(parquet|csv)$", re.IGNORECASE)


def split_name(recording: str) -> tuple[str, float | None]:
    """Split the name of a recording into drive cycle and ambient temperature in degC, None if it has none.

    Example::

        >>> split_name("lg-hg2_udds_n10degC")
        ('lg-hg2_udds', -10.0)
        >>> split_name("test/urban_25degC.parquet"), split_name("monday")
        (('test/urban', 25.0), ('monday', None))

    """
    bare = _SUFFIX.sub("", recording)
    match = _AMBIENT.match(bare)
    if match is None:
        return recording, None
    return match["cycle"], float(match["degrees"]) * (-1.0 if match["sign"] else 1.0)


def ambient_temperature(recording: str) -> float | None:
    """Return the ambient temperature in degC at the end of a recording's name."""
    return split_name(recording)[1]


def by_temperature(errors: pd.DataFrame) -> pd.DataFrame:
    """Pool errors by ambient temperature, coldest first; empty if no name has one.

    Every step has the same weight: the pooled RMSE is that of all steps at a temperature, not the mean of RMSEs.

    Args:
        errors: Columns ``recording``, ``steps``, ``rmse_mv``, ``mae_mv``, ``max_error_mv``; ``overall`` is ignored.

    Returns:
        Columns ``temperature`` [degC], ``recordings``, ``steps``, ``rmse_mv``, ``mae_mv``, ``max_error_mv``.

    """
    rows = _named(errors)
    groups = [{"temperature": degrees, **_pool(group)} for degrees, group in rows.groupby("temperature", sort=True)]
    names = ["temperature", "recordings", "steps", "rmse_mv", "mae_mv", "max_error_mv"]
    return pd.DataFrame(groups, columns=pd.Index(names))


def cycle_by_temperature(errors: pd.DataFrame) -> pd.DataFrame:
    """Tabulate the RMSE in mV, drive cycles in rows, ambient temperatures in columns; NaN without a recording."""
    rows = _named(errors)
    pooled = [
        {"cycle": cycle, "temperature": degrees, "rmse_mv": _pool(group)["rmse_mv"]}
        for (cycle, degrees), group in rows.groupby(["cycle", "temperature"], sort=True)
    ]
    frame = pd.DataFrame(pooled, columns=pd.Index(["cycle", "temperature", "rmse_mv"]))
    return frame.pivot(index="cycle", columns="temperature", values="rmse_mv")


def _named(errors: pd.DataFrame) -> pd.DataFrame:
    rows = errors[errors["recording"] != "overall"]
    split = [split_name(str(name)) for name in rows["recording"]]
    named = rows.assign(
        cycle=[cycle for cycle, _ in split], temperature=pd.Series([t for _, t in split], rows.index, float)
    )
    return named[named["temperature"].notna()]


def _pool(group: pd.DataFrame) -> dict[str, float]:
    steps = group["steps"].to_numpy(dtype=np.float64)
    return {
        "recordings": len(group),
        "steps": int(steps.sum()),
        "rmse_mv": float(np.sqrt(np.sum(steps * group["rmse_mv"].to_numpy() ** 2) / steps.sum())),
        "mae_mv": float(np.sum(steps * group["mae_mv"].to_numpy()) / steps.sum()),
        "max_error_mv": float(np.max(group["max_error_mv"].to_numpy())),
    }
