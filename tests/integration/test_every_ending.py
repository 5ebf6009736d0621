"""Every signal at every moment of a training: a checkpoint, an event, one line, the exit status, an exact resume."""

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
    """An uninterrupted training, run once; the recordings are the same in every test."""
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
    """State of the callbacks, without the paths of ModelCheckpoint."""
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


def start(folder: Path, arguments: list[str], moment: str, name: str, rank: str = "0") -> subprocess.CompletedProcess:
    """Run the command as a real process in its own session, with the processes that Lightning starts."""
    environment = {
        **os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "SIGNAL_AT": moment, "SIGNAL": name,
        "SIGNAL_RANK": rank,
    }  # fmt: skip
    return subprocess.run(
        [sys.executable, "-m", "tests.integration.signal_at", *arguments],
        cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False, start_new_session=True,
    )  # fmt: skip


def two(recordings: Path) -> list[str]:
    return [*settings(recordings), "trainer.devices=2", "+trainer.strategy=ddp"]


@pytest.fixture
def whole_of_two(shared: Path, recordings: Path) -> dict:
    path = shared / "two" / "final.ckpt"
    if not path.is_file():
        done = start(shared, [*two(recordings), "hydra.run.dir=two"], "report", "SIGCONT", "never")
        assert done.returncode == 0, done.stderr
    return torch.load(path, weights_only=True)


RANKED = [
    ("mid-epoch", "SIGTERM", "0"),
    ("mid-epoch", "SIGINT", "all"),
    ("validation", "SIGUSR1", "1"),
    ("last batch", "SIGHUP", "1"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("moment", "name", "rank"), RANKED)
def test_two_processes_stop_after_the_same_step_whichever_gets_the_signal(
    moment, name, rank, recordings, tmp_path, whole_of_two
):
    run = tmp_path / "run"
    done = start(tmp_path, [*two(recordings), f"hydra.run.dir={run}"], moment, name, rank)
    said = done.stdout + done.stderr
    assert done.returncode == 128 + getattr(signal, name), said
    assert "Traceback" not in said
    assert said.count("to resume:") == 1
    assert said.count("a second signal ends at once") == (0 if rank == "1" else 1)
    events = [json.loads(line)["kind"] for line in (run / "events.jsonl").read_text().splitlines()]
    assert events.count("interrupt") == 1
    assert (run / "report.html").is_file()
    [line] = [line for line in said.splitlines() if line.startswith("to resume: ")]
    overrides = shlex.split(line.removeprefix("to resume: "))[3:]
    assert not processes_of(run), "a process was left behind"
    resumed = start(tmp_path, overrides, "report", "SIGCONT", "never")
    assert resumed.returncode == 0, resumed.stderr
    assert_same_training(whole_of_two, torch.load(run / "final.ckpt", weights_only=True))


def processes_of(run: Path) -> list[str]:
    """Command lines of processes that work in a run folder."""
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_text().replace("\0", " ")
        except OSError:
            continue
        if f"hydra.run.dir={run}" in line or f'hydra.run.dir="{run}"' in line:
            lines.append(line)
    return lines


@pytest.mark.slow
@pytest.mark.parametrize(("moment", "rank"), [("test", "0"), ("reading", "0"), ("report", "0")])
def test_two_processes_leave_none_behind_when_one_is_stopped_outside_of_the_training(
    moment, rank, recordings, tmp_path
):
    run = tmp_path / "run"
    done = start(tmp_path, [*two(recordings), f"hydra.run.dir={run}"], moment, "SIGTERM", rank)
    said = done.stdout + done.stderr
    assert done.returncode == 143, said
    assert "Traceback" not in said
    assert said.count("interrupted by SIGTERM") == 1
    assert not processes_of(run)
