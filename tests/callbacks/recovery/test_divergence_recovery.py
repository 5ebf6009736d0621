import contextlib
import math
import random

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from lightning.pytorch.plugins import MixedPrecision
from torch.optim.lr_scheduler import LambdaLR

from tests.callbacks.fault_injector import FaultInjector
from tests.callbacks.foreign import ForeignRecurrent, RankReport, Recorder, fit, same
from vestim_pl.callbacks import (
    DivergenceRecovery,
    FiniteParameterGuard,
    LearningRateWarmup,
    RandomStateCheckpoint,
    StepGuard,
)
from vestim_pl.errors import ConfigurationError, DivergenceError
from vestim_pl.lightning_support.learning_rate import LearningRateFactors

NAN, INF = float("nan"), float("inf")


class Scheduled(ForeignRecurrent):
    def configure_optimizers(self):
        optimizer = super().configure_optimizers()
        scheduler = LambdaLR(optimizer, lambda step: 0.9**step)  # computed from its count, not from the rate at hand
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


class Carries(Scheduled):
    def __init__(self):
        super().__init__(carry=True)


def run(site, value=NAN, at=4, recovery=None, module=None, guards=(), **options):
    torch.manual_seed(0)
    recovery, recorder = recovery or DivergenceRecovery(snapshot_every=2), Recorder()
    module = module or Scheduled()
    persistent, after = options.pop("persistent", False), options.pop("after", [])
    trainer = fit(module, [FaultInjector(site, value, at, persistent), *guards, recovery, recorder, *after], **options)
    return trainer, module, recovery, recorder


class Poisons(Callback):
    """Writes into a weight at the end of a batch, in a way that no version counter shows."""

    def __init__(self, value):
        self.value = value

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if batch_idx == 4 and trainer.current_epoch == 0:
            next(pl_module.parameters()).data.view(-1)[0] = self.value


@pytest.mark.parametrize("value", [NAN, 1e30], ids=["nan", "finite with an infinite norm"])
@pytest.mark.parametrize("between", [True, False])
def test_behind_a_guard_that_saw_finite_weights_it_sees_what_became_of_them(between, value):
    guard, poison = FiniteParameterGuard(), Poisons(value)
    recovery, recorder = DivergenceRecovery(), Recorder()
    fit(ForeignRecurrent(), [*((guard, poison) if between else (poison, guard)), recovery, recorder], max_steps=8)
    assert [attempt["step"] for attempt in recovery.attempts] == [5]


@pytest.mark.parametrize("value", [NAN, INF, -INF])
@pytest.mark.parametrize("site", ["input", "target", "activation", "loss", "gradient", "parameter"])
def test_without_a_guard_nonfinite_weights_are_rolled_back_in_their_step(site, value):
    # Batch 4 is poisoned; the snapshot after batch 3 was not yet confirmed by a loss, that after batch 1 was.
    _, _, recovery, seen = run(site, value)
    (event,) = seen.of("rollback")
    assert same(seen.weights[4], seen.weights[1])
    assert same(seen.moments[4], seen.moments[1])
    assert seen.rates[4:7] == seen.rates[1:4]  # the schedule goes back with the weights
    assert (event.values["step"], event.values["back_to_step"]) == (5, 2)
    assert event.values["learning_rate_after"] == pytest.approx(0.1 * event.values["learning_rate_before"])
    assert "epoch 0, batch 4: parameters" in event.reason
    assert event.values["non_finite"] is True
    assert seen.steps[-1] == 12  # steps keep counting
    assert all(torch.isfinite(weight).all() for weight in seen.weights[-1])
    assert not same(seen.weights[5], seen.weights[4])
    assert len(recovery.attempts) == 1


def test_gradients_are_dropped_and_the_factor_is_applied_to_the_update():
    class Looks(Callback):
        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            if batch_idx == 4:
                assert all(p.grad is None for p in pl_module.parameters())
            assert trainer.optimizers[0].param_groups[0]["lr"] == 0.02
            self.effective = LearningRateFactors.of(trainer).effective(trainer.optimizers[0])

    looks = Looks()
    fit(ForeignRecurrent(), [FaultInjector("gradient", NAN, 4), DivergenceRecovery(), looks])
    assert looks.effective == [pytest.approx(0.002)]


