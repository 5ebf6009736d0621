"""Read every logged number of a run from Lightning's CSV files."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

__all__ = ["EpochAxis", "curve", "find_key", "metric_files", "read_metrics"]

_COLUMNS = ("key", "epoch", "step", "value")
_NUMBER = re.compile(r"metrics\.(\d+)\.csv$")


def metric_files(run_dir: Path) -> list[Path]:
    """List the CSV files of a run, oldest first: ``metrics.1.csv``, ``metrics.2.csv``, ..., ``metrics.csv``."""
    earlier = [path for path in run_dir.glob("metrics.*.csv") if _NUMBER.search(path.name)]
    ordered = sorted(earlier, key=lambda path: int(_NUMBER.findall(path.name)[0]))
    last = run_dir / "metrics.csv"
    return [*ordered, last] if last.is_file() else ordered


def read_metrics(files: list[Path]) -> pd.DataFrame:
    """Read every logged number as a row, with the parts of a resumed run joined.

    In Lightning's file a cell is empty if the key was not logged, and ``nan`` if the number was NaN. A plain
    ``read_csv`` does not distinguish them; here empty cells are dropped and NaN is kept. If a part resumed from an
    earlier step than the previous part had reached, the later part counts.

    Args:
        files: From `metric_files`.

    Returns:
        Columns ``key``, ``epoch`` (NaN where not logged), ``step`` and ``value``, in the order of the files.

    """
    joined = pd.DataFrame({name: pd.Series(dtype="object" if name == "key" else "float64") for name in _COLUMNS})
    for path in files:
        part = _long(path)
        if part.empty:
            continue
        begins = joined["key"].map(part.groupby("key")["step"].min()).fillna(np.inf).astype("float64")
        kept = joined[joined["step"] < begins]
        joined = part if kept.empty else pd.concat([kept, part], ignore_index=True)
    return joined


def _long(path: Path) -> pd.DataFrame:
    try:
        wide = pd.read_csv(path, dtype=str, keep_default_na=False, on_bad_lines="skip")
    except pd.errors.EmptyDataError:
        wide = pd.DataFrame()
    for name in ("epoch", "step"):
        if name not in wide:
            wide[name] = ""
    long = wide.melt(id_vars=["epoch", "step"], var_name="key", ignore_index=False).sort_index(kind="stable")
    long = long[(long["value"].fillna("") != "") & (long["step"].fillna("") != "")]
    numbers = {name: pd.to_numeric(long[name], errors="coerce").astype("float64") for name in ("epoch", "step")}
    value = long["value"].map(_number).astype("float64")
    return pd.DataFrame({"key": long["key"].astype("object"), **numbers, "value": value}).reset_index(drop=True)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")


def find_key(metrics: pd.DataFrame, *patterns: str) -> str | None:
    r"""Find the first logged key that matches a regular expression, in the order of the patterns.

    Example::

        >>> find_key(pd.DataFrame({"key": ["val/rmse_mv", "lr-Adam"]}), r"learning_rate", r"lr\b.*")
        'lr-Adam'

    """
    keys = [str(key) for key in dict.fromkeys(metrics["key"])]
    for pattern in patterns:
        for key in keys:
            if re.fullmatch(pattern, key):
                return key
    return None


@dataclass(frozen=True)
class EpochAxis:
    """Place steps on an axis of epochs; values logged at the end of epoch 3 are at 3.

    Epochs are numbered from 0 as in Lightning's files, so epoch 0 extends from -1 to 0, and a cause is left of its
    effect.

    Attributes:
        steps: Optimizer steps at which an epoch ended, increasing.
        epochs: The epochs.

    Example::

        >>> axis = EpochAxis(np.array([0.0, 10.0, 20.0]), np.array([-1.0, 0.0, 1.0]))
        >>> axis.at(np.array([5.0, 20.0, 30.0])).tolist()
        [-0.5, 1.0, 2.0]

    """

    steps: NDArray[np.float64]
    epochs: NDArray[np.float64]

    @classmethod
    def of(cls, metrics: pd.DataFrame) -> "EpochAxis":
        """Build the axis of a run's metrics; the last epoch may be incomplete."""
        fit = metrics[~metrics["key"].str.startswith("test/") & metrics["epoch"].notna()]
        ends = fit.groupby("epoch")["step"].max() + 1.0
        ends = ends[ends > ends.shift(fill_value=0.0).cummax()]
        steps, epochs = [0.0, *ends.to_numpy()], [-1.0, *ends.index.to_numpy(dtype=np.float64)]
        if len(steps) > 2:
            lengths = np.diff(steps) / np.diff(epochs)
            usual = float(np.median(lengths[:-1]))
            if lengths[-1] < usual:
                epochs[-1] = epochs[-2] + (steps[-1] - steps[-2]) / usual
        if len(steps) == 1:
            steps, epochs = [0.0, 1.0], [-1.0, -1.0 + 1e-3]
        return cls(np.asarray(steps), np.asarray(epochs))

    def at(self, steps: Any) -> NDArray[np.float64]:
        """Return the epochs at numbers of steps; extrapolate after the last known epoch."""
        steps = np.asarray(steps, dtype=np.float64)
        slope = (self.epochs[-1] - self.epochs[-2]) / (self.steps[-1] - self.steps[-2])
        inside = np.interp(steps, self.steps, self.epochs)
        return np.asarray(inside + slope * np.maximum(steps - self.steps[-1], 0.0))


def curve(metrics: pd.DataFrame, key: str | None, axis: EpochAxis) -> pd.DataFrame:
    """Return the values of one key with their position on the axis: columns ``x``, ``epoch``, ``step``, ``value``."""
    rows = metrics[metrics["key"] == key].reset_index(drop=True)
    return pd.DataFrame({"x": axis.at(rows["step"] + 1.0), **{name: rows[name] for name in _COLUMNS[1:]}})
