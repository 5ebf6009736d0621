"""The demo of a divergence by learning rate alone: plain Lightning is lost, `preset=resilient` learns."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "divergence_demo.py"


@pytest.mark.slow
def test_lost_with_plain_lightning_and_learning_with_resilient(tmp_path):
    picture, figures = tmp_path / "picture.png", tmp_path / "figures.json"
    run = subprocess.run(
        [sys.executable, str(SCRIPT), "--quick", "--epochs", "8", "--picture", str(picture), "--json", str(figures)],
        capture_output=True, text=True, timeout=300, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    results = json.loads(figures.read_text())
    constant, plain, resilient = results["mean_voltage_rmse_mv"], *results["runs"].values()
    assert not plain["validations"][-1][1] < constant
    assert len(resilient["rollbacks"]) > 0
    losses = resilient["losses"]
    worst = losses.index(max(losses))
    assert losses[worst] > 10 * min(losses[:worst])  # the loss did jump far above its best
    assert min(rmse for _, rmse in resilient["validations"]) < 0.5 * constant
    assert all(math.isfinite(rmse) for _, rmse in resilient["validations"])
    assert resilient["rollbacks"][0][1] in " ".join(run.stdout.split())
    assert picture.stat().st_size < 200_000
