"""The whole of ``preset=resilient``, killed without warning at random steps: what resumes equals what never stopped."""

import os
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.callbacks.foreign import same

ROOT = Path(__file__).resolve().parents[2]
# A checkpoint every 5 of 8 steps an epoch, so most of them are in the midst of one; none between an epoch's last batch
# and its validation, which Lightning leaves out when it resumes.
EPOCHS, STEPS, EVERY = 4, 8, 5
SETTINGS = (
    "+preset=resilient",
    "sampling.lookback=20",
    "sampling.batch_size=32",
    "sampling.evaluation_stride=4",
    "network.hidden_sizes=[6]",
    "optimizer.lr=0.01",
    "callbacks.warmup.duration=20",
    "callbacks.lookback_warmup.start=10",
    "callbacks.lookback_warmup.epochs=3",
    "callbacks.gradient_flow.steps=[0,9,20]",
    "callbacks.adaptive_clipping.warmup_steps=5",
    "+callbacks.recovery.snapshot_every=4",
    "+callbacks.often={_target_:lightning.pytorch.callbacks.ModelCheckpoint,dirpath:'${run_dir}/checkpoints',"
    f"filename:last,every_n_train_steps:{EVERY},enable_version_counter:false}}",
    f"+trainer.limit_train_batches={STEPS}",
    f"trainer.max_epochs={EPOCHS}",
    "trainer.accelerator=cpu",
    "test=false",
)


def start(run: Path, recordings: Path, *overrides: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "vestim_pl.train", "data=folder", f"data.root={recordings}", *SETTINGS]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [*command, f"hydra.run.dir={run}", *overrides],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def ends_with(process: subprocess.Popen[str], status: int) -> None:
    output, _ = process.communicate(timeout=300)
    assert process.returncode == status, output


def killed_at(step: int) -> str:
    return f"+callbacks.kill={{_target_:tests.callbacks.kill_at.KillAt,step:{step}}}"


def last_checkpoint(run: Path) -> dict[str, Any]:
    return torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)


def ours(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """What the callbacks know, without the paths that ModelCheckpoint keeps."""
    return {key: state for key, state in checkpoint["callbacks"].items() if "ModelCheckpoint" not in key}


@pytest.mark.slow
def test_killed_at_random_steps_and_resumed_equals_never_stopped(recordings, tmp_path):
    generator = random.Random(7)
    kills = sorted(generator.sample(range(EVERY + 1, EPOCHS * STEPS - 2), 2))
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    unbroken = start(whole, recordings)
    for number, step in enumerate(kills):
        ends_with(start(parts, recordings, killed_at(step), *["ckpt_path=last"] * bool(number)), -signal.SIGKILL)
        assert 0 < last_checkpoint(parts)["global_step"] <= step, "the kill came too early or too late"
    ends_with(start(parts, recordings, "ckpt_path=last"), 0)
    ends_with(unbroken, 0)
    expected, found = last_checkpoint(whole), last_checkpoint(parts)
    assert expected["global_step"] == EPOCHS * STEPS
    for key in ("global_step", "epoch", "state_dict", "optimizer_states", "lr_schedulers", "random_state"):
        assert same(expected[key], found[key]), key
    assert ours(expected).keys() == ours(found).keys()
    for key, state in ours(expected).items():
        assert same(state, ours(found)[key]), key
