"""Signals in other commands, in a sweep, under Slurm, with a closed terminal or a broken pipe; the second signal."""

import json
import os
import pty
import shlex
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pandas as pd
import pytest
import torch

import vestim_pl.diagnose
import vestim_pl.evaluate
import vestim_pl.export
import vestim_pl.predict
from tests.integration.forked import Done, command_of, run_forked, run_in_child
from tests.integration.signal_at import EPOCHS, STEPS, send_at
from tests.integration.test_every_ending import ROOT, assert_ended_well, assert_same_training, settings, train


@pytest.fixture
def checkpoint(trained) -> Path:
    return Path(trained.best_checkpoint)


def send_when_called(module: object, name: str, number: int) -> None:
    original = getattr(module, name)

    def sending(*arguments, **options):
        os.kill(os.getpid(), number)
        return original(*arguments, **options)

    setattr(module, name, sending)


def assert_one_line(done: Done, number: int, doing: str) -> None:
    assert done.status == 128 + number, done.err
    assert "Traceback" not in done.out + done.err
    [line] = [line for line in done.err.splitlines() if line.startswith("interrupted by")]
    assert f"while {doing}; nothing was" in line
    assert "the same command starts again" in line


@pytest.mark.parametrize(
    ("module", "name", "number", "doing"),
    [
        (vestim_pl.evaluate, "load_several", signal.SIGINT, "reading the recordings"),
        (vestim_pl.evaluate, "scored_steps", signal.SIGTERM, "testing"),
        (vestim_pl.export, "load_estimator", signal.SIGHUP, "exporting"),
    ],
)
def test_commands_on_a_checkpoint_end_in_one_line(module, name, number, doing, checkpoint, recordings, tmp_path):
    command = module.__name__
    data = ["data=folder", f"data.root={recordings}", "sampling.lookback=20"] if "evaluate" in command else []
    done = run_forked(
        tmp_path, command_of(command), [f"ckpt_path={checkpoint}", *data],
        lambda: send_when_called(module, name, number),
    )  # fmt: skip
    assert_one_line(done, number, doing)
    assert not list(tmp_path.rglob("*.onnx*"))


def test_predict_ends_in_one_line_and_leaves_whole_files_alone(checkpoint, recordings, tmp_path):
    """The signal arrives in the second recording."""

    def in_the_second() -> None:
        original, files = vestim_pl.predict.predict_file, []

        def counting(*arguments):
            files.append(1)
            if len(files) == 2:
                os.kill(os.getpid(), signal.SIGTERM)
            return original(*arguments)

        vestim_pl.predict.predict_file = counting

    arguments = [f"checkpoint={checkpoint}", f"input={recordings / 'test'}", "output=out"]
    done = run_forked(tmp_path, command_of("vestim_pl.predict"), arguments, in_the_second)
    assert done.status == 128 + signal.SIGTERM, done.err
    [line] = [line for line in done.err.splitlines() if line.startswith("interrupted by")]
    assert "while predicting; what is in out is whole; the same command with existing=skip does the others" in line
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["f_25degC.parquet"]


@pytest.mark.parametrize(("name", "doing"), [("build_estimator", "diagnosing"), ("measure", "measuring a few steps")])
def test_diagnose_ends_in_one_line(name, doing, recordings, small, tmp_path):
    arguments = ["data=folder", f"data.root={recordings}", *small]
    done = run_forked(
        tmp_path, command_of("vestim_pl.diagnose"), arguments,
        lambda: send_when_called(vestim_pl.diagnose, name, signal.SIGTERM),
    )  # fmt: skip
    assert_one_line(done, signal.SIGTERM, doing)


@pytest.mark.parametrize("command", ["train", "evaluate", "export", "diagnose", "replay", "predict"])
def test_ctrl_c_while_torch_is_imported_ends_in_one_line(command, tmp_path):
    for package in ("torch", "lightning", "hydra", "omegaconf", "pandas", "numpy"):
        source = "import os, signal, time\nos.kill(os.getpid(), signal.SIGINT)\ntime.sleep(5)\n"
        (tmp_path / f"{package}.py").write_text(source)
    done = subprocess.run(
        [sys.executable, "-m", f"vestim_pl.{command}"], cwd=tmp_path, capture_output=True, text=True, timeout=60,
        env={**os.environ, "PYTHONPATH": f"{tmp_path}:{ROOT}"}, check=False,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    assert done.returncode == 130
    assert done.stderr.splitlines() == ["Ctrl-C while starting: stopping; a second signal ends at once"]


def test_the_second_signal_ends_at_once_and_keeps_what_is_on_disk(recordings, tmp_path):
    run = tmp_path / "run"
    done = train(tmp_path, [*settings(recordings), f"hydra.run.dir={run}"], "mid-epoch", "SIGINT", times=2)
    assert done.status == 130
    assert "Traceback" not in done.out + done.err
    assert done.err.splitlines()[-1] == "Ctrl-C: ending at once; what is on disk stays"
    assert torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)["global_step"] == STEPS
    assert not list(run.rglob("report.html"))


def test_without_the_callback_the_command_stops_in_mid_step_and_says_that_nothing_was_saved(recordings, tmp_path):
    arguments = [*settings(recordings), f"hydra.run.dir={tmp_path / 'run'}", "callbacks.interrupt=null"]
    done = train(tmp_path, arguments, "mid-epoch", "SIGTERM")
    last = assert_ended_well(done, tmp_path / "run", "SIGTERM")
    assert "while training; nothing was saved at the stop, because callbacks has no interrupt" in last


