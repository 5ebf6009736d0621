import math

import pytest
import torch
from lightning.pytorch import Callback, LightningDataModule, LightningModule
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from lightning.pytorch.plugins import MixedPrecision
from lightning.pytorch.utilities import GradClipAlgorithmType
from torch.optim.lr_scheduler import ReduceLROnPlateau, StepLR

from tests.callbacks.fault_injector import FaultInjector
from tests.callbacks.foreign import ForeignRecurrent, RankReport, Recorder, fit, same, two_processes
from vestim_pl.callbacks import DivergenceRecovery, FiniteParameterGuard, StepGuard
from vestim_pl.errors import ConfigurationError, DivergenceError

NAN, INF = float("nan"), float("inf")


class Scheduled(ForeignRecurrent):
    """With a scheduler that halves the rate every step, so that one step too many shows."""

    def configure_optimizers(self):
        optimizer = super().configure_optimizers()
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": StepLR(optimizer, 1, 0.5), "interval": "step"}}


def run(site, value=NAN, at=4, guard=None, module=None, **options):
    torch.manual_seed(0)
    guard, recorder = guard or StepGuard(), Recorder()
    module = module or Scheduled()
    persistent = options.pop("persistent", False)
    trainer = fit(module, [FaultInjector(site, value, at, persistent), guard, recorder], **options)
    return trainer, module, guard, recorder


@pytest.mark.parametrize("value", [NAN, INF, -INF])
@pytest.mark.parametrize("site", ["input", "target", "activation", "loss", "gradient"])
def test_skipped_step_leaves_weights_moments_weight_decay_and_schedule_alone(site, value):
    _, _, guard, seen = run(site, value)
    assert same(seen.weights[4], seen.weights[3])
    assert same(seen.moments[4], seen.moments[3])
    assert seen.rates[4] == seen.rates[3]
    assert not same(seen.weights[5], seen.weights[4])
    assert seen.rates[5] == seen.rates[4] / 2
    assert (guard.skipped_steps, guard.applied_steps) == (1, 11)
    assert seen.steps[-1] == 12  # Lightning counts the step all the same
    assert all(torch.isfinite(weight).all() for weight in seen.weights[-1])


@pytest.mark.parametrize(
    ("site", "cause", "words"),
    [
        ("input", "batch", "non-finite values in 0 of batch 4"),
        ("target", "batch", "non-finite values in 1 of batch 4"),
        ("activation", "loss", "the loss is nan although batch and parameters are finite"),
        ("loss", "loss", "the loss is nan although batch"),
        ("gradient", "gradient", "the gradient norm is nan: first in the gradient of cell.weight"),
    ],
)
def test_event_names_the_first_cause(site, cause, words):
    _, _, _, seen = run(site)
    (event,) = seen.of("skip")
    assert event.values["cause"] == cause
    assert words in event.reason
    assert (event.batch, event.values["batches"]) == (4, [4])


def test_event_names_recordings_of_the_bad_rows_only():
    class Located(LightningDataModule):
        def train_dataloader(self):
            return ForeignRecurrent().train_dataloader()

        def locate(self, batch):
            return [{"recording": f"r{row}", "start": row} for row in range(batch[0].shape[0])]

    recorder = Recorder()
    fit(ForeignRecurrent(), [FaultInjector("input", NAN, 2), StepGuard(), recorder], datamodule=Located())
    assert recorder.of("skip")[0].values["recordings"] == [{"recording": "r0", "start": 0}]


def test_window_of_accumulation_is_skipped_whole():
    _, _, guard, seen = run("input", at=4, accumulate_grad_batches=3)
    assert same(seen.weights[5], seen.weights[2])  # window of batches 3, 4, 5
    assert not same(seen.weights[8], seen.weights[5])
    assert seen.of("skip")[0].values["batches"] == [3, 4, 5]
    assert "of batch 4" in seen.of("skip")[0].reason
    assert (guard.skipped_steps, guard.applied_steps) == (1, 3)


def test_bad_loss_with_finite_gradients_is_seen():
    class AddsNan(Scheduled):
        def training_step(self, batch, batch_idx):
            loss = super().training_step(batch, batch_idx)
            return loss + NAN if batch_idx == 4 else loss

    _, _, guard, seen = run("gradient", at=999, module=AddsNan())
    assert same(seen.weights[4], seen.weights[3])
    assert guard.skipped_steps == 1


