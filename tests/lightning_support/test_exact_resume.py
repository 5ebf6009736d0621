"""Checkpoints from before and within a validation: a resumed run equals one never stopped, validation included."""

import random

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import EarlyStopping

from tests.callbacks.conftest import ForeignModule, StatefulLoader, loader, same_weights
from tests.callbacks.foreign import same
from vestim_pl.callbacks import LastCheckpoint, RandomStateCheckpoint


class NoisyModule(ForeignModule):
    """Draws random numbers while it trains and while it validates; counts its validation batches."""

    def __init__(self):
        super().__init__(dropout=0.5)
        self.validated = []

    def validation_step(self, batch, batch_idx):
        self.validated.append((self.trainer.global_step, batch_idx, torch.rand(1).item()))
        self.log("val_loss", self._loss(batch) + torch.rand(()))


class SaveAt(Callback):
    """Saves once, at a batch's end or in a batch of the validation after it."""

    def __init__(self, path, step, validation_batch=None):
        self.path, self.step, self.validation_batch = path, step, validation_batch

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if self.validation_batch is None and trainer.global_step == self.step:
            trainer.save_checkpoint(self.path)

    def on_validation_batch_end(self, trainer, pl_module, outputs, batch, batch_idx, dataloader_idx=0):
        if self.validation_batch == batch_idx and trainer.global_step == self.step:
            trainer.save_checkpoint(self.path)


def train(fit, callbacks=(), resume=None, seed=0, batches=5, **options):
    for seeded in (random.seed, np.random.seed, torch.manual_seed):
        seeded(seed)
    torch.manual_seed(5)
    module = NoisyModule()
    early = EarlyStopping("val_loss", patience=50)
    trainer = fit(
        module, [RandomStateCheckpoint(), early, *callbacks], train=StatefulLoader(batches),
        val=loader(3, shuffle=True), resume=resume, seed=seed, max_epochs=4, **options,
    )  # fmt: skip
    return module, trainer, early


MOMENTS = {
    "last batch of an epoch": (10, None, {}),
    "first validation batch": (10, 0, {}),
    "middle of a validation": (10, 1, {}),
    "last validation batch": (10, 2, {}),
    "first epoch": (5, 1, {}),
    "last epoch": (20, 1, {}),
    "validation within an epoch, its batch": (7, None, {"val_check_interval": 2}),
    "validation within an epoch": (7, 1, {"val_check_interval": 2}),
    "one batch an epoch": (2, 1, {"batches": 1}),
    "one batch an epoch, its end": (2, None, {"batches": 1}),
    "limit of steps": (10, 1, {"max_steps": 17}),
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_resumed_before_the_end_of_a_validation_equals_never_stopped(moment, fit, tmp_path):
    step, batch, options = MOMENTS[moment]
    path = tmp_path / "stopped.ckpt"
    whole, whole_trainer, early = train(fit, [SaveAt(path, step, batch)], **options)
    again, again_trainer, early_again = train(fit, resume=path, seed=99, **options)
    assert whole_trainer.global_step == again_trainer.global_step
    assert same_weights(whole, again)
    assert again.validated == [each for each in whole.validated if each[0] >= step]
    assert [epoch for epoch, *_ in again.validated].count(step) == 3, "the validation was not made, or in part"
    assert same(early.state_dict(), early_again.state_dict())


class SaveAfterValidation(SaveAt):
    """Saves when a validation has ended, as ModelCheckpoint does."""

    def on_train_batch_end(self, trainer, *args):
        pass

    def on_validation_end(self, trainer, pl_module):
        if trainer.global_step == self.step:
            trainer.save_checkpoint(self.path)


@pytest.mark.parametrize(("save", "step"), [(SaveAt, 8), (SaveAfterValidation, 7)])
def test_a_later_checkpoint_of_the_same_epoch_resumes_after_the_validation_and_not_before_it(save, step, fit, tmp_path):
    options = {"val_check_interval": 2}
    first, second = tmp_path / "first.ckpt", tmp_path / "second.ckpt"
    whole, *_ = train(fit, [SaveAt(first, 7, 1)], **options)
    train(fit, [save(second, step)], resume=first, seed=9, **options)
    last, *_ = train(fit, resume=second, seed=99, **options)
    assert same_weights(whole, last)
    assert last.validated == [each for each in whole.validated if each[0] > step]


class Validations(Callback):
    """Notes the step of every validation batch, and breaks off before the validation after one step."""

    def __init__(self, break_at=0):
        self.steps, self.break_at = [], break_at

    def on_validation_start(self, trainer, pl_module):
        if trainer.global_step == self.break_at:
            raise ZeroDivisionError

    def on_validation_batch_end(self, trainer, pl_module, outputs, batch, batch_idx, dataloader_idx=0):
        self.steps.append(trainer.global_step)


def test_last_checkpoint_alone_saves_before_a_validation_and_resumes_with_it(fit, tmp_path):
    def run(validations, resume=None):
        torch.manual_seed(5)
        module, last = ForeignModule(), LastCheckpoint(str(tmp_path / "last.ckpt"), every="3 steps")
        data = {"train": StatefulLoader(5), "val": loader(3)}
        fit(module, [validations, last], **data, resume=resume, max_epochs=2, val_check_interval=1)
        return module

    whole, resumed = run(Validations()), Validations()
    with pytest.raises(ZeroDivisionError):
        run(Validations(break_at=3))
    again = run(resumed, resume=tmp_path / "last.ckpt")
    assert resumed.steps == [step for step in range(3, 11) for _ in range(3)]
    assert same_weights(whole, again)
