"""Signals in a project that uses only the callback: the step finishes, the checkpoint resumes, handlers return."""

import os
import pickle
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.demos.boring_classes import BoringModel

from tests.callbacks.foreign import ForeignRecurrent, Recorder, fit, same
from vestim_pl.callbacks import GracefulInterrupt, RandomStateCheckpoint
from vestim_pl.lightning_support.stop_request import Interrupted, StopRequest

pytestmark = pytest.mark.usefixtures("default_signal_handlers")
SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1]


class Send(Callback):
    """Sends this process a signal in the middle of given steps."""

    def __init__(self, *steps: int, number: int = signal.SIGINT) -> None:
        self.steps, self.number = set(steps), number

    def on_before_backward(self, trainer, pl_module, loss):
        if trainer.global_step in self.steps:
            self.steps.remove(trainer.global_step)  # several batches may belong to a step
            os.kill(os.getpid(), self.number)


def make_trainer(*callbacks, **options) -> Trainer:
    defaults = {
        "accelerator": "cpu", "max_epochs": 2, "limit_train_batches": 5, "limit_val_batches": 2, "logger": False,
        "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False,
    }  # fmt: skip
    return Trainer(callbacks=list(callbacks), **(defaults | options))


def saved(interrupt: GracefulInterrupt) -> int:
    return torch.load(interrupt.checkpoint, weights_only=True)["global_step"]


@pytest.mark.parametrize("number", SIGNALS)
def test_the_step_is_finished_and_the_checkpoint_resumes_from_there(number, tmp_path, capfd):
    before = [signal.getsignal(each) for each in SIGNALS]
    interrupt, recorder = GracefulInterrupt(str(tmp_path / "last.ckpt")), Recorder()
    with pytest.raises(Interrupted) as stop:
        make_trainer(Send(2, number=number), recorder, interrupt).fit(BoringModel())
    assert stop.value.code == 128 + number
    assert interrupt.interrupted
    assert saved(interrupt) == 3
    [event] = recorder.of("interrupt")
    assert f"after step 3; saved {interrupt.checkpoint}" in event.reason
    assert capfd.readouterr().err.count("a second signal ends at once") == 1
    assert [signal.getsignal(each) for each in SIGNALS] == before
    trainer = make_trainer(GracefulInterrupt(str(tmp_path / "again.ckpt")))
    trainer.fit(BoringModel(), ckpt_path=interrupt.checkpoint, weights_only=True)
    assert trainer.global_step == 10
    assert [signal.getsignal(each) for each in SIGNALS] == before


@pytest.mark.parametrize(
    ("sent", "options", "stopped"),
    [
        (4, {}, 5),  # last batch, before the validation
        (4, {"limit_val_batches": 0}, 6),  # the next step is soon
        (4, {"check_val_every_n_epoch": 2}, 6),
        (1, {"limit_train_batches": 1, "max_epochs": 9}, 2),  # every batch is the last one
        (1, {"limit_train_batches": 1, "max_epochs": 9, "limit_val_batches": 0}, 2),
        (1, {"limit_train_batches": 8, "accumulate_grad_batches": 4}, 2),  # accumulated gradients are not saved
    ],
)
def test_it_stops_at_the_next_moment_that_resumes_exactly(sent, options, stopped, tmp_path):
    interrupt = GracefulInterrupt(str(tmp_path / "last.ckpt"))
    with pytest.raises(Interrupted):
        make_trainer(Send(sent), interrupt, **options).fit(BoringModel())
    assert saved(interrupt) == stopped


class InValidation(BoringModel):
    """Sends the signal in a validation; counts the batches of each."""

    def __init__(self, step: int) -> None:
        super().__init__()
        self.at, self.validated = step, []

    def validation_step(self, batch, batch_idx):
        self.validated.append((self.trainer.global_step, batch_idx))
        if self.trainer.global_step == self.at and batch_idx == 0:
            os.kill(os.getpid(), signal.SIGTERM)
        return super().validation_step(batch, batch_idx)


@pytest.mark.parametrize("step", [5, 10])  # of the first epoch and of the last
def test_a_validation_stops_after_its_batch_and_is_repeated_by_the_resumed_run(step, tmp_path):
    interrupt, module = GracefulInterrupt(str(tmp_path / "last.ckpt")), InValidation(step)
    options = {"limit_val_batches": 50, "num_sanity_val_steps": 0}
    with pytest.raises(Interrupted):
        make_trainer(interrupt, **options).fit(module)
    assert module.validated[-1] == (step, 0)
    again, trainer = InValidation(-1), make_trainer(GracefulInterrupt(str(tmp_path / "again.ckpt")), **options)
    trainer.fit(again, ckpt_path=interrupt.checkpoint, weights_only=True)
    assert [batch for at, batch in again.validated if at == step] == list(range(50))
    assert trainer.global_step == 10


def test_a_signal_after_the_last_step_still_ends_the_program(tmp_path):
    class Late(Callback):
        def on_train_end(self, trainer, pl_module):
            os.kill(os.getpid(), signal.SIGINT)

    interrupt = GracefulInterrupt(str(tmp_path / "last.ckpt"))
    trainer = make_trainer(Late(), interrupt)
    with pytest.raises(Interrupted, match="130"):
        trainer.fit(BoringModel())
    assert trainer.global_step == 10
    assert not interrupt.interrupted