def test_decided_before_clipping_spreads_the_fault():
    _, _, _, seen = run("gradient", INF, gradient_clip_val=1.0)
    assert "cell.weight" in seen.of("skip")[0].reason
    assert "head" not in seen.of("skip")[0].reason
    assert same(seen.weights[4], seen.weights[3])


class ClipsItself(Scheduled):
    """Clips by itself, with the trainer's setting."""

    def configure_gradient_clipping(self, optimizer, gradient_clip_val=None, gradient_clip_algorithm=None):
        self.trainer.precision_plugin.clip_gradients(optimizer, gradient_clip_val * 2, GradClipAlgorithmType.VALUE)


@pytest.mark.parametrize("options", [{}, {"precision": "bf16-mixed"}])
@pytest.mark.parametrize("module", [Scheduled, ClipsItself])
def test_skip_under_clipping_by_value(module, options):
    clip = {"gradient_clip_val": 1e-3, "gradient_clip_algorithm": "value"}
    trainer, model, guard, seen = run("input", module=module(), **clip, **options)
    assert same(seen.weights[4], seen.weights[3])
    assert (guard.skipped_steps, guard.applied_steps) == (1, 11)
    assert "clip_grad_by_value" not in vars(trainer.precision_plugin)
    limit = 1e-3 * (2 if module is ClipsItself else 1)
    assert all(parameter.grad.abs().max() <= limit for parameter in model.parameters())  # clips on


def scaled_precision():
    return MixedPrecision("16-mixed", "cpu", scaler=torch.amp.GradScaler("cpu", init_scale=1024.0))


def test_overflow_under_a_scaler_is_the_scalers_and_costs_no_budget():
    guard = StepGuard(max_skips_per_epoch=0, max_consecutive_skips=0)
    plugin = scaled_precision()
    _, _, guard, seen = run("gradient", INF, guard=guard, plugins=[plugin])
    assert (guard.overflows, guard.skipped_steps, guard.applied_steps) == (1, 0, 11)
    assert plugin.scaler.get_scale() == 512.0
    assert same(seen.weights[4], seen.weights[3])
    assert seen.rates[4] == seen.rates[3]
    assert seen.of("skip")[0].values["cause"] == "overflow"


def test_nan_loss_under_a_scaler_is_a_skip_and_the_scaler_lives_on():
    plugin = scaled_precision()
    _, _, guard, seen = run("loss", NAN, plugins=[plugin])
    assert (guard.overflows, guard.skipped_steps, guard.applied_steps) == (0, 1, 11)
    assert same(seen.moments[4], seen.moments[3])
    assert math.isfinite(plugin.scaler.get_scale())


def test_overflow_that_no_scale_fixes_stops_the_training():
    with pytest.raises(DivergenceError, match="3 skips in a row, 2 allowed"):
        run("gradient", NAN, guard=StepGuard(max_consecutive_skips=2), plugins=[scaled_precision()], persistent=True,
            max_epochs=3)  # fmt: skip


def test_bf16():
    _, _, guard, seen = run("input", precision="bf16-mixed")
    assert same(seen.weights[4], seen.weights[3])
    assert guard.skipped_steps == 1


def test_budget_in_a_row_stops_with_the_count():
    with pytest.raises(DivergenceError, match=r"^epoch 0, batch 6: 3 skips in a row, 2 allowed\. ") as error:
        run("input", guard=StepGuard(max_consecutive_skips=2), persistent=True)
    assert "\n" not in str(error.value)


def test_budget_per_epoch():
    with pytest.raises(DivergenceError, match="2 skips in this epoch, 1 allowed"):
        run("input", guard=StepGuard(max_skips_per_epoch=1), persistent=True)
    _, _, guard, _ = run("input", guard=StepGuard(1, 1), at=4, max_epochs=2)
    assert guard.skipped_steps == 1


def test_recovery_is_asked_before_stopping():
    class Recovery(Callback):
        reasons: list[str] = []

        def recover_from(self, trainer, pl_module, reason):
            self.reasons.append(reason)
            return True

    recovery = Recovery()
    fit(ForeignRecurrent(), [FaultInjector("input", NAN, 2, persistent=True), StepGuard(99, 2), recovery])
    assert len(recovery.reasons) == 3  # batches 4, 7 and 10
    assert recovery.reasons[0] == "epoch 0, batch 4: 3 skips in a row, 2 allowed"


