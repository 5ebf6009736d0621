"""A run that rolled back, stopped and resumed, beside one that never stopped: the learning rate is the same."""

import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import ModelCheckpoint

from tests.callbacks.fault_injector import FaultInjector
from tests.callbacks.foreign import ForeignRecurrent, Recorder, fit, same
from vestim_pl.callbacks import (
    DivergenceRecovery,
    FiniteParameterGuard,
    LearningRateWarmup,
    PlateauLearningRate,
    StepGuard,
)
from vestim_pl.lightning_support.learning_rate import LearningRateFactors

NAN = float("nan")


class Rates(Callback):
    """Learning rates that the updates used, by step."""

    def __init__(self):
        self.used = {}

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.used[trainer.global_step] = LearningRateFactors.of(trainer).used(trainer.optimizers[0])[0]


class Cuts(Callback):
    """Cuts the plateau's factor before the update of a step, as a stalled metric does."""

    def __init__(self, at):
        self.at = at

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.global_step == self.at:
            plateau = next(callback for callback in trainer.callbacks if isinstance(callback, PlateauLearningRate))
            plateau.scheduler.optimizer.param_groups[0]["lr"] *= 0.25
            plateau.cuts += 1


def other(kind):
    return LearningRateWarmup(40) if kind == "warmup" else PlateauLearningRate("val_rmse", patience=99)


@pytest.mark.parametrize("kind", ["warmup", "plateau"])
@pytest.mark.parametrize("first", ["recovery", "other"])
def test_resumed_after_a_rollback_keeps_the_learning_rate(tmp_path, kind, first):
    def run(saving, **options):
        pair = [DivergenceRecovery(snapshot_every=2), other(kind)]
        rates, recorder = Rates(), Recorder()
        ordered = pair if first == "recovery" else pair[::-1]
        cuts = [Cuts(2)] * (kind == "plateau")
        guards = [StepGuard(), FiniteParameterGuard()]
        callbacks = [FaultInjector("parameter", NAN, 6), *cuts, *guards, *ordered, rates, recorder, *saving]
        torch.manual_seed(0)
        fit(ForeignRecurrent(), callbacks, max_epochs=2, limit_val_batches=1, **options)
        return pair, rates.used, recorder.weights[-1]

    keeper = ModelCheckpoint(tmp_path, "{step}", every_n_train_steps=9, save_top_k=-1)
    whole, expected, weights = run([keeper], enable_checkpointing=True)
    resumed, found, after = run([], ckpt_path=tmp_path / "step=9.ckpt")
    assert len(resumed[0].attempts) == 1
    assert found == {step: expected[step] for step in found}
    assert 24 in found
    assert same(weights, after)
    assert all(same(a.state_dict(), b.state_dict()) for a, b in zip(whole, resumed, strict=True))


@pytest.mark.parametrize("first", ["recovery", "plateau"])
def test_a_cut_of_the_plateau_after_the_snapshot_is_taken_back_and_never_undoes_the_recoverys(first):
    recovery, plateau = DivergenceRecovery(snapshot_every=2), PlateauLearningRate("val_rmse", patience=99)
    rates, pair = Rates(), [recovery, plateau]
    ordered = pair if first == "recovery" else pair[::-1]
    callbacks = [Cuts(5), FaultInjector("parameter", NAN, 5), *ordered, rates]
    fit(ForeignRecurrent(), callbacks, max_epochs=2, limit_val_batches=1)
    (attempt,) = recovery.attempts
    assert attempt["back_to_step"] <= 4
    assert plateau.scale == 1.0
    assert plateau.cuts == 0
    assert attempt["learning_rate_before"] == pytest.approx(0.02 * 0.25)
    after = [rate for step, rate in rates.used.items() if step > 6]
    assert after == pytest.approx([0.1 * 0.02 * 0.25] * len(after))


@pytest.mark.parametrize("first", ["recovery", "plateau"])
def test_a_cut_of_the_plateau_before_the_snapshot_stays(first):
    recovery, plateau = DivergenceRecovery(snapshot_every=1), PlateauLearningRate("val_rmse", patience=99)
    ordered = [recovery, plateau] if first == "recovery" else [plateau, recovery]
    fit(ForeignRecurrent(), [Cuts(1), FaultInjector("parameter", NAN, 5), *ordered], limit_val_batches=1)
    assert len(recovery.attempts) == 1
    assert plateau.scale == 0.25