SCRIPT = """
import os, signal, sys
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.demos.boring_classes import BoringModel
from vestim_pl.callbacks import GracefulInterrupt
class Send(Callback):
    def on_before_backward(self, trainer, pl_module, loss):
        if trainer.global_step == 2:
            for _ in range(int(sys.argv[2])):
                os.kill(os.getpid(), int(sys.argv[1]))
Trainer(accelerator="cpu", max_epochs=2, limit_train_batches=5, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, callbacks=[Send(), GracefulInterrupt("last.ckpt")]).fit(BoringModel())
"""


@pytest.mark.parametrize(("number", "times"), [(signal.SIGTERM, 1), (signal.SIGINT, 2)])
def test_a_script_ends_by_convention_without_a_traceback_and_the_second_signal_ends_it_at_once(number, times, tmp_path):
    root = str(Path(__file__).resolve().parents[3])
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(int(number)), str(times)], cwd=tmp_path, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": root, "OMP_NUM_THREADS": "1"}, timeout=200, check=False,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    assert done.returncode == 128 + number, done.stderr
    assert "Traceback" not in done.stderr
    assert (tmp_path / "last.ckpt").exists() == (times == 1)
    assert ("ending at once" in done.stderr) == (times == 2)


def test_without_a_signal_nothing_is_written_and_the_handlers_are_restored(tmp_path):
    before = [signal.getsignal(each) for each in SIGNALS]
    interrupt = GracefulInterrupt(str(tmp_path / "last.ckpt"))
    make_trainer(interrupt).fit(BoringModel())
    assert not interrupt.interrupted
    assert not interrupt.checkpoint.exists()
    assert [signal.getsignal(each) for each in SIGNALS] == before
    assert StopRequest.current() is None


def test_handlers_are_restored_after_an_error_in_the_training(tmp_path):
    class Fail(Callback):
        def on_before_backward(self, trainer, pl_module, loss):
            raise ArithmeticError

    before = [signal.getsignal(each) for each in SIGNALS]
    with pytest.raises(ArithmeticError):
        make_trainer(Fail(), GracefulInterrupt(str(tmp_path / "last.ckpt"))).fit(BoringModel())
    assert [signal.getsignal(each) for each in SIGNALS] == before
    assert StopRequest.current() is None


def test_a_handler_of_the_project_and_an_ignored_signal_stay(tmp_path):
    calls = []
    signal.signal(signal.SIGUSR1, lambda *_: calls.append(1))
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as under nohup
    interrupt = GracefulInterrupt(str(tmp_path / "last.ckpt"))
    make_trainer(Send(1, number=signal.SIGUSR1), Send(2, number=signal.SIGHUP), interrupt).fit(BoringModel())
    assert calls == [1]
    assert not interrupt.interrupted


def test_under_slurm_nothing_is_saved_within_the_step(tmp_path, monkeypatch):
    """Lightning's handler of SIGUSR1 would save in mid-step, call ``scontrol``, and train on."""
    for name, value in {"NTASKS": 1, "NTASKS_PER_NODE": 1, "JOB_ID": 7, "PROCID": 0, "LOCALID": 0, "NODEID": 0,
                        "JOB_NAME": "train", "NODELIST": "localhost"}.items():  # fmt: skip
        monkeypatch.setenv(f"SLURM_{name}", str(value))
    interrupt, saves = GracefulInterrupt(str(tmp_path / "last.ckpt")), []
    trainer = make_trainer(Send(2, number=signal.SIGUSR1), interrupt, default_root_dir=tmp_path)
    save = trainer.save_checkpoint
    monkeypatch.setattr(trainer, "save_checkpoint", lambda path, **kw: (saves.append(trainer.global_step), save(path)))
    with pytest.raises(Interrupted):
        trainer.fit(BoringModel())
    assert saves == [3]
    assert not list(tmp_path.glob("hpc_ckpt*"))


def test_it_can_be_copied_to_other_processes(tmp_path):
    interrupt = pickle.loads(pickle.dumps(GracefulInterrupt(str(tmp_path / "last.ckpt"))))
    assert interrupt.checkpoint == tmp_path / "last.ckpt"


@pytest.mark.parametrize("limit", [5, 17])  # in the first epoch, before any checkpoint, and in the second
def test_a_limit_of_steps_within_an_epoch_leaves_a_checkpoint_that_resumes_exactly(tmp_path, limit):
    def run(folder, **options):
        torch.manual_seed(0)
        options |= {"limit_val_batches": 1, "enable_checkpointing": True}
        keeper = ModelCheckpoint(
            tmp_path / folder, "best", monitor="val_rmse", save_last=True, enable_version_counter=False
        )
        interrupt, recorder = GracefulInterrupt(str(tmp_path / folder / "last.ckpt")), Recorder()
        callbacks = [RandomStateCheckpoint(), interrupt, recorder, keeper]
        fit(ForeignRecurrent(carry=True), callbacks, **options)
        return recorder

    whole = run("whole", max_epochs=3)
    run("parts", max_epochs=3, max_steps=limit)
    last = tmp_path / "parts" / "last.ckpt"
    assert torch.load(last, weights_only=True)["global_step"] == limit
    resumed = run("parts", max_epochs=3, ckpt_path=last)
    assert len(resumed.weights) == 36 - limit
    assert same(whole.weights[-1], resumed.weights[-1])
    assert same(whole.moments[-1], resumed.moments[-1])
    assert sorted(path.name for path in (tmp_path / "parts").iterdir()) == ["best.ckpt", "last.ckpt"]