def test_the_last_skip_and_the_error_do_not_repeat_each_other():
    recorder, what = Recorder(), "skipped the update, the loss is nan although batch and parameters are finite"
    with pytest.raises(DivergenceError) as error:
        fit(ForeignRecurrent(), [FaultInjector("loss", NAN, 2, persistent=True), StepGuard(99, 1), recorder])
    assert [event.reason for event in recorder.of("skip")] == [
        f"epoch 0, batch 2: {what} (1 of 99 skips allowed this epoch, 1 of 1 in a row)", f"epoch 0, batch 3: {what}",
    ]  # fmt: skip
    assert "the loss is nan" not in str(error.value)


def test_nonfinite_parameters_are_named_and_end_the_skipping():
    recorder = Recorder()
    with pytest.raises(DivergenceError, match="batch 4: parameters are already non-finite; skipping"):
        fit(Scheduled(), [FaultInjector("parameter", NAN, 4), StepGuard(), recorder])
    (skip,) = recorder.of("skip")
    assert "parameters cell.weight are not finite" in skip.reason


def test_buffers_and_carried_state_do_not_keep_the_fault():
    class Normed(ForeignRecurrent):
        def __init__(self):
            super().__init__(carry=True)
            self.norm = torch.nn.BatchNorm1d(8)

        def training_step(self, batch, batch_idx):
            self.norm(batch[0][:, :, 0])
            return super().training_step(batch, batch_idx)

    module = Normed()
    _, _, guard, seen = run("input", module=module)
    assert torch.isfinite(module.norm.running_mean).all()
    assert module.norm.num_batches_tracked == 11
    assert torch.isfinite(module.carried).all()
    assert guard.skipped_steps == 1  # one bad lane, not every batch after it
    assert seen.of("skip")[0].values["mended"] == ["carried"]
    unprotected = Normed()
    run("input", module=unprotected, guard=StepGuard(protect_buffers=False))
    assert not torch.isfinite(unprotected.norm.running_mean).all()


class TwoOptimizers(LightningModule):
    """Manual optimization with two optimizers, of which the second one meets a fault."""

    def __init__(self):
        super().__init__()
        self.automatic_optimization = False
        self.cell, self.head = torch.nn.Linear(2, 4), torch.nn.Linear(4, 1)
        self.skipped: list[tuple[bool, bool]] = []

    def training_step(self, batch, batch_idx):
        first, second = self.optimizers()
        guard = next(c for c in self.trainer.callbacks if isinstance(c, StepGuard))
        skipped = []
        for index, optimizer in enumerate((first, second)):
            optimizer.zero_grad()
            loss = self.head(self.cell(batch[0])).mean()
            self.manual_backward(loss * NAN if batch_idx == 3 and index == 1 else loss)
            optimizer.step()
            skipped.append(guard.last_step_skipped)
        self.skipped.append(tuple(skipped))

    def configure_optimizers(self):
        return torch.optim.Adam(self.cell.parameters()), torch.optim.Adam(self.head.parameters())

    train_dataloader = ForeignRecurrent.train_dataloader


def test_manual_optimization_with_two_optimizers():
    module, recorder, guard = TwoOptimizers(), Recorder(), StepGuard()
    fit(module, [guard, recorder])
    assert module.skipped[3] == (False, True)
    assert sum(map(sum, module.skipped)) == 1
    assert same(recorder.weights[3][2:], recorder.weights[2][2:])
    assert not same(recorder.weights[3][:2], recorder.weights[2][:2])
    assert (guard.applied_steps, guard.skipped_steps) == (23, 1)


def test_norm_is_read_once_a_step(monkeypatch):
    reads = []
    monkeypatch.setattr(torch.Tensor, "is_cpu", False)  # where reading costs nothing
    original = torch.Tensor.tolist
    monkeypatch.setattr(torch.Tensor, "tolist", lambda self: reads.append(1) or original(self))
    monkeypatch.setattr(torch.Tensor, "item", lambda self: reads.append(1) or original(self))
    guard = StepGuard()
    module = TwoOptimizers()
    optimizer = module.configure_optimizers()[0]
    for parameter in module.parameters():
        parameter.grad = torch.ones_like(parameter)

    class Stub:
        world_size = 1
        precision_plugin = None

    guard.on_before_backward(Stub(), module, torch.tensor(1.0, requires_grad=True))
    guard.on_before_optimizer_step(Stub(), module, optimizer)
    assert guard.applied_steps == 1
    assert len(reads) == 1