def test_ctrl_c_in_a_job_ends_the_sweep_and_the_table_of_what_is_done_is_written(recordings, tmp_path):
    sweep = tmp_path / "sweep"
    arguments = ["-m", *settings(recordings), f"hydra.sweep.dir={sweep}", "seed=0,1,2"]

    def in_the_second_job() -> None:
        from vestim_pl.estimator import VoltageEstimator

        original, jobs = VoltageEstimator.on_test_epoch_start, []

        def count(self):
            jobs.append(1)
            if len(jobs) == 1:  # the first job is at its end
                send_at("mid-epoch", signal.SIGINT)
            original(self)

        VoltageEstimator.on_test_epoch_start = count

    done = run_forked(tmp_path, command_of("vestim_pl.train"), arguments, in_the_second_job)
    assert done.status == 130, done.err
    assert "Traceback" not in done.out + done.err
    assert done.err.count("to resume:") == 1
    assert f"ckpt_path={sweep / '1' / 'checkpoints' / 'last.ckpt'}" in done.err.splitlines()[-1]
    table = pd.read_csv(sweep / "sweep.csv").set_index("job")["state"].to_dict()
    assert table == {0: "finished", 1: "interrupted"}
    assert (sweep / "sweep.html").is_file()


def test_a_slurm_job_saves_requeues_itself_and_resumes_in_its_folder(recordings, tmp_path, monkeypatch):
    whole = train(tmp_path, [*settings(recordings), f"hydra.run.dir={tmp_path / 'whole'}"])
    assert whole.status == 0, whole.err
    scontrol, calls = tmp_path / "bin" / "scontrol", tmp_path / "calls"
    scontrol.parent.mkdir()
    scontrol.write_text(
        f'#!/bin/sh\nls {tmp_path}/outputs/*/checkpoints/last.ckpt > /dev/null && echo "$@" >> {calls}\n'
    )
    scontrol.chmod(0o755)
    monkeypatch.setenv("PATH", str(scontrol.parent), prepend=":")
    for name, value in {"JOB_ID": 4711, "JOB_NAME": "train", "NTASKS": 1, "NTASKS_PER_NODE": 1, "PROCID": 0,
                        "LOCALID": 0, "NODEID": 0, "NODELIST": "localhost"}.items():  # fmt: skip
        monkeypatch.setenv(f"SLURM_{name}", str(value))
    first = train(tmp_path, settings(recordings), "mid-epoch", "SIGUSR1")
    [run] = tmp_path.glob("outputs/slurm-4711-*")
    assert_ended_well(first, run, "SIGUSR1")
    assert calls.read_text() == "requeue 4711\n", "requeued before the checkpoint was written, or not at all"
    assert "Slurm job 4711 is requeued" in first.out
    assert torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == STEPS + 2
    assert not list(tmp_path.rglob("hpc_ckpt*"))
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    second = train(tmp_path, settings(recordings))  # the same command
    assert second.status == 0, second.err
    assert "Slurm job 4711, restart 1: resuming from" in second.out
    assert list(tmp_path.glob("outputs/*")) == [run]
    assert_same_training(
        *(torch.load(folder / "final.ckpt", weights_only=True) for folder in (tmp_path / "whole", run))
    )


def test_a_broken_pipe_as_of_tee_at_ctrl_c_loses_nothing(recordings, tmp_path):
    run = tmp_path / "run"

    def break_the_pipe_first() -> None:
        reading, writing = os.pipe()
        os.dup2(writing, 1)
        os.close(writing)
        send_at("mid-epoch", signal.SIGINT)
        from vestim_pl.estimator import VoltageEstimator

        sending = VoltageEstimator.training_step

        def step(self, batch, batch_idx):
            if self.trainer.global_step == STEPS + 1:
                os.close(reading)
            return sending(self, batch, batch_idx)

        VoltageEstimator.training_step = step

    arguments = [*settings(recordings), f"hydra.run.dir={run}"]
    done = run_forked(tmp_path, command_of("vestim_pl.train"), arguments, break_the_pipe_first)
    assert_ended_well(done, run, "SIGINT")
    assert "Logging error" not in done.err
    assert torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == STEPS + 2


def test_a_terminal_that_is_closed_leaves_a_checkpoint_and_the_line_in_the_log(recordings, tmp_path):
    run = tmp_path / "run"
    arguments = [*settings(recordings), f"hydra.run.dir={run}", "trainer.max_epochs=100000",
                 "callbacks.early_stopping=null"]  # fmt: skip
    child, terminal = pty.fork()
    if child == 0:
        run_in_child(lambda: os.chdir(tmp_path), command_of("vestim_pl.train"), arguments, lambda: None)
    best, deadline = run / "checkpoints" / "best.ckpt", time.monotonic() + 120
    reader = threading.Thread(target=_drain, args=(terminal, best, deadline))
    reader.start()
    reader.join()
    os.close(terminal)  # the kernel sends SIGHUP
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status == 129
    log = (run / "train.log").read_text()
    assert "Traceback" not in log
    last = log.splitlines()[-1]
    overrides = shlex.split(last.partition("to resume: ")[2])[3:]
    assert f"ckpt_path={run / 'checkpoints' / 'last.ckpt'}" in overrides
    step = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["global_step"]
    events = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
    assert (events[-1]["kind"], events[-1]["step"]) == ("interrupt", step)
    assert (run / "report.html").is_file()
    assert step > EPOCHS


def _drain(terminal: int, until: Path, deadline: float) -> None:
    """Read what is printed, so that it does not block, until a file is there."""
    os.set_blocking(terminal, False)
    while not until.is_file() and time.monotonic() < deadline:
        try:
            os.read(terminal, 65536)
        except BlockingIOError:
            time.sleep(0.02)
