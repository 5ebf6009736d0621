"""Simulate what a tester makes of the true signals: charge counting, sensor noise, resolution, and the file.

Noise and resolution are those of a laboratory cycler: measured drive cycles of a comparable cell show steps of 2.5 mA,
0.2 mV and 0.1 degC, and voltage noise of a few tenths of a millivolt at rest.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

__all__ = ["COLUMNS", "NOISE", "RESOLUTION", "count_charge", "quantise", "record", "write_recording"]

Array = NDArray[np.float64]

COLUMNS = ("Time", "Current", "Voltage", "Temp", "SOC")
NOISE = {"Current": 0.003, "Voltage": 0.0004, "Temp": 0.03}  # standard deviations in A, V, degC
RESOLUTION = {"Current": 0.0025, "Voltage": 0.0002, "Temp": 0.1, "SOC": 0.00002}


def quantise(values: Array, step: float) -> Array:
    """Round to the resolution of a converter.

    Example:
        >>> quantise(np.array([3.70011]), 0.0002).round(4).tolist()
        [3.7002]
    """
    return np.round(values / step) * step


def count_charge(current: Array, start_soc: float, capacity_ah: float) -> Array:
    """Return the state of charge as a cycler counts it: the true current integrated, over the nominal capacity.

    Args:
        current: True current in A, discharge negative, linear between its samples.
        start_soc: State of charge at the first sample, 0..1.
        capacity_ah: C/20 capacity at 25 degC in Ah, the same at every temperature.

    Shape:
        - current: [T]
        - output: [T]
    """
    charge = np.concatenate([[0.0], np.cumsum(0.5 * (current[1:] + current[:-1]))])
    return start_soc + charge / (3600.0 * capacity_ah)


def record(
    rng: np.random.Generator, current: Array, voltage: Array, temp_degc: Array, soc: Array
) -> dict[str, NDArray[np.float32]]:
    """Return the columns of a recording: the true signals with sensor noise, at the tester's resolution.

    The state of charge has no noise of its own: a cycler integrates its current far faster than it logs.

    Shape:
        - current, voltage, temp_degc, soc: [T]
    """
    true = {"Current": current, "Voltage": voltage, "Temp": temp_degc, "SOC": soc}
    noisy = {name: values + rng.normal(0.0, NOISE.get(name, 0.0), len(values)) for name, values in true.items()}
    seconds = {"Time": np.arange(len(current), dtype=float)}
    return {
        name: values.astype(np.float32)
        for name, values in (seconds | {key: quantise(noisy[key], RESOLUTION[key]) for key in true}).items()
    }


def write_recording(path: Path, columns: dict[str, NDArray[np.float32]], metadata: dict[str, str]) -> None:
    """Write a recording as a small Parquet file; the data card describes its content."""
    table = pa.table({name: columns[name] for name in COLUMNS}).replace_schema_metadata(metadata)
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(
        table,
        path,
        compression="zstd",
        compression_level=19,
        use_dictionary=["Temp"],
        column_encoding={name: "BYTE_STREAM_SPLIT" for name in COLUMNS if name != "Temp"},
        write_statistics=False,
    )
