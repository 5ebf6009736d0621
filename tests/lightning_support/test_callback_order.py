import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import EMAWeightAveraging

from tests.callbacks.fault_injector import FaultInjector
from tests.callbacks.foreign import ForeignRecurrent, Recorder, fit
from vestim_pl.callbacks import DivergenceRecovery, FiniteParameterGuard
from vestim_pl.errors import ConfigurationError
from vestim_pl.lightning_support.callback_order import gradient_norm_before, parameter_norm_before


class Guard(Callback):
    """Has both hooks, and a norm where one is given."""

    def __init__(self, norm=None):
        if norm is not None:
            self.gradient_norm = self.parameter_norm = norm

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        pass

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        pass


@pytest.mark.parametrize("norm_before", [gradient_norm_before, parameter_norm_before])
def test_only_the_nearest_callback_with_the_hook_counts(norm_before):
    first, second, third, fourth, last = Guard(1.0), Guard(2.0), Callback(), Guard(), Guard()
    trainer = Trainer(
        callbacks=[first, second, third, fourth, last], logger=False, enable_checkpointing=False,
        enable_progress_bar=False,
    )  # fmt: skip
    assert norm_before(trainer, fourth) == 2.0
    assert norm_before(trainer, last) is None  # the callback in between measured nothing and may have changed something
    assert norm_before(trainer, first) is None


class ModuleWithHook(LightningModule):
    def on_before_optimizer_step(self, optimizer):
        pass


def test_the_module_gets_the_norm_of_the_last_callback_with_the_hook():
    def measured(*callbacks, kind=LightningModule):
        trainer = Trainer(
            callbacks=list(callbacks), logger=False, enable_checkpointing=False, enable_progress_bar=False,
        )  # fmt: skip
        trainer.strategy.connect(kind())
        return gradient_norm_before(trainer)

    assert measured(Guard(1.0), Guard(2.0), Callback()) == 2.0
    assert measured(Guard(1.0), Guard()) is None
    assert measured(Callback()) is None
    assert measured(Guard(1.0), kind=ModuleWithHook) is None  # the module's own hook runs after theirs


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