def test_exhausted_skips_are_recovered_from():
    _, _, recovery, seen = run(
        "input", guards=[StepGuard(99, 1)], persistent=True, recovery=DivergenceRecovery(max_attempts=9)
    )
    assert [event.kind for event in seen.events][:3] == ["skip", "skip", "rollback"]
    assert recovery.attempts[0]["cause"] == "epoch 0, batch 5: 2 skips in a row, 1 allowed"


@pytest.mark.parametrize("order", [0, 1, 2])
def test_with_all_guards_in_any_order_one_fault_is_one_recovery(order):
    guards = [StepGuard(), FiniteParameterGuard(), DivergenceRecovery(snapshot_every=2)]
    guards = guards[order:] + guards[:order]
    recorder, module = Recorder(), Scheduled()
    fit(module, [FaultInjector("parameter", NAN, 4), *guards, recorder])
    assert len(recorder.of("rollback")) == 1
    assert same(recorder.weights[4], recorder.weights[1])
    assert all(torch.isfinite(p).all() for p in module.parameters())


def test_a_frozen_infinite_mask_is_no_divergence(tmp_path):
    class Masked(ForeignRecurrent):
        def __init__(self):
            super().__init__()
            self.mask = torch.nn.Parameter(torch.tensor(-INF), requires_grad=False)
            self.register_buffer("other_mask", torch.tensor(-INF))

    keeper = ModelCheckpoint(tmp_path, "{step}", every_n_train_steps=4)
    _, _, recovery, _ = run("parameter", value=0.0, module=Masked(), guards=[keeper], enable_checkpointing=True)
    assert recovery.attempts == []
    assert recovery.snapshots.newest["global_step"] == 10


def test_exploded_last_checkpoint_does_not_stand_when_recoveries_are_used_up(tmp_path):
    keeper = ModelCheckpoint(tmp_path, "{step}", every_n_train_steps=1, save_top_k=1, save_last=True)
    with pytest.raises(DivergenceError):
        fit(Explodes(), [DivergenceRecovery(0.1, 0, snapshot_every=1), keeper], max_epochs=3, enable_checkpointing=True)
    for path in tmp_path.iterdir():
        assert load(path)["state_dict"]["head.weight"].abs().max() < 10


def test_persistent_fault_ends_with_all_recoveries_listed_and_the_good_weights():
    module = Scheduled()
    with pytest.raises(DivergenceError) as error:
        run("parameter", module=module, persistent=True, recovery=DivergenceRecovery(max_attempts=2, snapshot_every=1))
    message = str(error.value)
    assert "\n" not in message
    assert "all 2 recoveries are used up" in message
    for piece in ("(1) epoch 0, batch 4", "(2) epoch 0, batch 5", "then epoch 0, batch 6", "went back to step 3",
                  "cell.weight", "0.0131 -> 0.00131"):  # fmt: skip
        assert piece in message
    assert all(torch.isfinite(p).all() for p in module.parameters())


def test_a_second_divergence_at_once_goes_back_to_the_older_snapshot():
    recovery = DivergenceRecovery(max_attempts=2, snapshot_every=1)
    with pytest.raises(DivergenceError):
        run("parameter", persistent=True, at=6, recovery=recovery)
    assert [attempt["back_to_step"] for attempt in recovery.attempts] == [5, 4]


class Explodes(ForeignRecurrent):
    """Finite weights a thousand times too large after batch 6: no NaN anywhere."""

    def on_train_batch_start(self, batch, batch_idx):
        if self.trainer.global_step == 18:
            with torch.no_grad():
                self.head.weight.mul_(1000)


