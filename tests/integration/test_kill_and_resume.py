"""``preset=resilient`` killed without warning at random moments: what resumes equals what was never stopped."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.integration.kill_loop import EPOCHS, EVERY, STEPS

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def other_file_system(tmp_path):
    """A temporary folder on another file system than the runs, where the machine has one."""
    memory = Path("/dev/shm")
    elsewhere = memory.is_dir() and os.access(memory, os.W_OK)
    folder = Path(tempfile.mkdtemp(dir=memory if elsewhere else tmp_path, prefix="vestim_pl_"))
    yield folder
    shutil.rmtree(folder)


@pytest.mark.parametrize("kills", [10, pytest.param(100, marks=pytest.mark.slow)])
def test_killed_at_random_moments_and_resumed_equals_never_stopped(recordings, tmp_path, other_file_system, kills):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "TMPDIR": str(other_file_system)}
    loop = subprocess.run(
        [sys.executable, "-m", "tests.integration.kill_loop", tmp_path / "runs", recordings, f"--kills={kills}"],
        env=environment, capture_output=True, text=True, timeout=3600, check=False,
    )  # fmt: skip
    assert loop.returncode == 0, loop.stderr
    found = json.loads(loop.stdout.splitlines()[-1])
    print(found)
    assert found["steps"] == EPOCHS * STEPS
    assert found["kills"] == kills
    assert found["within_a_write"] >= kills // 10
    assert found["differences"] == []
    assert found["most_steps_lost"] <= EVERY, "more was lost than the steps since the last checkpoint"
    assert found["left_behind"] == [], "files of killed writes"
