"""Ctrl-C: the step is finished, the checkpoint resumes, the signal's handler is given back."""

import os
import signal

import pytest
import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.demos.boring_classes import BoringModel

from tests.callbacks.foreign import ForeignRecurrent, Recorder, fit, same
from vestim_pl.callbacks import GracefulInterrupt, RandomStateCheckpoint


class PressCtrlC(Callback):
    """Presses Ctrl-C in the middle of given steps."""

    def __init__(self, *steps: int) -> None:
        self.steps = steps

    def on_before_backward(self, trainer, pl_module, loss):
        if trainer.global_step in self.steps:
            os.kill(os.getpid(), signal.SIGINT)


def make_trainer(*callbacks, **options) -> Trainer:
    return Trainer(
        accelerator="cpu", max_epochs=2, limit_train_batches=5, limit_val_batches=1, logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        callbacks=list(callbacks), **options,
    )  # fmt: skip


def test_the_step_is_finished_and_the_checkpoint_goes_on_from_there(tmp_path):
    before = signal.getsignal(signal.SIGINT)
    interrupt = GracefulInterrupt(str(tmp_path / "last.ckpt"))
    with pytest.raises(SystemExit):
        make_trainer(PressCtrlC(2), interrupt).fit(BoringModel())
    assert interrupt.interrupted
    assert torch.load(interrupt.checkpoint, weights_only=True)["global_step"] == 3
    trainer = make_trainer(GracefulInterrupt(str(tmp_path / "again.ckpt")))
    signal.signal(signal.SIGINT, before)  # Lightning leaves it ignored
    trainer.fit(BoringModel(), ckpt_path=interrupt.checkpoint, weights_only=True)
    assert trainer.global_step == 10
    assert signal.getsignal(signal.SIGINT) is before


def test_at_the_last_batch_of_an_epoch_it_waits_for_a_step_that_resumes_exactly(tmp_path):
    before = signal.getsignal(signal.SIGINT)
    interrupt = GracefulInterrupt(str(tmp_path / "last.ckpt"))
    with pytest.raises(SystemExit):
        make_trainer(PressCtrlC(4), interrupt).fit(BoringModel())
    signal.signal(signal.SIGINT, before)
    assert torch.load(interrupt.checkpoint, weights_only=True)["global_step"] == 6


def test_a_second_ctrl_c_interrupts_at_once(tmp_path):
    class Twice(PressCtrlC):
        def on_before_backward(self, trainer, pl_module, loss):
            super().on_before_backward(trainer, pl_module, loss)
            super().on_before_backward(trainer, pl_module, loss)

    before = signal.getsignal(signal.SIGINT)
    interrupt = GracefulInterrupt(str(tmp_path / "last.ckpt"))
    with pytest.raises(SystemExit):
        make_trainer(Twice(2), interrupt).fit(BoringModel())
    signal.signal(signal.SIGINT, before)
    assert not interrupt.checkpoint.exists()


def test_without_ctrl_c_nothing_is_written_and_the_handler_is_given_back(tmp_path):
    before = signal.getsignal(signal.SIGINT)
    interrupt = GracefulInterrupt(str(tmp_path / "last.ckpt"))
    make_trainer(interrupt).fit(BoringModel())
    assert not interrupt.interrupted
    assert not interrupt.checkpoint.exists()
    assert signal.getsignal(signal.SIGINT) is before


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