def test_a_spike_that_stays_is_rolled_back_to_before_it():
    recovery = DivergenceRecovery(snapshot_every=1, spike_patience=3)

    class Looks(Callback):
        def on_event(self, trainer, event):
            if event.kind == "rollback":
                self.suspects = recovery.watch.spike.suspects

    looks = Looks()
    _, module, _, seen = run("input", at=999, module=Explodes(), recovery=recovery, guards=[looks], max_epochs=3)
    assert looks.suspects == 0  # what the loss did on the bad way is forgotten
    (event,) = seen.of("rollback")
    assert "the loss is at" in event.reason
    assert event.values["step"] == 21  # the third loss above the threshold
    assert event.values["back_to_step"] == 17  # finite, but bad: the snapshot of step 18 never counted
    assert max(module.losses[-8:]) < 2


def test_a_single_outlier_is_not_a_spike():
    class Outlier(ForeignRecurrent):
        def training_step(self, batch, batch_idx):
            loss = super().training_step(batch, batch_idx)
            return loss * 1e3 if self.trainer.global_step in (18, 21) else loss

    _, _, recovery, _ = run("input", at=999, module=Outlier(), max_epochs=3)
    assert recovery.attempts == []


def test_skipped_losses_are_the_guards_business():
    class FourInARow(FaultInjector):
        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            if self.seen + 1 < 8:
                super().on_train_batch_start(trainer, pl_module, batch, batch_idx)

    recovery, guard = DivergenceRecovery(spike_patience=2), StepGuard(max_consecutive_skips=4)
    fit(ForeignRecurrent(), [FourInARow("input", NAN, 4, persistent=True), guard, recovery])
    assert guard.skipped_steps == 4
    assert recovery.attempts == []


def test_no_snapshot_holds_nonfinite_moments():
    class PoisonsMoments(ForeignRecurrent):
        def on_train_batch_start(self, batch, batch_idx):
            if batch_idx == 5:
                state = self.trainer.optimizers[0].state
                next(iter(state.values()))["exp_avg_sq"].fill_(INF)

    _, _, recovery, seen = run("input", at=999, module=PoisonsMoments(), recovery=DivergenceRecovery(snapshot_every=3))
    assert "the state of the optimizer is not finite" in recovery.attempts[0]["cause"]
    assert all(torch.isfinite(entry["exp_avg_sq"]).all() for entry in seen.moments[-1][0].values())


def test_learning_rate_is_raised_again_but_not_into_the_same_wall():
    recovery = DivergenceRecovery(learning_rate_factor=0.25, raise_after=2, raise_by=2.0, snapshot_every=1)
    _, _, _, seen = run("parameter", recovery=recovery)
    raised = [event.values["factor"] for event in seen.of("recovery")]
    # The schedule went back to a higher rate than that of the last update: the factor is less than a quarter of it.
    assert raised == pytest.approx([0.5 * 0.9, 0.9, 1.0])
    recovery = DivergenceRecovery(learning_rate_factor=0.25, raise_after=2, raise_by=2.0, snapshot_every=1)

    class Twice(FaultInjector):
        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            self.at = 8 if self.seen >= 4 else 4
            super().on_train_batch_start(trainer, pl_module, batch, batch_idx)

    fit(Scheduled(), [Twice("parameter", NAN, 4), recovery], max_epochs=3)
    assert recovery.rate.limit == recovery.rate.rate_ceiling == recovery.attempts[1]["learning_rate_before"] / 2


class NanMetric(ForeignRecurrent):
    """Validation overflows in epoch 1 although loss and weights are finite."""

    def validation_step(self, batch, batch_idx):
        super().validation_step(batch, batch_idx)
        self.log("val_score", NAN if self.current_epoch == 1 else 1.0 / (1 + self.current_epoch))


@pytest.mark.parametrize("at_train_end", [True, False])
def test_non_finite_validation_metric_recovers_before_early_stopping_stops(at_train_end):
    stopper = EarlyStopping("val_score", patience=3, check_on_train_epoch_end=at_train_end)
    recovery = DivergenceRecovery(snapshot_every=2)
    trainer = fit(NanMetric(), [recovery, stopper], max_epochs=4, limit_val_batches=1)
    assert trainer.current_epoch == 4
    assert stopper.check_finite
    assert "the validation metric val_score is nan" in recovery.attempts[0]["cause"]
    alone = fit(NanMetric(), [EarlyStopping("val_score", patience=3)], max_epochs=4, limit_val_batches=1)
    assert alone.current_epoch == 2  # what it protects from


