"""The benchmark of inference runs and writes finite figures for every way there is."""

import json
import math
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[3] / "scripts" / "benchmarks" / "inference.py"


@pytest.mark.slow
def test_every_way_is_timed(tmp_path):
    run = subprocess.run(
        [sys.executable, str(SCRIPT), "--quick", "--threads", "1", "--json", str(tmp_path / "figures.json")],
        capture_output=True, text=True, timeout=300, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    rows = json.loads((tmp_path / "figures.json").read_text())["rows"]
    onnx = ["ONNX Runtime"] if find_spec("onnxruntime") else []
    by_network: dict[str, dict[tuple[str, int], list[str]]] = {}
    for row in rows:
        by_network.setdefault(row["network"], {}).setdefault((row["job"], row["cells"]), []).append(row["way"])
    wanted = {
        ("step", 1): ["StreamingEstimator", "fused kernel", *onnx],
        ("step", 20): ["StreamingEstimator", *onnx],
        ("offline", 1): ["StreamingEstimator", *onnx],
        ("offline", 16): ["StreamingEstimator", *onnx],
    }
    assert by_network == {"LSTM_EMA:4": wanted, "preset=fast": wanted}
    assert all(math.isfinite(row["samples/s"]) and row["samples/s"] > 0 for row in rows)
    assert all(row["over"] == 1 for row in rows if row["way"] == "StreamingEstimator")
