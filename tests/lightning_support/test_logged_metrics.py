import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from torch.optim.lr_scheduler import ReduceLROnPlateau

from tests.callbacks.foreign import ForeignRecurrent, RankReport, Recorder, fit, same, two_processes
from vestim_pl.callbacks import DivergenceRecovery
from vestim_pl.lightning_support.logged_metrics import nonfinite_metrics

NAN = float("nan")


class Unsynced(ForeignRecurrent):
    """Logs a metric of each rank's own, NaN on the last rank in the second epoch."""

    def validation_step(self, batch, batch_idx):
        bad = self.current_epoch == 1 and self.global_rank == self.trainer.world_size - 1
        self.log("v", NAN if bad else 1.0 / (1 + self.current_epoch))


class Plateau(Unsynced):
    """Reduces its rate as soon as the metric does not improve."""

    def configure_optimizers(self):
        optimizer = super().configure_optimizers()
        scheduler = ReduceLROnPlateau(optimizer, patience=0, factor=0.5)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "monitor": "v"}}


class Asks(Callback):
    """What is found at the end of validations and training epochs."""

    def __init__(self):
        self.validations, self.epochs = [], []

    def on_validation_end(self, trainer, pl_module):
        self.validations.append(list(nonfinite_metrics(trainer, None)))

    def on_train_epoch_end(self, trainer, pl_module):
        self.epochs.append(list(nonfinite_metrics(trainer, None)))


def test_metric_is_judged_where_it_was_measured_and_only_then():
    class NanLoss(ForeignRecurrent):
        def training_step(self, batch, batch_idx):
            loss = super().training_step(batch, batch_idx)
            bad = self.current_epoch == 1 and batch_idx == 2
            self.log("train_loss", loss * NAN if bad else loss, on_step=False, on_epoch=True)
            return loss

    asks = Asks()
    stoppers = [EarlyStopping(name, check_finite=False) for name in ("train_loss", "val_rmse")]
    fit(NanLoss(), [asks, *stoppers], limit_val_batches=1, max_epochs=3)
    assert asks.epochs == [[], ["train_loss"], []]
    assert asks.validations == [[], [], []]  # the third sees a train_loss that is still that of the second epoch


@pytest.mark.parametrize("guarded", [True, False])
def test_plateau_scheduler_does_not_cut_the_rate_for_a_metric_that_was_recovered_from(guarded):
    recovery = [DivergenceRecovery(snapshot_every=2)] if guarded else []
    callbacks = [*recovery, EarlyStopping("v", check_finite=guarded)]
    trainer = fit(Plateau(), callbacks, limit_val_batches=1, max_epochs=4)
    assert trainer.current_epoch == 4
    assert trainer.optimizers[0].param_groups[0]["lr"] == (0.02 if guarded else 0.01)
    assert trainer.lr_scheduler_configs[0].interval == "epoch"


@pytest.mark.slow
def test_metric_that_is_nan_on_one_rank_has_every_rank_recover(tmp_path):
    saves = ModelCheckpoint(tmp_path, "{epoch}", monitor="v", save_top_k=2)
    callbacks = [DivergenceRecovery(snapshot_every=2), Recorder(), RankReport(tmp_path), EarlyStopping("v"), saves]
    fit(Unsynced(), callbacks, strategy=two_processes(), devices=2, max_epochs=4, limit_val_batches=1,
        enable_checkpointing=True)  # fmt: skip
    first, second = (torch.load(tmp_path / f"rank{rank}.pt") for rank in range(2))
    assert first["reasons"] == second["reasons"]
    assert first["kinds"] == ["rollback", "checkpoint_removed"]
    assert "the validation metric v is nan" in first["reasons"][0]
    assert same(first["weights"], second["weights"])
    assert sorted(path.name for path in tmp_path.glob("*.ckpt")) == ["epoch=2.ckpt", "epoch=3.ckpt"]
