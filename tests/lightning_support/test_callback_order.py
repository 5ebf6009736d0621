import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import EMAWeightAveraging

from tests.callbacks.fault_injector import FaultInjector
from tests.callbacks.foreign import ForeignRecurrent, Recorder, fit
from vestim_pl.callbacks import DivergenceRecovery, FiniteParameterGuard
from vestim_pl.errors import ConfigurationError
from vestim_pl.lightning_support.callback_order import measured_before, measured_last


class Looks(Callback):
    def __init__(self, norm=None):
        if norm is not None:
            self.norm = norm

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        pass


def test_the_nearest_one_that_has_the_hook_counts():
    first, second, third, fourth, last = Looks(1.0), Looks(2.0), Callback(), Looks(), Looks()
    trainer = Trainer(
        callbacks=[first, second, third, fourth, last], logger=False, enable_checkpointing=False,
        enable_progress_bar=False,
    )  # fmt: skip
    assert measured_before(trainer, fourth, "on_train_batch_end", "norm") == 2.0
    assert measured_before(trainer, last, "on_train_batch_end", "norm") is None  # who came between knows nothing
    assert measured_before(trainer, first, "on_train_batch_end", "norm") is None
    assert measured_before(trainer, last, "on_fit_start", "norm") is None


class WithTheHook(LightningModule):
    def on_train_batch_end(self, outputs, batch, batch_idx):
        pass


def test_the_module_gets_what_the_last_one_with_the_hook_has_measured():
    def measured(*callbacks, kind=LightningModule):
        module = kind()
        module.trainer = Trainer(
            callbacks=list(callbacks), logger=False, enable_checkpointing=False, enable_progress_bar=False,
        )  # fmt: skip
        return measured_last(module, "on_train_batch_end", "norm")

    assert measured(Looks(1.0), Looks(2.0), Callback()) == 2.0
    assert measured(Looks(1.0), Looks()) is None
    assert measured(Callback()) is None
    assert measured(Looks(1.0), kind=WithTheHook) is None  # it comes after them


@pytest.mark.parametrize("kind", [DivergenceRecovery, FiniteParameterGuard])
def test_weights_are_averaged_after_they_were_put_right_or_the_run_is_refused(kind):
    average = EMAWeightAveraging(decay=0.9)
    with pytest.raises(ConfigurationError, match=f"{kind.__name__}: EMAWeightAveraging stands before it"):
        fit(ForeignRecurrent(), [average, kind()])


def test_average_taken_after_a_recovery_is_finite():
    module, recorder = ForeignRecurrent(), Recorder()
    callbacks = [DivergenceRecovery(snapshot_every=2), EMAWeightAveraging(decay=0.9), recorder]
    fit(module, [FaultInjector("gradient", float("nan"), 6), *callbacks], max_epochs=2, limit_val_batches=1)
    assert len(recorder.of("rollback")) == 1
    assert all(torch.isfinite(parameter).all() for parameter in module.parameters())