def test_counts_are_logged():
    trainer, _, _, _ = run("input")
    assert trainer.callback_metrics["step_guard/skipped"] == 1
    assert trainer.callback_metrics["step_guard/applied"] == 11


def test_resume_is_bitwise_and_keeps_the_budget(tmp_path):
    def callbacks(save):
        every = [ModelCheckpoint(tmp_path, "{step}", every_n_train_steps=6, save_top_k=-1)] if save else []
        return [FaultInjector("input", NAN, 5, persistent=True), StepGuard(99, 4), Recorder(), *every]

    whole = callbacks(True)
    with pytest.raises(DivergenceError) as uninterrupted:
        fit(Scheduled(), whole, enable_checkpointing=True)
    resumed = callbacks(False)
    with pytest.raises(DivergenceError) as again:
        fit(Scheduled(), resumed, ckpt_path=tmp_path / "step=6.ckpt")
    assert str(again.value) == str(uninterrupted.value)
    assert same(whole[2].weights[-1], resumed[2].weights[-1])
    assert whole[1].state_dict() == resumed[1].state_dict()


def test_state_of_an_older_version_loads():
    guard = StepGuard()
    guard.load_state_dict({})
    assert guard.applied_steps == 0


@pytest.mark.parametrize("options", [{"max_skips_per_epoch": -1}, {"max_consecutive_skips": -2}])
def test_negative_limits_are_refused(options):
    with pytest.raises(ConfigurationError, match="is negative"):
        StepGuard(**options)


def test_optimizers_without_one_gradient_a_step_are_refused():
    class Lbfgs(ForeignRecurrent):
        def configure_optimizers(self):
            return torch.optim.LBFGS(self.parameters())

    with pytest.raises(ConfigurationError, match="LBFGS"):
        fit(Lbfgs(), [StepGuard()])


def test_fast_dev_run_and_sanity_check():
    fit(ForeignRecurrent(), [StepGuard()], fast_dev_run=True)
    fit(ForeignRecurrent(), [StepGuard()], num_sanity_val_steps=1, limit_val_batches=1)


def test_scheduler_is_released_when_training_ends_or_breaks():
    class Breaks(Callback):
        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            self.config = trainer.lr_scheduler_configs[0]
            if batch_idx == 4:
                raise ZeroDivisionError

    breaks = Breaks()
    with pytest.raises(ZeroDivisionError):
        fit(Scheduled(), [FaultInjector("input", NAN, 4), StepGuard(), breaks])
    assert breaks.config.interval == "step"
    trainer, _, _, _ = run("input", at=11)
    assert trainer.lr_scheduler_configs[0].interval == "step"


def test_batches_without_a_loss_after_a_skip_are_no_skips():
    class Silent(ForeignRecurrent):
        def training_step(self, batch, batch_idx):
            loss = super().training_step(batch, batch_idx)
            return None if 4 <= batch_idx <= 6 else loss * NAN if batch_idx == 3 else loss

    _, _, guard, seen = run("input", at=999, module=Silent())
    assert [event.batch for event in seen.of("skip")] == [3]
    assert (guard.skipped_steps, guard.applied_steps) == (1, 8)


def test_batches_without_a_loss_do_not_end_a_row_of_skips():
    class EverySecond(ForeignRecurrent):
        def training_step(self, batch, batch_idx):
            return None if batch_idx % 2 else super().training_step(batch, batch_idx) * NAN

    with pytest.raises(DivergenceError, match="batch 4: 3 skips in a row, 2 allowed"):
        run("input", at=999, module=EverySecond(), guard=StepGuard(max_consecutive_skips=2))


class Manual(ForeignRecurrent):
    """Manual optimization, two batches a step."""

    def __init__(self):
        super().__init__()
        self.automatic_optimization = False

    def training_step(self, batch, batch_idx):
        self.manual_backward(super().training_step(batch, batch_idx))
        if batch_idx % 2:
            self.step()

    def step(self):
        self.optimizers().step()
        self.optimizers().zero_grad()


class Raw(Manual):
    def step(self):
        self.optimizers(use_pl_optimizer=False).step()


class OwnOptimizer(Manual):
    def configure_optimizers(self):
        self.own = torch.optim.SGD(self.parameters(), lr=0.02)

    def step(self):
        self.own.step()


