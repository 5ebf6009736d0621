"""Every signal at every moment of a training: saved, an event, one line, the exit status, and a resume that is exact."""

import json
import os
import shlex
import signal
import subprocess
import sys
from itertools import product
from pathlib import Path

import pytest
import torch

from tests.callbacks.foreign import same
from tests.integration.forked import Done, command_of, run_forked
from tests.integration.signal_at import EPOCHS, MOMENTS, STEPS, send_at

ROOT = Path(__file__).resolve().parents[2]
SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1")
IN_FIT = ("first step", "mid-epoch", "last batch", "validation", "last epoch", "last validation")
STOPS = {"first step": 1, "mid-epoch": STEPS + 2, "last batch": 2 * STEPS, "validation": STEPS,
         "last epoch": EPOCHS * STEPS - 1, "last validation": EPOCHS * STEPS}  # fmt: skip
FINAL = (
    "+callbacks.final={_target_:lightning.pytorch.callbacks.ModelCheckpoint,dirpath:'${run_dir}',filename:final,"
    "every_n_epochs:1,save_on_train_epoch_end:true,enable_version_counter:false}"
)
NAMES = {"SIGINT": "Ctrl-C"}


def settings(recordings: Path) -> list[str]:
    return [
        "data=folder", f"data.root={recordings}", "sampling.lookback=20", "sampling.batch_size=32",
        "sampling.evaluation_batch_size=100", "sampling.evaluation=windows", "network.hidden_sizes=[6]",
        "network.dropout=0.2", f"+trainer.limit_train_batches={STEPS}", f"trainer.max_epochs={EPOCHS}",
        "trainer.accelerator=cpu", FINAL,
    ]  # fmt: skip


def train(folder: Path, arguments: list[str], moment: str | None = None, name: str = "SIGINT", times: int = 1) -> Done:
    before = (lambda: send_at(moment, getattr(signal, name), times)) if moment else (lambda: None)
    return run_forked(folder, command_of("vestim_pl.train"), arguments, before)


@pytest.fixture(scope="module")
def shared(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("endings")


@pytest.fixture
def whole(shared: Path, recordings: Path) -> dict:
    """The training that nobody stops, made once; the recordings are the same in every test."""
    path = shared / "whole" / "final.ckpt"
    if not path.is_file():
        done = train(shared, [*settings(recordings), "hydra.run.dir=whole"])
        assert done.status == 0, done.err
    return torch.load(path, weights_only=True)


def assert_ended_well(done: Done, run: Path, name: str) -> str:
    """Exit status, one acknowledgement, one last line, an event, a report, no traceback; returns the last line."""
    said = done.out + done.err
    assert done.status == 128 + getattr(signal, name), said
    log = (run / "train.log").read_text()
    assert "Traceback" not in said + log
    assert said.count("a second signal ends at once") == 1
    last = done.err.splitlines()[-1]
    assert last.startswith(("to resume:", "interrupted by"))
    assert done.err.count("to resume:") + done.err.count("interrupted by") == 1
    assert last in log
    events = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
    assert [event["kind"] for event in events].count("interrupt") == 1
    [event] = [event for event in events if event["kind"] == "interrupt"]
    assert event["values"]["signal"] == NAMES.get(name, name)
    assert (run / "report.html").is_file()
    return last


def ours(checkpoint: dict) -> dict:
    """What the callbacks know, without the paths of ModelCheckpoint."""
    return {key: state for key, state in checkpoint["callbacks"].items() if "ModelCheckpoint" not in key}


def assert_same_training(expected: dict, found: dict) -> None:
    for key in ("global_step", "epoch", "state_dict", "optimizer_states", "lr_schedulers", "random_state"):
        assert same(expected[key], found[key]), key
    assert ours(expected).keys() == ours(found).keys()
    for key, state in ours(expected).items():
        assert same(state, ours(found)[key]), key


def check_ending(moment: str, name: str, recordings: Path, folder: Path, whole: dict) -> None:
    run = folder / "run"
    done = train(folder, [*settings(recordings), f"hydra.run.dir={run}"], moment, name)
    if moment in IN_FIT:
        line = assert_ended_well(done, run, name)
        saved = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
        assert saved["global_step"] == STOPS[moment]
        [_, _, module, *overrides] = shlex.split(line.removeprefix("to resume: "))
        assert module == "vestim_pl.train"
        resumed = train(folder, overrides)
        assert resumed.status == 0, resumed.err
        assert_same_training(whole, torch.load(run / "final.ckpt", weights_only=True))
        assert (run / "test_errors.csv").is_file()
    elif moment == "reading":
        line = assert_ended_well(done, run, name)
        assert "while reading the recordings; nothing was trained" in line
        assert not list(run.rglob("*.ckpt"))
    elif moment == "test":
        line = assert_ended_well(done, run, name)
        assert_same_training(whole, torch.load(run / "final.ckpt", weights_only=True))
        [_, _, module, *overrides] = shlex.split(line.partition("to test its best checkpoint: ")[2])
        assert run_forked(folder, command_of(module), overrides, lambda: None).status == 0
    else:  # everything else is done: only the exit status says that a signal came
        assert done.status == 128 + getattr(signal, name)
        assert "Traceback" not in done.out + done.err
        assert "the training is complete, and everything is written" in done.err.splitlines()[-1]
        assert (run / "report.html").is_file()
        assert (run / "test_errors.csv").is_file()
        assert_same_training(whole, torch.load(run / "final.ckpt", weights_only=True))


PAIRS = list(zip(MOMENTS, [SIGNALS[index % len(SIGNALS)] for index in range(len(MOMENTS))], strict=True))


@pytest.mark.parametrize(("moment", "name"), PAIRS)
def test_a_signal_at_any_moment_ends_well(moment, name, recordings, tmp_path, whole):
    check_ending(moment, name, recordings, tmp_path, whole)


@pytest.mark.slow
@pytest.mark.parametrize(("moment", "name"), [each for each in product(MOMENTS, SIGNALS) if each not in PAIRS])
def test_every_signal_at_every_moment_ends_well(moment, name, recordings, tmp_path, whole):
    check_ending(moment, name, recordings, tmp_path, whole)
