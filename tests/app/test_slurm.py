"""One run folder for a Slurm job however often it is requeued; the requeue goes through ``scontrol``."""

import logging
import signal
from pathlib import Path

import pytest

from vestim_pl.app.command import run_folder
from vestim_pl.app.slurm import job_folder, requeue_job, requeued_checkpoint

JOB = {"SLURM_JOB_ID": "4711", "SLURM_JOB_NAME": "train"}


def checkpoint_in(folder: Path) -> Path:
    path = folder / "checkpoints" / "last.ckpt"
    path.parent.mkdir(parents=True)
    path.touch()
    return path


def test_a_job_has_one_folder_for_a_command_however_often_it_is_started():
    first = job_folder(["+preset=safer"], JOB)
    assert first == job_folder(["+preset=safer"], JOB | {"SLURM_RESTART_COUNT": "2"})
    others = [job_folder(["+preset=fast"], JOB), job_folder(["+preset=safer"], JOB | {"SLURM_JOB_ID": "4712"})]
    assert first not in others
    array = [JOB | {"SLURM_ARRAY_JOB_ID": "9", "SLURM_ARRAY_TASK_ID": str(task)} for task in (1, 2)]
    assert len({job_folder([], each) for each in array}) == 2


@pytest.mark.parametrize("environment", [{}, JOB | {"SLURM_JOB_NAME": "bash"}, {"SLURM_JOB_ID": ""}])
def test_outside_of_a_batch_job_the_folder_has_the_date(environment, monkeypatch):
    for name in JOB:
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert job_folder([]) is None
    assert run_folder(None).startswith("outputs/20")


def test_a_batch_job_runs_in_its_folder_unless_it_resumes_another(monkeypatch):
    for name, value in JOB.items():
        monkeypatch.setenv(name, value)
    assert run_folder(None).startswith("outputs/slurm-4711-")
    assert run_folder("outputs/a/checkpoints/last.ckpt") == "outputs/a"


def test_a_restarted_job_resumes_and_a_first_start_does_not(tmp_path):
    own, other = tmp_path / "slurm-4711-abc123", tmp_path / "chosen"
    restarted = JOB | {"SLURM_RESTART_COUNT": "1"}
    assert requeued_checkpoint(own, restarted) is None
    paths = [str(checkpoint_in(folder)) for folder in (own, other)]
    assert requeued_checkpoint(own, JOB) == paths[0]
    assert requeued_checkpoint(other, JOB) is None, "the checkpoint may be of a run that has nothing to do with this"
    assert requeued_checkpoint(other, restarted) == paths[1]
    assert requeued_checkpoint(own, {}) is None


@pytest.fixture
def scontrol(tmp_path, monkeypatch):
    """A fake ``scontrol`` that writes down how it was called; returns a function that reads that."""
    program, calls = tmp_path / "bin" / "scontrol", tmp_path / "calls"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\necho "$@" >> {calls}\n[ "$2" != 13 ] || {{ echo "Access denied" >&2; exit 1; }}\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=":")
    return lambda: calls.read_text().splitlines() if calls.exists() else []


def test_sigusr1_requeues_and_no_other_signal_does(scontrol, caplog):
    caplog.set_level(logging.INFO, logger="vestim_pl")
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        requeue_job(number, JOB)
    requeue_job(signal.SIGUSR1, {})
    assert scontrol() == []
    requeue_job(signal.SIGUSR1, JOB)
    requeue_job(signal.SIGUSR1, JOB | {"SLURM_ARRAY_JOB_ID": "9", "SLURM_ARRAY_TASK_ID": "2"})
    assert scontrol() == ["requeue 4711", "requeue 9_2"]
    assert "Slurm job 9_2 is requeued" in caplog.text


def test_a_requeue_that_fails_says_why_and_loses_nothing(scontrol, caplog, monkeypatch):
    requeue_job(signal.SIGUSR1, JOB | {"SLURM_JOB_ID": "13"})
    assert "Slurm job 13 was not requeued: scontrol requeue 13: Access denied" in caplog.text
    monkeypatch.setenv("PATH", "/nowhere")
    requeue_job(signal.SIGUSR1, JOB)
    assert "Slurm job 4711 was not requeued" in caplog.text
    assert "No such file" in caplog.text