@pytest.mark.parametrize("scaled", [False, True])
def test_steps_without_lightning_are_refused_at_the_first(scaled):
    plugins = [scaled_precision()] if scaled else []
    with pytest.raises(ConfigurationError, match=r"AdamW was stepped without Lightning.*step the optimizers that"):
        run("input", module=Raw(), at=999, plugins=plugins)
    with pytest.raises(ConfigurationError, match="of OwnOptimizer returns no optimizer of its parameters"):
        run("input", module=OwnOptimizer(), at=999, plugins=plugins)


@pytest.mark.parametrize("scaled", [False, True])
def test_manual_steps_of_two_batches_are_judged_once(scaled):
    trainer, _, guard, seen = run("input", module=Manual(), plugins=[scaled_precision()] if scaled else [])
    assert same(seen.weights[5], seen.weights[3])
    assert seen.of("skip")[0].values["batches"] == [4, 5]
    assert (guard.skipped_steps, guard.applied_steps) == (1, 5)
    assert not trainer.optimizers[0]._optimizer_step_post_hooks


class ReplacesItsLoss(Scheduled):
    """Replaces the loss of one batch by a constant, as loss functions of other projects do with a NaN."""

    rank = 0

    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        return torch.tensor(1e9) if batch_idx == 4 and self.global_rank == self.rank else loss


@pytest.mark.parametrize("scaled", [False, True])
def test_loss_without_a_graph_is_a_bad_step(scaled):
    plugins = [scaled_precision()] if scaled else []
    _, _, guard, seen = run("gradient", at=999, module=ReplacesItsLoss(), plugins=plugins)
    assert same(seen.weights[4], seen.weights[3])
    assert same(seen.moments[4], seen.moments[3])
    assert not same(seen.weights[5], seen.weights[4])
    assert seen.rates[4] == seen.rates[3]
    assert (guard.skipped_steps, guard.applied_steps, guard.overflows) == (1, 11, 0)
    assert "the loss is a constant without a gradient although batch" in seen.of("skip")[0].reason


def test_loss_without_a_graph_uses_the_budget_and_spoils_its_whole_window():
    with pytest.raises(DivergenceError, match="batch 3, 4, 5: 1 skips in a row, 0 allowed"):
        run(
            "gradient", at=999, module=ReplacesItsLoss(), guard=StepGuard(max_consecutive_skips=0),
            accumulate_grad_batches=3,
        )  # fmt: skip


class ReplacesOnSecondRank(ReplacesItsLoss):
    rank = 1


@pytest.mark.slow
def test_loss_without_a_graph_on_one_rank_is_skipped_by_all(tmp_path):
    callbacks = [StepGuard(), Recorder(), RankReport(tmp_path)]
    fit(ReplacesOnSecondRank(), callbacks, strategy=two_processes(), devices=2)
    first, second = (torch.load(tmp_path / f"rank{rank}.pt") for rank in range(2))
    assert first["kinds"] == second["kinds"] == ["skip"]
    assert "(rank 1)" in first["reasons"][0]
    assert same(first["weights"], second["weights"])
    assert same(first["history"][4], first["history"][3])
    assert not same(first["history"][5], first["history"][4])


class LogsItsLoss(ForeignRecurrent):
    """Averages its loss over the epoch, and reduces its rate as soon as that does not improve."""

    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        self.log("train_loss", loss, on_step=False, on_epoch=True)
        return loss

    def configure_optimizers(self):
        optimizer = super().configure_optimizers()
        scheduler = ReduceLROnPlateau(optimizer, patience=0, factor=0.5, threshold=-9.0)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "monitor": "train_loss"}}


@pytest.mark.parametrize("recovery", [[], [DivergenceRecovery(snapshot_every=2)]])
@pytest.mark.parametrize("on_train_epoch_end", [True, False])
def test_mean_over_an_epoch_with_a_skip_neither_stops_the_run_nor_cuts_the_rate(recovery, on_train_epoch_end):
    stopper = EarlyStopping("train_loss", patience=9, strict=False, check_on_train_epoch_end=on_train_epoch_end)
    injector, recorder = FaultInjector("input", NAN, 15), Recorder()
    callbacks = [injector, StepGuard(), *recovery, stopper, recorder]
    trainer = fit(LogsItsLoss(), callbacks, max_epochs=4, limit_val_batches=1)
    assert trainer.current_epoch == 4
    assert stopper.wait_count <= 1
    assert {event.kind for event in recorder.events} == {"skip"}
    assert trainer.optimizers[0].param_groups[0]["lr"] == 0.02
    assert stopper.check_finite


