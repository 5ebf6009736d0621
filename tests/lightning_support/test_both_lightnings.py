"""The callbacks in projects that import ``pytorch_lightning``, a copy of ``lightning.pytorch`` with other classes."""

import lightning.pytorch
import pytest
import torch

from tests.callbacks.fault_injector import FaultInjector
from tests.callbacks.foreign import ForeignRecurrent, Recorder
from vestim_pl.callbacks import (
    AdaptiveGradientClipping,
    DivergenceRecovery,
    EventLog,
    FiniteParameterGuard,
    GracefulInterrupt,
    GradientNormMonitor,
    LastCheckpoint,
    LearningRateWarmup,
    PlateauLearningRate,
    RandomStateCheckpoint,
    StepGuard,
)
from vestim_pl.errors import ConfigurationError

pytorch_lightning = pytest.importorskip("pytorch_lightning")
PACKAGES = {"lightning.pytorch": lightning.pytorch, "pytorch_lightning": pytorch_lightning}


class SecondInjector(FaultInjector):
    """Lightning takes one callback of a class with state."""


def faults():
    return [FaultInjector("input", float("nan"), 4), SecondInjector("parameter", float("nan"), 16)]


def recurrent(package):
    """The recurrent module of the tests, derived from the LightningModule of a package."""
    members = {name: value for name, value in vars(ForeignRecurrent).items() if not name.startswith("__")}
    module = type("Recurrent", (package.LightningModule,), members)()
    module.__dict__ |= {"hidden": 8, "lr": 0.02, "weight_decay": 0.1, "carry": False, "carried": None, "losses": []}
    module.cell, module.head = torch.nn.Linear(10, 8), torch.nn.Linear(8, 1)
    return module


def train(trainer_package, callback_package, folder, injectors=(), **options):
    """Fit with the callbacks of this package and with Lightning's own of one of the two packages."""
    torch.manual_seed(0)
    stopper = callback_package.callbacks.EarlyStopping("val_rmse", patience=50)
    best = callback_package.callbacks.ModelCheckpoint(folder, "best", monitor="val_rmse", save_last=True)
    recorder, module = Recorder(), recurrent(trainer_package)
    callbacks = [
        RandomStateCheckpoint(), *injectors, LearningRateWarmup(4), GradientNormMonitor(), StepGuard(99, 2),
        AdaptiveGradientClipping(), FiniteParameterGuard(), PlateauLearningRate("val_rmse"),
        DivergenceRecovery(snapshot_every=2), stopper, EventLog(str(folder / "events.jsonl")), recorder, best,
        GracefulInterrupt(str(folder / "stopped.ckpt")), LastCheckpoint(str(folder / "latest.ckpt"), every="5 steps"),
    ]  # fmt: skip
    trainer = trainer_package.Trainer(
        callbacks=callbacks, max_epochs=3, logger=False, enable_progress_bar=False, enable_model_summary=False,
        accelerator="cpu", num_sanity_val_steps=0, default_root_dir=folder,
    )  # fmt: skip
    trainer.fit(module, **options)
    return module, trainer, recorder, stopper


@pytest.mark.parametrize("callbacks", PACKAGES)
@pytest.mark.parametrize("trainer", PACKAGES)
def test_faults_are_survived_alike_whatever_the_packages(trainer, callbacks, tmp_path):
    folders = [tmp_path / "this", tmp_path / "reference"]
    module, used, recorder, stopper = train(PACKAGES[trainer], PACKAGES[callbacks], folders[0], faults())
    assert [event.kind for event in recorder.events if event.kind in ("skip", "rollback")] == [
        "skip", "skip", "rollback",
    ]  # fmt: skip
    assert used.global_step == 36
    assert stopper.stopped_epoch == 0
    assert type(used.strategy.checkpoint_io).__name__ == "WholeCheckpointIO"
    reference, *_ = train(lightning.pytorch, lightning.pytorch, folders[1], faults())
    for mine, other in zip(module.parameters(), reference.parameters(), strict=True):
        assert torch.equal(mine, other)
    resumed, *_ = train(PACKAGES[trainer], PACKAGES[callbacks], folders[0], ckpt_path=folders[0] / "latest.ckpt")
    assert torch.equal(resumed.cell.weight, module.cell.weight)


@pytest.mark.parametrize("package", PACKAGES)
def test_a_wrong_order_is_refused_whatever_the_package(package):
    early = PACKAGES[package].callbacks.EarlyStopping("val_rmse")
    options = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "accelerator": "cpu"}
    for trainer in PACKAGES.values():
        with pytest.raises(ConfigurationError, match="put DivergenceRecovery before EarlyStopping"):
            trainer.Trainer(callbacks=[early, DivergenceRecovery()], **options).fit(recurrent(trainer))
