"""Mapped recordings train in a process with far less memory than they take."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

ROWS, FILES = 4_000_000, 100
LIMIT = 64 * 2**20  # bytes; the rows take 80 MB and 120 MiB to read into memory; mapped they took 2 to 18 MiB

SCRIPT = """
import resource, sys
from lightning.pytorch import Trainer
from vestim_pl.data import StreamSampling, VoltageDataModule
from vestim_pl.estimator import VoltageEstimator

def run(root, storage):
    sampling = StreamSampling(lookback=50, lanes=4)
    data = VoltageDataModule(root, sampling, storage=storage, cache="cache", splits=["train"])
    estimator = VoltageEstimator(data.features, {"name": "LSTM", "hidden_sizes": [4]})
    table = data.table("train")
    estimator.scaler.fit(table.inputs, table.target)
    Trainer(
        max_steps=20, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False,
    ).fit(estimator, train_dataloaders=data.train_dataloader())
    return table.rows

run("small", "mapped")  # threads, buffers and whatever else comes with the first use
own = next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith("VmData"))
resource.setrlimit(resource.RLIMIT_DATA, (own + int(sys.argv[1]),) * 2)
try:
    run("large", "memory")
except (MemoryError, RuntimeError):
    print("not in memory")
print("rows", run("large", "mapped"))
"""


def write_recordings(folder: Path, rows: int, files: int) -> None:
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    for number in range(files):
        columns = dict.fromkeys(("Current", "Voltage", "Temp", "SOC"))
        frame = pd.DataFrame({name: random.random(rows // files, dtype=np.float32) for name in columns})
        frame["Voltage"] += 3
        frame.assign(Time=np.arange(rows // files, dtype=np.float32)).to_parquet(folder / f"{number}.parquet")


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's account of a process's own memory")
def test_recordings_larger_than_memory_train_from_mapped_files(tmp_path):
    write_recordings(tmp_path / "small" / "train", 40_000, 2)
    write_recordings(tmp_path / "large" / "train", ROWS, FILES)
    (tmp_path / "run.py").write_text(SCRIPT)

    done = subprocess.run(
        [sys.executable, "run.py", str(LIMIT)], cwd=tmp_path, text=True, capture_output=True, check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1", "ARROW_DEFAULT_MEMORY_POOL": "system"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["not in memory", f"rows {ROWS}"]
