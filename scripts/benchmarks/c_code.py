"""Accuracy, size and speed of exported C code with float32 and with 8-bit weights, on measured recordings.

    python scripts/benchmarks/c_code.py --checkpoint best.ckpt --folder lg-hg2/test

Every recording is estimated from its first row to its last by the compiled C program and by torch. The recordings are
Parquet files with the columns of the checkpoint's features and ``Voltage``. Needs gcc.
"""

import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import common
import numpy as np
import pandas as pd
import torch

from vestim_pl.deploy.c_code.c_export import export_c
from vestim_pl.deploy.c_code.compiler import FLAGS, c_compiler
from vestim_pl.deploy.checkpoint import load_estimator
from vestim_pl.estimator import VoltageEstimator


def estimate_in_c(folder: Path, recording: pd.DataFrame) -> tuple[np.ndarray, float]:
    """Return the voltages of a recording, and the seconds that the program ran."""
    recording.to_csv(folder / "recording.csv", index=False, float_format="%.9g")
    start = time.perf_counter()
    done = subprocess.run(["./program", "recording.csv"], cwd=folder, capture_output=True, text=True, check=True)
    seconds = time.perf_counter() - start
    return np.array([line.partition(",")[0] for line in done.stdout.splitlines()[1:]], dtype=np.float64), seconds


def estimate_in_torch(estimator: VoltageEstimator, recording: pd.DataFrame) -> np.ndarray:
    """Return the voltages of a recording."""
    inputs = torch.from_numpy(recording.to_numpy(np.float32).copy())
    with torch.inference_mode():
        return estimator(inputs.unsqueeze(0))[0][0].double().numpy()


def measure(estimator: VoltageEstimator, tables: list[pd.DataFrame], burn_in: int, quantize: bool) -> dict[str, object]:
    """Run all recordings in C and in torch."""
    features = list(estimator.hparams["features"])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "c"
        program = export_c(estimator, folder, quantize=quantize).program
        subprocess.run(
            [str(c_compiler()), *FLAGS, "main.c", "cell_voltage.c", "-lm", "-o", "program"], cwd=folder, check=True
        )
        found = [estimate_in_c(folder, table[features]) for table in tables]
    volts = np.concatenate([each[burn_in:] for each, _ in found])
    expected = np.concatenate([estimate_in_torch(estimator, table[features])[burn_in:] for table in tables])
    error = 1000 * (volts - np.concatenate([table["Voltage"].to_numpy()[burn_in:] for table in tables]))
    return {
        "weights": "int8" if quantize else "float32",
        "flash bytes": program.flash_bytes,
        "RAM bytes": program.state_bytes,
        "stack bytes": program.stack_bytes,
        "multiply-adds": program.multiply_adds,
        "RMSE mV": float(np.sqrt(np.mean(error**2))),
        "largest error mV": float(np.abs(error).max()),
        "RMS from torch mV": float(1000 * np.sqrt(np.mean((volts - expected) ** 2))),
        "largest from torch mV": float(1000 * np.abs(volts - expected).max()),
        "us a row, with CSV": 1e6 * sum(seconds for _, seconds in found) / sum(map(len, tables)),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure both kinds of weights, and report."""
    parser = common.arguments(__doc__.splitlines()[0], "c_code", rounds=None)
    parser.add_argument("--checkpoint", type=Path, required=True, help="checkpoint of a training")
    parser.add_argument("--folder", type=Path, required=True, help="recordings, as Parquet files")
    parser.add_argument("--burn-in", type=int, default=50, help="first rows of each recording that do not count")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    tables = [pd.read_parquet(file) for file in sorted(options.folder.glob("*.parquet"))]
    estimator = load_estimator(options.checkpoint)
    rows = [measure(estimator, tables, options.burn_in, quantize) for quantize in (False, True)]
    settings = {"network": estimator.hparams["network"], "recordings": len(tables), "burn_in": options.burn_in}
    common.report("C code", rows, options.json, settings)


if __name__ == "__main__":
    main()
