"""The train command on a machine with several cores, where the user has set nothing about threads."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def run(command: str, folder: Path, *overrides: str) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_", "MKL_"))}
    done = subprocess.run(
        [sys.executable, "-m", f"vestim_pl.{command}", *overrides],
        cwd=folder, env={**environment, "PYTHONPATH": str(ROOT), "OMP_DISPLAY_ENV": "VERBOSE"},
        capture_output=True, text=True, timeout=300, check=True,
    )  # fmt: skip
    return done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="one core leaves nothing to choose")
def test_the_command_waits_shortly_says_its_number_and_keeps_it_when_resumed(tmp_path, recordings, small):
    settings = ["data=folder", f"data.root={recordings}", *small, "test=false", "hydra.run.dir=run"]
    output = run("train", tmp_path, *settings, "trainer.max_epochs=1")
    [(chosen, most)] = re.findall(r"computing on (\d+) of (\d+) threads, because a trial step takes", output)
    assert not re.search(r"GOMP_SPINCOUNT = '(?!3000')", output)
    record = tmp_path / "run" / "provenance.json"
    content = json.loads(record.read_text())
    assert content["machine"]["torch_threads"] == int(chosen)
    other = 1 if chosen == most else 2  # so that keeping it is told from choosing again
    content["machine"]["torch_threads"] = other
    record.write_text(json.dumps(content))
    output = run("train", tmp_path, *settings, "trainer.max_epochs=2", "ckpt_path=run/checkpoints/last.ckpt")
    assert f"computing on {other} of {most} threads, as in the run that wrote the checkpoint" in output
    assert json.loads(record.read_text())["machine"]["torch_threads"] == other
    kinds = [json.loads(line)["kind"] for line in (tmp_path / "run" / "events.jsonl").read_text().splitlines()]
    assert "flush_denormals" not in kinds  # an event of threads that the trial had started too early
    data = [f"data.root={recordings}", "data=folder", "hydra.run.dir=tested"]
    output = run("evaluate", tmp_path, "ckpt_path=run/checkpoints/last.ckpt", *data)
    assert f"computing on {other} of {most} threads, as in the run that wrote the checkpoint" in output
