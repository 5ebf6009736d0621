"""Small made-up recordings for the tests of data."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from vestim_pl.data import RecordingTable


def made_up(rows: int, seed: int = 0) -> pd.DataFrame:
    """Recording whose values contain seed and row, so a test can see where a batch comes from."""
    row = np.arange(rows)
    return pd.DataFrame(
        {
            "Time": row.astype(float),
            "Current": -1.0 - seed - row / 1000,
            "Voltage": 3.0 + seed / 10 + row / 10000,
            "Temp": 25.0 + seed,
            "SOC": 1.0 - row / 10000,
        }
    )


@pytest.fixture
def recording() -> Callable[..., pd.DataFrame]:
    return made_up


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Folder with three training, one validation and two test recordings."""
    root = tmp_path / "measured"
    lengths = {"train": {"a": 40, "b": 33, "c": 21}, "val": {"d": 37}, "test": {"e": 30, "f": 44}}
    seed = 0
    for split, recordings in lengths.items():
        (root / split).mkdir(parents=True)
        for name, rows in recordings.items():
            seed += 1
            made_up(rows, seed).to_parquet(root / split / f"{name}.parquet")
    return root


@pytest.fixture
def table() -> Callable[..., RecordingTable]:
    """Makes a table whose first feature and voltage are the row's number in the table."""
    import torch

    def make(*lengths: int, features: int = 2) -> RecordingTable:
        total = int(sum(lengths))
        rows = torch.arange(total, dtype=torch.float32)
        inputs = torch.stack([rows * (feature + 1) for feature in range(features)], dim=1)
        return RecordingTable.of(
            [f"r{index}" for index in range(len(lengths))],
            list(torch.split(inputs, list(lengths))),
            list(torch.split(rows, list(lengths))),
        )

    return make
