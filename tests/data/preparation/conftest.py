"""Recordings of a made-up cell, whose voltage, SOC and current belong together."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from vestim_pl.data.preparation.table import StandardTable

CAPACITY, OHMS = 3.0, 0.03


def cell(rows: int = 900, seed: int = 0, interval: float = 1.0) -> pd.DataFrame:
    """Drive of a 3 Ah cell in the names of the files."""
    random = np.random.default_rng(seed)
    current = np.repeat(random.normal(-3.0, 4.0, size=rows // 5 + 1), 5)[:rows]
    current[:5] = 0.0
    charge = np.concatenate([[0.0], np.cumsum((current[1:] + current[:-1]) / 2 * interval / 3600)])
    soc = 0.9 + charge / CAPACITY
    return pd.DataFrame(
        {
            "Time": np.arange(rows) * interval,
            "Current": current,
            "Voltage": 3.2 + 0.9 * soc + OHMS * current,
            "Temp": 25.0 + 0.001 * np.arange(rows),
            "SOC": soc,
        }
    )


@pytest.fixture
def drive() -> Callable[..., pd.DataFrame]:
    return cell


@pytest.fixture
def table() -> Callable[..., StandardTable]:
    """Makes a table of columns given as lists."""

    def make(starts: tuple[int, ...] = (0,), **columns: object) -> StandardTable:
        arrays = {name: np.asarray(values) for name, values in columns.items()}
        length = max(len(values) for values in arrays.values())
        arrays.setdefault("time", np.arange(length, dtype=np.float64))
        return StandardTable(arrays, starts, np.arange(length))

    return make
