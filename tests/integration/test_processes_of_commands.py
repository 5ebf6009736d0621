"""Every command once as its user starts it: a process of its own, with the imports and the exit status that it has.

The train command does its whole job in test_wheel.py, the replay command in test_replay.py; other tests of the commands
run in forks of the test process, which have torch imported already.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def start(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *arguments], cwd=folder, capture_output=True, text=True, timeout=300, check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
    )  # fmt: skip


@pytest.fixture
def data(recordings) -> list[str]:
    return ["data=folder", f"data.root={recordings}", "sampling.lookback=20"]


def test_evaluate(trained, data, tmp_path):
    done = start(tmp_path, "vestim_pl.evaluate", f"ckpt_path={trained.best_checkpoint}", *data)
    assert done.returncode == 0, done.stderr
    assert "overall" in done.stdout
    assert list(tmp_path.rglob("test_errors.csv"))


def test_diagnose_of_a_run(trained, tmp_path):
    run = Path(trained.best_checkpoint).parents[1]
    done = start(tmp_path, "vestim_pl.diagnose", f"run={run}", "json=found.json")
    found = json.loads((tmp_path / "found.json").read_text())
    assert done.returncode == {"ok": 0, "note": 0, "warning": 2, "error": 3}[found["severity"]], done.stderr
    assert {finding["check"] for finding in found["findings"]} > {"loss", "validation"}


def test_export(trained, tmp_path):
    pytest.importorskip("onnxruntime", reason="the extra 'onnx' is not installed")
    done = start(tmp_path, "vestim_pl.export", f"ckpt_path={trained.best_checkpoint}", "path=cell.onnx")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "cell.onnx").stat().st_size > 1000


def test_vestim_lists_every_key(tmp_path):
    done = start(tmp_path, "vestim_pl.vestim", "keys")
    assert done.returncode == 0, done.stderr
    assert "LOOKBACK" in done.stdout