def test_early_stopping_before_it_is_refused():
    with pytest.raises(ConfigurationError, match="put DivergenceRecovery before EarlyStopping"):
        fit(ForeignRecurrent(), [EarlyStopping("val_rmse"), DivergenceRecovery()])


def load(path):
    return torch.load(path, weights_only=True)


def finite(path):
    checkpoint = load(path)
    states = [state for entry in checkpoint["optimizer_states"] for state in entry["state"].values()]
    tensors = [*checkpoint["state_dict"].values(), *(t for s in states for t in s.values())]
    return all(torch.isfinite(t).all() for t in tensors)


def test_checkpoint_with_a_nan_score_does_not_stand(tmp_path):
    keeper = ModelCheckpoint(tmp_path, "{epoch}", monitor="val_score", save_top_k=3, save_last=True)
    fit(
        NanMetric(),
        [DivergenceRecovery(snapshot_every=2), keeper],
        max_epochs=3,
        limit_val_batches=1,
        enable_checkpointing=True,
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["epoch=0.ckpt", "epoch=2.ckpt", "last.ckpt"]
    assert sorted(map(float, keeper.best_k_models.values())) == [pytest.approx(1 / 3), 1.0]
    assert keeper.best_model_path.endswith("epoch=2.ckpt")


def test_last_checkpoint_of_an_undone_state_is_overwritten(tmp_path):
    keeper = ModelCheckpoint(tmp_path, "{step}", every_n_train_steps=1, save_top_k=1, save_last=True)

    class Stop(Callback):
        def on_event(self, trainer, event):
            if event.kind == "checkpoint_removed" and "last.ckpt" in event.reason:
                assert load(tmp_path / "last.ckpt")["state_dict"]["head.weight"].abs().max() < 10
                self.seen = True

    stop = Stop()
    module = Explodes()
    recovery = DivergenceRecovery(snapshot_every=1)
    fit(module, [recovery, stop, keeper], max_epochs=3, enable_checkpointing=True)
    assert stop.seen


@pytest.mark.parametrize("what", ["parameter", "moment"])
def test_a_checkpoint_that_would_be_nonfinite_gets_the_good_state(tmp_path, what):
    class PoisonsThenSaves(Callback):
        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            if batch_idx == 6:
                with torch.no_grad():
                    if what == "parameter":
                        next(pl_module.parameters())[0, 0] = NAN
                    else:
                        next(iter(trainer.optimizers[0].state.values()))["exp_avg"][0, 0] = INF
                trainer.save_checkpoint(tmp_path / "saved.ckpt")

    recovery = DivergenceRecovery(snapshot_every=2)
    fit(ForeignRecurrent(), [recovery, PoisonsThenSaves()])
    assert finite(tmp_path / "saved.ckpt")
    assert "a checkpoint would hold non-finite numbers" in recovery.attempts[0]["cause"]
    assert len(load(tmp_path / "saved.ckpt")["callbacks"]["DivergenceRecovery"]["attempts"]) == 1


def test_last_good_file_is_confirmed_and_resumes(tmp_path):
    recovery = DivergenceRecovery(snapshot_every=2, checkpoint_every=2, dirpath=str(tmp_path))
    with pytest.raises(DivergenceError):
        run("parameter", at=8, persistent=True, recovery=recovery)
    assert [path.name for path in tmp_path.iterdir()] == ["last_good.ckpt"]
    assert finite(tmp_path / "last_good.ckpt")
    assert load(tmp_path / "last_good.ckpt")["global_step"] == 4  # that of step 8 proved bad
    trainer = fit(Scheduled(), [DivergenceRecovery()], ckpt_path=tmp_path / "last_good.ckpt")
    assert trainer.global_step == 12


@pytest.mark.parametrize("every", [1, 100])
def test_a_file_that_an_earlier_run_left_on_probation_is_removed_and_never_promoted(tmp_path, every):
    (tmp_path / "last_good.ckpt.pending").write_bytes(b"half a file")
    recovery = DivergenceRecovery(snapshot_every=2, checkpoint_every=every, dirpath=str(tmp_path))
    fit(Scheduled(), [recovery])
    left = [path.name for path in tmp_path.iterdir()]
    assert left == (["last_good.ckpt"] if every == 1 else [])
    assert all(finite(tmp_path / name) for name in left)


def test_fast_dev_run_writes_no_file(tmp_path):
    recovery = DivergenceRecovery(snapshot_every=1, checkpoint_every=1, dirpath=str(tmp_path))
    fit(Scheduled(), [recovery], fast_dev_run=4)
    assert list(tmp_path.iterdir()) == []


def test_a_file_of_another_run_is_left_alone_if_none_is_written(tmp_path):
    (tmp_path / "last_good.ckpt.pending").write_bytes(b"of a run beside")
    fit(Scheduled(), [DivergenceRecovery(snapshot_every=2, dirpath=str(tmp_path))])
    assert [path.name for path in tmp_path.iterdir()] == ["last_good.ckpt.pending"]


@pytest.mark.parametrize("fails", [False, True])
def test_no_file_stays_on_probation_after_a_fit(tmp_path, fails):
    class Fails(Callback):
        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            if fails and batch_idx == 10:  # the snapshot of step 10 is on probation yet
                raise RuntimeError("no more data")

    recovery = DivergenceRecovery(snapshot_every=2, checkpoint_every=1, dirpath=str(tmp_path))
    with pytest.raises(RuntimeError) if fails else contextlib.nullcontext():
        fit(Scheduled(), [recovery, Fails()])
    assert [path.name for path in tmp_path.iterdir()] == ["last_good.ckpt"]
    assert load(tmp_path / "last_good.ckpt")["global_step"] == (8 if fails else 10)


@pytest.mark.parametrize("stop", [3, 5, 6, 7])
@pytest.mark.parametrize("site", ["parameter", "input"])
def test_resume_is_bitwise(tmp_path, stop, site):
    def callbacks(save):
        every = [ModelCheckpoint(tmp_path, "{step}", every_n_train_steps=stop, save_top_k=-1)] if save else []
        recovery = DivergenceRecovery(snapshot_every=2, raise_after=2, max_attempts=9)
        return [FaultInjector(site, NAN, 5), StepGuard(0, 0), recovery, Recorder(), *every]

    torch.manual_seed(0)
    whole = callbacks(True)
    fit(Carries(), whole, enable_checkpointing=True)
    resumed = callbacks(False)
    torch.manual_seed(0)
    fit(Carries(), resumed, ckpt_path=tmp_path / f"step={stop}.ckpt")
    assert len(resumed[2].attempts) == 1
    assert same(whole[3].weights[-1], resumed[3].weights[-1])
    assert same(whole[3].moments[-1], resumed[3].moments[-1])
    assert same(whole[2].state_dict(), resumed[2].state_dict())


def test_without_snapshots_in_the_checkpoint_a_resumed_run_starts_with_its_own(tmp_path):
    recovery = DivergenceRecovery(snapshot_every=2, save_snapshots=False)
    keeper = ModelCheckpoint(tmp_path, "{step}", every_n_train_steps=6)
    fit(Scheduled(), [recovery, keeper], enable_checkpointing=True, max_steps=6)
    assert "snapshots" not in load(tmp_path / "step=6.ckpt")["callbacks"]["DivergenceRecovery"]
    again = DivergenceRecovery(snapshot_every=2, save_snapshots=False)
    fit(Scheduled(), [FaultInjector("parameter", NAN, 0), again], ckpt_path=tmp_path / "step=6.ckpt")
    assert again.attempts[0]["back_to_step"] == 6


def test_resume_from_a_checkpoint_written_without_it_and_a_second_fit(tmp_path):
    keeper = ModelCheckpoint(tmp_path, "{step}", every_n_train_steps=6)
    fit(Scheduled(), [keeper], enable_checkpointing=True, max_steps=6)
    recovery = DivergenceRecovery()
    fit(Scheduled(), [FaultInjector("parameter", NAN, 2), recovery], ckpt_path=tmp_path / "step=6.ckpt")
    assert recovery.attempts[0]["back_to_step"] == 6
    fit(Scheduled(), [recovery])
    assert recovery.attempts == []
    assert recovery.rate.value == 1.0


def test_carried_state_goes_back_through_the_modules_own_hooks():
    class KeepsCarried(Callback):
        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            self.carried = [*getattr(self, "carried", []), pl_module.carried.clone()]

    keeps = KeepsCarried()
    _, _, recovery, _ = run("input", module=ForeignRecurrent(carry=True), guards=[keeps])
    after = KeepsCarried()
    fit(ForeignRecurrent(carry=True), [FaultInjector("input", NAN, 4), DivergenceRecovery(snapshot_every=2), after])
    assert len(recovery.attempts) == 1  # a carried NaN would poison every batch after it
    assert same(after.carried[4], after.carried[1])


def test_the_scaler_goes_back_too():
    plugin = MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu", init_scale=64.0, growth_interval=1))

    class Scales(Callback):
        seen: list[float] = []

        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            self.seen.append(plugin.scaler.get_scale())

    scales = Scales()
    torch.manual_seed(0)
    fit(
        ForeignRecurrent(),
        [FaultInjector("parameter", NAN, 4), DivergenceRecovery(snapshot_every=2), scales],
        plugins=[plugin],
    )
    assert scales.seen[:6] == [128, 256, 512, 1024, 256, 512]


def test_accumulation():
    _, _, recovery, seen = run("input", at=7, accumulate_grad_batches=2)
    assert len(recovery.attempts) == 1
    assert "batch 7" in recovery.attempts[0]["cause"]
    assert same(seen.weights[7], seen.weights[3])


def test_random_state_continues_by_default():
    class Draws(ForeignRecurrent):
        def training_step(self, batch, batch_idx):
            drawn = torch.rand(1).item(), np.random.rand(), random.random()  # noqa: NPY002 - the global ones
            self.draws = [*getattr(self, "draws", []), drawn]
            return super().training_step(batch, batch_idx)

    _, module, _, _ = run("parameter", module=Draws())
    assert all(len(set(drawn)) == 12 for drawn in zip(*module.draws, strict=True))
    _, module, _, _ = run(
        "parameter", module=Draws(), recovery=DivergenceRecovery(snapshot_every=2, restore_random_state=True)
    )
    assert module.draws[5:8] == module.draws[2:5]


class SettlesHigh(ForeignRecurrent):
    """From step 60 on weights that are too large, but by little more a step: no spike at any time."""

    def on_train_batch_start(self, batch, batch_idx):
        if 60 <= self.trainer.global_step < 100:
            with torch.no_grad():
                self.head.weight.mul_(1.12)


def test_a_loss_that_settles_far_above_its_best_goes_back_to_the_weights_of_the_best():
    recovery = DivergenceRecovery(snapshot_every=5, spike_ratio=None, trend_window=20)
    _, module, _, seen = run("input", at=999, module=SettlesHigh(), recovery=recovery, max_epochs=12)
    event, *_ = seen.of("rollback")
    assert "times the best such mean" in event.reason
    assert event.values["non_finite"] is False
    assert 60 < event.values["step"] <= 100
    assert event.values["back_to_step"] < 60, "the newest snapshots are of the bad stretch"
    assert max(module.losses[-12:]) < 2 * max(module.losses[48:60])


def test_whole_epochs_are_judged_at_their_end():
    recovery = DivergenceRecovery(snapshot_every=5, spike_ratio=None, trend_window=20, whole_epochs=True)
    _, _, _, seen = run("input", at=999, module=SettlesHigh(), recovery=recovery, max_epochs=12)
    event, *_ = seen.of("rollback")
    assert event.values["step"] % 12 == 0
    assert event.values["back_to_step"] < 60


class Misleads(Callback):
    """From epoch 5 until a rollback, weights too large for a validation near its best."""

    gone_back = False

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.current_epoch >= 5 and not self.gone_back:
            with torch.no_grad():
                pl_module.head.weight.fill_(2.0)

    def on_event(self, trainer, event):
        self.gone_back |= event.kind == "rollback"

    def state_dict(self):
        return {"gone_back": self.gone_back}

    def load_state_dict(self, state):
        self.gone_back = state["gone_back"]


def loses_its_way(**options):
    recovery = DivergenceRecovery(snapshot_every=1000, spike_ratio=None, trend_ratio=None, **options)
    stopper, module = EarlyStopping("val_rmse", patience=3), ForeignRecurrent()
    _, _, _, seen = run(
        "input", at=999, module=module, recovery=recovery, guards=[Misleads()], after=[stopper], max_epochs=12,
        limit_val_batches=1,
    )  # fmt: skip
    return recovery, stopper, module, seen


def test_a_validation_that_comes_no_more_near_its_best_goes_back_to_the_weights_of_the_best():
    recovery, stopper, module, seen = loses_its_way()
    (event,) = seen.of("rollback")
    assert "epoch 7: the validation metric val_rmse is" in event.reason
    assert event.values["non_finite"] is False
    assert "for the 3rd time since" in event.reason
    assert event.values["back_to_step"] == 60, "the end of epoch 4, the last before it lost its way"
    assert max(module.losses[-12:]) < 2 * max(module.losses[48:60])
    assert recovery.rate.value == pytest.approx(0.1)
    assert stopper.stopped_epoch == 0, "bad values before the rollback must not use up patience"


class SavesAt(Callback):
    """One checkpoint that no saver knows, so that a rollback leaves it as it is."""

    def __init__(self, step, path):
        self.step, self.path = step, path

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if trainer.global_step == self.step:
            trainer.save_checkpoint(self.path)


@pytest.mark.parametrize(
    "stop", [67, 86, 94, 100]
)  # before the way was lost, amid the bad validations, after going back
def test_resume_through_a_rollback_by_the_validation_is_bitwise(tmp_path, stop):
    def train(*more, **options):
        recovery = DivergenceRecovery(snapshot_every=5, spike_ratio=None, trend_ratio=None)
        stopper, recorder = EarlyStopping("val_rmse", patience=3), Recorder()
        torch.manual_seed(0)
        callbacks = [RandomStateCheckpoint(), Misleads(), recovery, stopper, recorder, *more]
        fit(Carries(), callbacks, max_epochs=10, limit_val_batches=1, **options)
        return recovery, stopper, recorder

    recovery, stopper, recorder = train(SavesAt(stop, tmp_path / "saved.ckpt"))
    again, stopper_again, recorder_again = train(ckpt_path=tmp_path / "saved.ckpt")
    (attempt,) = recovery.attempts
    assert "val_rmse" in attempt["cause"]
    assert attempt["step"] == 96
    assert len(recorder_again.weights) == 120 - stop
    assert same(recorder.weights[-1], recorder_again.weights[-1])
    assert same(recorder.moments[-1], recorder_again.moments[-1])
    assert same(recovery.state_dict(), again.state_dict())
    assert same(stopper.state_dict(), stopper_again.state_dict())


def test_without_the_ratio_nothing_goes_back():
    _, stopper, _, seen = loses_its_way(validation_ratio=None)
    assert not seen.of("rollback")
    assert stopper.stopped_epoch > 0


@pytest.mark.parametrize("first", ["warmup", "recovery"])
def test_warmup_goes_back_with_the_weights_and_never_undoes_the_cut(first):
    class Rates(Callback):
        rates: list[float] = []

        def on_before_zero_grad(self, trainer, pl_module, optimizer):
            self.rates.append(LearningRateFactors.of(trainer).used(optimizer)[0])

    warmup, rates, recovery = LearningRateWarmup(20), Rates(), DivergenceRecovery(snapshot_every=2)
    rates.rates = []
    pair = [warmup, recovery] if first == "warmup" else [recovery, warmup]
    fit(ForeignRecurrent(), [FaultInjector("parameter", NAN, 6), *pair, rates], max_epochs=4)
    (attempt,) = recovery.attempts
    assert attempt["learning_rate_before"] == pytest.approx(rates.rates[6])
    after = rates.rates[7:]
    assert max(after) == pytest.approx(0.1 * rates.rates[6])
    assert after[-1] == pytest.approx(0.1 * rates.rates[6])
    assert warmup.applied_updates == 48 - (7 - attempt["back_to_step"])


def test_the_message_of_a_guard_is_not_repeated():
    recovery = DivergenceRecovery(max_attempts=1, snapshot_every=1)
    recorder = Recorder()
    with pytest.raises(DivergenceError) as error:
        fit(Scheduled(), [FaultInjector("parameter", NAN, 4, True), FiniteParameterGuard(), recovery, recorder])
    advised, rollback = recorder.of("non_finite")[0].reason, recorder.of("rollback")[0].reason
    message = str(error.value)
    for advice in ("To fix it", "first in", "model parameters became NaN/Inf", "cell.weight"):
        assert advice in advised
        assert advice not in rollback
        assert advice not in message
    assert rollback.startswith(
        "epoch 0, batch 4: the parameters are not finite; at step 5 went back to step 3, learning"
    )
    assert message.count("the parameters are not finite") == 2  # of two divergences
    assert len(message.splitlines()) == 1


def test_absurd_learning_rate_diverges_without_and_learns_with_recovery():
    class Absurd(ForeignRecurrent):
        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=1e3, momentum=0.9)

    options = {"max_epochs": 12, "limit_val_batches": 1}
    torch.manual_seed(0)
    bare = fit(Absurd(), [], **options).callback_metrics["val_rmse"]
    torch.manual_seed(0)
    recovery = DivergenceRecovery(max_attempts=6, snapshot_every=5)
    saved = fit(Absurd(), [recovery], **options).callback_metrics["val_rmse"]
    constant = ForeignRecurrent().val_dataloader().dataset.tensors[1].std()
    assert not bare < 2 * constant
    assert saved < 0.8 * constant
    assert recovery.attempts


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"learning_rate_factor": 1.0}, "learning_rate_factor"),
        ({"max_attempts": -1}, "max_attempts"),
        ({"snapshot_every": 0}, "snapshot_every"),
        ({"checkpoint_every": 0}, "checkpoint_every"),
        ({"raise_after": 0}, "raise_after"),
        ({"raise_by": 1.0}, "raise_by"),
        ({"spike_ratio": 1.0}, "spike_ratio"),
        ({"spike_patience": 0}, "spike_patience"),
    ],
)
def test_arguments_out_of_range_are_refused(options, word):
    with pytest.raises(ConfigurationError, match=word):
        DivergenceRecovery(**options)