def test_mean_over_an_epoch_without_a_skip_is_checked():
    class Lies(LogsItsLoss):
        def training_step(self, batch, batch_idx):
            self.log("train_loss", NAN if self.current_epoch == 2 else 1.0, on_step=False, on_epoch=True)
            return ForeignRecurrent.training_step(self, batch, batch_idx)

    stopper = EarlyStopping("train_loss", patience=9, check_on_train_epoch_end=True)
    trainer = fit(Lies(), [FaultInjector("input", NAN, 15), StepGuard(), stopper], max_epochs=4)
    assert trainer.current_epoch == 3


def test_window_that_a_rollback_has_ended_is_forgotten():
    class Normed(ForeignRecurrent):
        def __init__(self):
            super().__init__()
            self.norm = torch.nn.BatchNorm1d(8)

        def training_step(self, batch, batch_idx):
            self.norm(batch[0][:, :, 0])
            return super().training_step(batch, batch_idx)

    class Faults(Callback):
        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            if trainer.current_epoch == 0 and batch_idx == 8:
                pl_module.norm.running_mean.fill_(NAN)  # before the guard copies it
                pl_module.cell.weight.data[0, 0] = NAN
            if trainer.current_epoch == 0 and batch_idx == 11:
                batch[0][0, 0, 0] = NAN

        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            if trainer.current_epoch == 0 and batch_idx == 8:
                recovery.recover_from(trainer, pl_module, "asked for")

    module, recovery, recorder = Normed(), DivergenceRecovery(snapshot_every=1), Recorder()
    callbacks = [Faults(), StepGuard(), recovery, recorder]
    fit(module, callbacks, accumulate_grad_batches=4)
    assert [event.kind for event in recorder.events] == ["rollback", "skip"]
    assert recorder.of("skip")[0].values["batches"] == [9, 10, 11]
    assert torch.isfinite(module.norm.running_mean).all()


def test_norm_is_that_of_the_unscaled_gradient_under_a_scaler():
    class Keeps(Callback):
        def on_before_optimizer_step(self, trainer, pl_module, optimizer):
            norms.append(guard.gradient_norm)

    norms = []
    for plugins in ([], [scaled_precision()]):
        torch.manual_seed(0)
        guard = StepGuard()
        fit(ForeignRecurrent(), [guard, Keeps()], plugins=plugins, max_steps=3)
    assert norms[3:] == pytest.approx(norms[:3], rel=0.05)


class LossOnly(ForeignRecurrent):
    """On rank 1 alone the loss, but no gradient, is NaN in batch 4: averaged gradients do not show it."""

    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        return loss + NAN if batch_idx == 4 and self.global_rank == 1 else loss


@pytest.mark.slow
def test_every_rank_skips_alike(tmp_path):
    callbacks = [FaultInjector("input", NAN, 2, rank=1), StepGuard(), Recorder(), RankReport(tmp_path)]
    fit(LossOnly(), callbacks, strategy="ddp_spawn", devices=2)
    first, second = (torch.load(tmp_path / f"rank{rank}.pt") for rank in range(2))
    assert first["kinds"] == second["kinds"] == ["skip", "skip"]
    assert first["reasons"] == second["reasons"]
    assert "non-finite values in 0 of batch 2 (rank 1)" in first["reasons"][0]  # rank zero writes what rank 1 knows
    assert "although batch and parameters are finite (rank 1)" in first["reasons"][1]
    assert same(first["weights"], second["weights"])
    assert same(first["history"][2], first["history"][1])
    assert same(first["history"][4], first["history"][3])
    assert not same(first["history"][5], first["history"][4])


@pytest.mark.slow
def test_parameters_of_one_rank_alone_have_every_rank_recover(tmp_path):
    guards = [StepGuard(), FiniteParameterGuard(), DivergenceRecovery(snapshot_every=2)]
    callbacks = [FaultInjector("parameter", NAN, 4, rank=1), *guards, Recorder(), RankReport(tmp_path)]
    fit(ForeignRecurrent(), callbacks, strategy=two_processes(), devices=2)
    first, second = (torch.load(tmp_path / f"rank{rank}.pt") for rank in range(2))
    assert first["kinds"] == second["kinds"] == ["skip", "rollback"]
    assert "parameters cell.weight are not finite (rank 1)" in first["reasons"][0] == second["reasons"][0]
    assert same(first["weights"], second["weights"])
    assert all(torch.isfinite(weight).all() for weight in first["weights"])
