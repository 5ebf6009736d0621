"""Tabulate the jobs of a multirun, including failed and diverged ones."""

import math
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd

from vestim_pl.reports.run_duration import run_seconds
from vestim_pl.reports.run_folder import RunFolder
from vestim_pl.reports.run_status import best_validation, run_status

__all__ = ["short_names", "sweep_table", "swept_keys"]


def sweep_table(folder: Path) -> pd.DataFrame:
    """Tabulate overrides and results of every job of a multirun, best validation first.

    Args:
        folder: Folder of the multirun, with a folder for each job.

    Returns:
        Columns: ``job`` (its folder), one for every override that differs between jobs, ``state`` (how it ended),
        ``val_rmse_mv`` (best validation) and ``test_rmse_mv`` (NaN if missing), ``epochs``, ``skips``,
        ``rollbacks``, ``seconds`` (NaN if unknown) and ``reason`` (why it ended). ``attrs["swept"]`` names the
        overrides.

    Raises:
        NotADirectoryError: If there is no such folder.

    """
    if not folder.is_dir():
        raise NotADirectoryError(
            f"{folder} is not a folder; give the folder of a multirun, such as multirun/<date>/<time>"
        )
    runs = [RunFolder.read(path) for path in sorted(folder.iterdir(), key=_in_order) if (path / ".hydra").is_dir()]
    given = [dict(item.split("=", 1) for item in run.overrides if "=" in item) for run in runs]
    keys = swept_keys(given)
    rows = [
        {"job": run.path.name, **{key: each.get(key, "") for key in keys}, **_outcome(run)}
        for run, each in zip(runs, given, strict=True)
    ]
    table = pd.DataFrame(rows).sort_values("val_rmse_mv", kind="stable", ignore_index=True) if rows else pd.DataFrame()
    table.attrs["swept"] = keys
    return table


def swept_keys(given: list[dict[str, str]]) -> list[str]:
    """Find the overrides that differ between jobs, in the order of their first appearance.

    Args:
        given: Overrides of every job, by key.

    Example::

        >>> swept_keys([{"lr": "1", "seed": "0"}, {"lr": "2", "seed": "0"}])
        ['lr']

    """
    keys = dict.fromkeys(key for each in given for key in each)
    return [key for key in keys if len({each.get(key) for each in given}) > 1]


def short_names(keys: list[str]) -> list[str]:
    """Shorten each key to its last part if no other key ends the same.

    Example::

        >>> short_names(["optimizer.lr", "optimizer.name", "network.name"])
        ['lr', 'optimizer.name', 'network.name']

    """
    last = [key.rpartition(".")[2] for key in keys]
    return [name if last.count(name) == 1 else key for key, name in zip(keys, last, strict=True)]


def _outcome(run: RunFolder) -> dict[str, Any]:
    status, best, spent = run_status(run), best_validation(run.metrics), run_seconds(run)
    kinds = Counter(str(event["kind"]) for event in run.events)
    overall = run.errors[run.errors["recording"] == "overall"] if run.errors is not None else pd.DataFrame()
    return {
        "state": status.state.value,
        "val_rmse_mv": best[0] if best else math.nan,
        "test_rmse_mv": float(overall["rmse_mv"].iloc[-1]) if len(overall) else math.nan,
        "epochs": run.epochs,
        "skips": kinds["skip"],
        "rollbacks": kinds["rollback"],
        "seconds": spent[1] if spent else math.nan,
        "reason": status.reason,
    }


def _in_order(path: Path) -> list[Any]:
    """Sort key that puts job 10 after job 9."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", path.name)]
