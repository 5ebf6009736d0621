"""What a snapshot must not hold, what it no longer fits, and a training that has none."""

import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import BaseFinetuning, EarlyStopping, StochasticWeightAveraging
from torch import nn

from tests.callbacks.fault_injector import FaultInjector
from tests.callbacks.foreign import ForeignRecurrent, Recorder, fit
from vestim_pl.callbacks import DivergenceRecovery, FiniteParameterGuard, StepGuard
from vestim_pl.errors import DivergenceError

NAN, INF = float("nan"), float("inf")


class Normed(ForeignRecurrent):
    """Running statistics that no loss of the training shows, and a mask that is infinite by design."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(8)
        self.register_buffer("mask", torch.tensor([0.0, -INF]))

    def training_step(self, batch, batch_idx):
        self.norm(batch[0][:, :, 0])
        return super().training_step([torch.nan_to_num(batch[0]), batch[1]], batch_idx)


class LateMask(Normed):
    def on_train_batch_start(self, batch, batch_idx):
        self.register_buffer("late", torch.tensor([-INF]))


def good_snapshots(recovery):
    return [snapshot for snapshot in (*recovery.snapshots.good, recovery.snapshots.best) if snapshot]


@pytest.mark.parametrize("kind", [Normed, LateMask])
def test_poisoned_running_statistics_are_never_snapshot_but_a_reason_to_go_back(kind):
    module, recovery, recorder = kind(), DivergenceRecovery(snapshot_every=3), Recorder()
    fit(module, [FaultInjector("input", NAN, 4), recovery, recorder])
    (event,) = recorder.of("rollback")
    assert "epoch 0, batch 5: buffers norm.running_mean, norm.running_var are not finite" in event.reason
    assert module.norm.running_mean.isfinite().all()
    assert module.mask.isneginf().any()
    assert all(snapshot["buffers"]["norm.running_var"].isfinite().all() for snapshot in good_snapshots(recovery))


def test_a_validation_that_shows_poisoned_statistics_is_recovered_from():
    class Validates(Normed):
        def validation_step(self, batch, batch_idx):
            self.log("val_rmse", self.norm(batch[0][:, :8, 0]).square().mean())

    module, recovery = Validates(), DivergenceRecovery(snapshot_every=100)
    callbacks = [FaultInjector("input", NAN, 4), recovery, EarlyStopping("val_rmse")]
    trainer = fit(module, callbacks, limit_val_batches=1, max_epochs=3)
    assert len(recovery.attempts) == 1
    assert trainer.current_epoch == 3
    assert module.norm.running_mean.isfinite().all()


def test_masks_alone_are_no_reason():
    recovery = DivergenceRecovery(snapshot_every=1)
    fit(LateMask(), [recovery])
    assert recovery.attempts == []
    assert recovery.snapshots.newest["global_step"] == 11


class Unfreezes(BaseFinetuning):
    """A parameter group more from the second epoch on."""

    def freeze_before_training(self, pl_module):
        self.freeze(pl_module.cell)

    def finetune_function(self, pl_module, epoch, optimizer):
        if epoch == 1:
            self.unfreeze_and_add_param_group(pl_module.cell, optimizer, lr=0.02)


class Tuned(ForeignRecurrent):
    def configure_optimizers(self):
        return torch.optim.AdamW([p for p in self.parameters() if p.requires_grad], lr=0.02)


@pytest.mark.parametrize("guards", [[], [StepGuard(0, 0), FiniteParameterGuard()]])
@pytest.mark.parametrize("first", [True, False])
def test_after_a_parameter_group_was_added_it_goes_back_to_a_snapshot_with_that_group(guards, first):
    recovery, module = DivergenceRecovery(), Tuned()
    order = [Unfreezes(), *guards, recovery] if first else [*guards, recovery, Unfreezes()]
    trainer = fit(module, [FaultInjector("parameter", NAN, 16), *order], max_epochs=3)
    (attempt,) = recovery.attempts
    assert attempt["back_to_step"] == 12
    assert len(trainer.optimizers[0].param_groups) == 2
    assert all(parameter.isfinite().all() for parameter in module.parameters())


def test_after_weight_averaging_replaced_the_scheduler_it_goes_on():
    recovery, module = DivergenceRecovery(), ForeignRecurrent()
    averaging = StochasticWeightAveraging(0.01, swa_epoch_start=2)
    fit(module, [FaultInjector("parameter", NAN, 28), recovery, averaging], max_epochs=4)
    assert [attempt["back_to_step"] for attempt in recovery.attempts] == [24]
    assert all(parameter.isfinite().all() for parameter in module.parameters())


class Grows(ForeignRecurrent):
    """A layer more from a batch in mid-epoch on."""

    def training_step(self, batch, batch_idx):
        if self.trainer.global_step == 4 and not hasattr(self, "late"):
            self.late = nn.Linear(1, 1)
        return super().training_step(batch, batch_idx)


@pytest.mark.parametrize("guards", [[], [StepGuard(), FiniteParameterGuard()]])
def test_where_no_snapshot_fits_it_stops_in_one_line(guards):
    recovery = DivergenceRecovery(snapshot_every=50)
    with pytest.raises(DivergenceError) as error:
        fit(Grows(), [FaultInjector("parameter", NAN, 6), *guards, recovery])
    message = str(error.value)
    assert len(message.splitlines()) == 1
    assert "no state to go back to: epoch 0, batch 6: " in message
    assert "Layers, optimizers or schedulers have changed since the last snapshot, of step 0" in message
    assert not recovery.rollbacks.gave_up


def test_of_several_snapshots_the_newest_that_fits_is_used():
    recovery, module = DivergenceRecovery(snapshot_every=2), Grows()
    fit(module, [FaultInjector("parameter", NAN, 9), recovery])
    assert [attempt["back_to_step"] for attempt in recovery.attempts] == [8]
    assert all(parameter.isfinite().all() for parameter in module.parameters())


class Saves(Callback):
    """What an exception leaves."""

    def __init__(self, path):
        self.path = path

    def on_exception(self, trainer, pl_module, exception):
        trainer.save_checkpoint(self.path)


def test_weights_that_are_nan_from_the_start_stop_the_training_in_one_line(tmp_path):
    module = ForeignRecurrent()
    module.cell.weight.data[0, 0] = NAN
    with pytest.raises(DivergenceError) as error:
        fit(module, [DivergenceRecovery(), Saves(tmp_path / "left.ckpt")], max_epochs=2)
    message = str(error.value)
    assert len(message.splitlines()) == 1
    assert "no state to go back to: epoch 0, batch 0: parameters cell.weight" in message
    assert "check the initialization, or resume from an earlier checkpoint" in message


def test_weights_loaded_at_the_start_by_somebody_behind_it_are_no_divergence():
    class Loads(Callback):
        def on_train_start(self, trainer, pl_module):
            torch.nn.init.zeros_(pl_module.cell.weight)

    module, recovery = ForeignRecurrent(), DivergenceRecovery()
    module.cell.weight.data[0, 0] = NAN
    fit(module, [FaultInjector("parameter", NAN, 5), recovery, Loads()])
    assert [attempt["back_to_step"] for attempt in recovery.attempts] == [0]
    assert all(parameter.isfinite().all() for parameter in module.parameters())