def test_manual_optimization_without_a_loss_to_see():
    class Manual(ForeignRecurrent):
        automatic_optimization = False

        def __init__(self):
            super().__init__()
            self.automatic_optimization = False

        def training_step(self, batch, batch_idx):
            loss = super().training_step(batch, batch_idx)
            self.optimizers().zero_grad()
            self.manual_backward(loss)
            self.optimizers().step()

    _, module, recovery, _ = run("input", module=Manual())
    assert len(recovery.attempts) == 1
    assert all(torch.isfinite(p).all() for p in module.parameters())


def test_fast_dev_run_and_sanity_check():
    fit(ForeignRecurrent(), [DivergenceRecovery()], fast_dev_run=True)
    trainer = fit(ForeignRecurrent(), [DivergenceRecovery()], num_sanity_val_steps=1, limit_val_batches=1)
    assert trainer.callback_metrics["recovery/factor"] == 1
    assert math.isfinite(trainer.callback_metrics["val_rmse"])


@pytest.mark.slow
def test_all_ranks_go_back_together(tmp_path):
    callbacks = [
        FaultInjector("input", NAN, 4, rank=1),
        DivergenceRecovery(snapshot_every=2),
        Recorder(),
        RankReport(tmp_path),
    ]
    fit(ForeignRecurrent(), callbacks, strategy="ddp_spawn", devices=2)
    first, second = (load(tmp_path / f"rank{rank}.pt") for rank in range(2))
    assert first["kinds"] == second["kinds"] == ["rollback"]
    assert same(first["weights"], second["weights"])
    assert same(first["history"][4], first["history"][1])
    assert all(torch.isfinite(weight).all() for weight in first["weights"])
