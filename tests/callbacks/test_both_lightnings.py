"""What our callbacks know of Lightning's own classes, in each of its two packages and with both in one training."""

import importlib
from types import ModuleType

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from tests.callbacks.foreign import leaky_sequences
from tests.which_lightning import pl
from vestim_pl.callbacks import (
    CrashBundle,
    DivergenceRecovery,
    EpochSummary,
    FiniteParameterGuard,
    StepGuard,
)
from vestim_pl.callbacks.crash_bundle.reading import read_bundle
from vestim_pl.callbacks.crash_bundle.replaying import replay_bundle
from vestim_pl.errors import ConfigurationError, DivergenceError

PACKAGES = ("lightning.pytorch", "pytorch_lightning")
NAN = float("nan")


@pytest.fixture(params=PACKAGES)
def theirs(request) -> ModuleType:
    """The package of the project: its trainer and its module."""
    return importlib.import_module(request.param)


@pytest.fixture(params=PACKAGES)
def others(request) -> ModuleType:
    """The package that the other callbacks of the project come from, the same one or not."""
    return importlib.import_module(request.param)


def regression(theirs: ModuleType, bad_validation: int = -1):
    """A small module of their package; its validation of epoch ``bad_validation`` is NaN."""

    class Regression(theirs.LightningModule):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(2, 1)

        def loss(self, batch):
            return (self.head(batch[0]).squeeze(-1) - batch[1]).square().mean()

        def training_step(self, batch, batch_idx):
            return self.loss(batch)

        def validation_step(self, batch, batch_idx):
            self.log("val_loss", self.loss(batch) * (NAN if self.current_epoch == bad_validation else 1.0))

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.1)

        def train_dataloader(self):
            return DataLoader(TensorDataset(*leaky_sequences(8, 4, seed=1)), batch_size=2)

        val_dataloader = train_dataloader

    torch.manual_seed(0)
    return Regression()


def poison(theirs: ModuleType, at: int):
    """A callback of theirs that makes a weight NaN before batch ``at``."""

    class Poison(theirs.Callback):
        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            if trainer.global_step == at and not self.done:
                self.done = True
                pl_module.head.weight.data[0, 0] = NAN

        done = False

    return Poison()


def fit(theirs: ModuleType, module, *callbacks, **options):
    settings = {
        "accelerator": "cpu", "devices": 1, "logger": False, "enable_progress_bar": False,
        "enable_model_summary": False, "num_sanity_val_steps": 0, "max_epochs": 2, "enable_checkpointing": False,
    }  # fmt: skip
    trainer = theirs.Trainer(callbacks=list(callbacks), **(settings | options))
    trainer.fit(module)
    return trainer


def test_early_stopping_before_the_recovery_is_refused(theirs, others):
    callbacks = [others.callbacks.EarlyStopping("val_loss"), DivergenceRecovery()]
    with pytest.raises(ConfigurationError, match="put DivergenceRecovery before EarlyStopping in callbacks"):
        fit(theirs, regression(theirs), *callbacks)


def test_weight_averaging_before_the_recovery_is_refused(theirs):  # it refuses a module of the other package itself
    if not hasattr(theirs.callbacks, "WeightAveraging"):
        pytest.skip("this version of Lightning has no WeightAveraging")
    with pytest.raises(ConfigurationError, match="put DivergenceRecovery before WeightAveraging in callbacks"):
        fit(theirs, regression(theirs), theirs.callbacks.WeightAveraging(), DivergenceRecovery())


def test_metrics_are_paused_after_a_recovery_and_early_stopping_does_not_end_the_run(theirs, others):
    stopper = others.callbacks.EarlyStopping("val_loss", patience=9)
    recovery = DivergenceRecovery(snapshot_every=2)
    trainer = fit(theirs, regression(theirs, bad_validation=1), recovery, stopper, max_epochs=4)
    assert trainer.current_epoch == 4
    assert stopper.stopped_epoch == 0
    assert stopper.check_finite
    assert len(recovery.attempts) == 1


def test_without_the_recovery_early_stopping_ends_that_run(theirs, others):
    stopper = others.callbacks.EarlyStopping("val_loss", patience=9)
    trainer = fit(theirs, regression(theirs, bad_validation=1), stopper, max_epochs=4)
    assert trainer.current_epoch < 4


def test_no_checkpoint_with_non_finite_weights_is_written(theirs, others, tmp_path):
    saving = others.callbacks.ModelCheckpoint(tmp_path, "{step}", every_n_train_steps=1, save_top_k=-1)
    with pytest.raises(DivergenceError):
        fit(
            theirs, regression(theirs), FiniteParameterGuard(every_n_steps=100), poison(theirs, at=3), saving,
            enable_checkpointing=True,
        )  # fmt: skip
    saved = sorted(tmp_path.glob("*.ckpt"))
    assert saved
    for path in saved:
        state = torch.load(path, weights_only=True)["state_dict"]
        assert all(bool(torch.isfinite(value).all()) for value in state.values()), path.name


class TheirModule(pl.LightningModule):
    """At the top of a file, so that a bundle can name it; of the package that ``VESTIM_LIGHTNING`` names."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(2, 1)

    def training_step(self, batch, batch_idx):
        return self.head(batch[0]).square().mean()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)

    def train_dataloader(self):
        return DataLoader(TensorDataset(*leaky_sequences(8, 4, seed=1)), batch_size=2)


@pytest.mark.both_lightnings
@pytest.mark.parametrize("factory", [None, f"{__name__}:TheirModule"])
def test_a_bundle_is_written_and_replayed_from_the_class_of_the_module_or_a_factory(tmp_path, factory):
    guards = [CrashBundle(str(tmp_path)), StepGuard(), FiniteParameterGuard(), DivergenceRecovery(snapshot_every=1)]
    trainer = fit(pl, TheirModule(), poison(pl, at=3), *guards)
    assert all(bool(torch.isfinite(value).all()) for value in trainer.lightning_module.parameters())
    bundle = read_bundle(next(tmp_path.glob("*.pt")))
    assert bundle["summary"]["cause"] == "parameter"
    replay = replay_bundle(bundle, trust=True, factory=factory)
    assert replay.trace.origin.frame.name == "head.weight"


def test_the_reason_of_early_stopping_is_in_the_event_of_the_end(theirs, others):
    events = []

    class Listener(theirs.Callback):
        def on_event(self, trainer, event):
            events.append(event)

    stopper = others.callbacks.EarlyStopping("val_loss", patience=0, min_delta=1e9)
    fit(theirs, regression(theirs), EpochSummary("val_loss", "val_loss", unit=""), stopper, Listener(), max_epochs=9)
    [reason] = [event.reason for event in events if event.kind == "stop"]
    assert "val_loss" in reason
    assert "max_epochs" not in reason
