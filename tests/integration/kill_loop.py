"""Train, kill without warning and resume with ``ckpt_path=auto`` until the training ends; print the result as JSON.

Run as a program: it imports torch and Lightning once and forks a process for each attempt, so an attempt takes a second
or two. It computes nothing by itself: a process that has used torch's threads must not fork.
"""

import argparse
import json
import logging
import os
import random
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import vestim_pl.app.ending
import vestim_pl.train
from tests.callbacks.foreign import same
from tests.composing import compose
from vestim_pl.deploy.checkpoint import load_checkpoint

EPOCHS, STEPS, EVERY = 4, 8, 3
SETTINGS = (
    "data=folder",
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
    "callbacks.recovery.checkpoint_every=1",
    f"checkpoint_every={EVERY} steps",
    f"+trainer.limit_train_batches={STEPS}",
    f"trainer.max_epochs={EPOCHS}",
    "trainer.accelerator=cpu",
    "test=false",
)


def train(run: Path, recordings: Path) -> None:
    """Run one attempt in its own process; it starts from the beginning if there is no checkpoint."""
    recorder = f"+callbacks.recorder={{_target_:tests.callbacks.step_recorder.StepRecorder,path:{run}/step.txt}}"
    run.mkdir(parents=True, exist_ok=True)
    os.chdir(run)
    given = [f"data.root={recordings}", f"run_dir={run}", "ckpt_path=auto", recorder]
    vestim_pl.train.train(compose(*SETTINGS, *given))


def fork(work: Callable[[], None], log: Path) -> int:
    """Start a process; what it writes goes to a file."""
    process = os.fork()
    if process:
        return process
    status = 1
    try:
        file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, 1)
        os.dup2(file, 2)
        logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(message)s")
        work()
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(status)


def wait(process: int, until: Callable[[], bool]) -> int | None:
    """Exit status of the process; killed as soon as the condition holds, and then None."""
    while True:
        done, status = os.waitpid(process, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        if until():
            os.kill(process, signal.SIGKILL)
            os.waitpid(process, 0)
            return None
        time.sleep(0.0005)


def differences(expected: dict[str, Any], found: dict[str, Any]) -> list[str]:
    """List the parts of two checkpoints that are not bitwise equal; those of ModelCheckpoint hold paths."""
    keys = ("global_step", "epoch", "state_dict", "optimizer_states", "lr_schedulers", "random_state", "loops")
    bad = [key for key in keys if not same(expected[key], found[key])]
    ours = [key for key in expected["callbacks"].keys() | found["callbacks"].keys() if "ModelCheckpoint" not in key]
    return bad + [key for key in ours if not same(expected["callbacks"].get(key), found["callbacks"].get(key))]


class Writing:
    """Whether a file is being written: the first one seen, or a later one."""

    def __init__(self, folder: Path, after: int) -> None:
        self.folder, self.left, self.seen = folder, after, False

    def __call__(self) -> bool:
        there = any(self.folder.glob("*.partial"))
        self.left -= there and not self.seen
        self.seen = there
        return there and self.left <= 0


def moment(folder: Path, generator: random.Random, duration: float) -> Callable[[], bool]:
    """Whether to kill now: during a write, or at a random time."""
    if generator.random() < 0.4:
        return Writing(folder, after=generator.randint(1, 8))
    end = time.monotonic() + generator.uniform(0.0, duration)
    return lambda: time.monotonic() >= end


def attempt(run: Path, recordings: Path, until: Callable[[], bool], result: dict[str, Any]) -> bool:
    """Train until the end or a kill; return whether the training ended."""
    folder = run / "checkpoints"
    status = wait(fork(lambda: train(run, recordings), run.with_suffix(".log")), until)
    if status is not None:
        if status:
            raise RuntimeError(run.with_suffix(".log").read_text())
        return True
    result["kills"] += 1
    result["within_a_write"] += any(folder.glob("*.partial"))
    reached = int((run / "step.txt").read_text() or 0) if (run / "step.txt").is_file() else 0
    whole = [load_checkpoint(path, to_resume=True) for path in folder.glob("*.ckpt")]
    kept = max((int(checkpoint["global_step"]) for checkpoint in whole), default=0)
    result["most_steps_lost"] = max(result["most_steps_lost"], reached - kept)
    return False


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("recordings", type=Path)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    vestim_pl.app.ending.write_report = lambda run_dir: run_dir  # drawing takes longer than the training
    generator, folder = random.Random(options.seed), options.folder
    folder.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    if wait(fork(lambda: train(folder / "whole", options.recordings), folder / "whole.log"), lambda: False):
        raise RuntimeError((folder / "whole.log").read_text())
    duration = time.monotonic() - began
    expected = {name: torch.load(folder / "whole" / "checkpoints" / name, weights_only=True) for name in FILES}
    result: dict[str, Any] = {
        "kills": 0, "within_a_write": 0, "most_steps_lost": 0, "runs": 0, "steps": expected["last.ckpt"]["global_step"],
        "differences": [], "left_behind": [],
    }  # fmt: skip
    while result["kills"] < options.kills:
        run = folder / f"run{result['runs']}"
        ended = False
        while not ended:
            more = result["kills"] < options.kills
            until = moment(run / "checkpoints", generator, duration) if more else lambda: False
            ended = attempt(run, options.recordings, until, result)
        result["runs"] += 1
        for name in FILES:
            found = torch.load(run / "checkpoints" / name, weights_only=True)
            result["differences"] += [f"{run.name}/{name}: {key}" for key in differences(expected[name], found)]
        result["left_behind"] += [path.name for path in (run / "checkpoints").iterdir() if path.suffix == ".partial"]
    result["left_behind"] += [path.name for path in Path(tempfile.gettempdir()).iterdir() if path.is_file()]
    print(json.dumps(result))


FILES = ("last.ckpt", "best.ckpt")

if __name__ == "__main__":
    main()
