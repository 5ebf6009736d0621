import itertools
import logging
import math

import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import GradientAccumulationScheduler, LearningRateMonitor, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from torch.optim import lr_scheduler

from tests.callbacks.foreign import DropGradients
from vestim_pl.callbacks import DivergenceRecovery, LearningRateWarmup, PlateauLearningRate
from vestim_pl.callbacks.learning_rate.learning_rate_warmup import warmup_factor
from vestim_pl.errors import ConfigurationError
from vestim_pl.lightning_support.learning_rate import LearningRateFactors


class Rates(Callback):
    """Records per batch the rate that the update used, the rate between steps, and the logged rate."""

    def __init__(self):
        self.used, self.rest, self.logged, self.events = [], [], [], []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.used.append(LearningRateFactors.of(trainer).used(trainer.optimizers[0])[0])
        self.rest.append(trainer.optimizers[0].param_groups[0]["lr"])
        self.logged.append(float(trainer.callback_metrics.get("learning_rate", -1)))

    def on_event(self, trainer, event):
        self.events.append(event)


SCHEDULERS = {
    "none": lambda optimizer: None,
    "step by step": lambda o: {"scheduler": lr_scheduler.StepLR(o, 2, 0.5), "interval": "step"},
    "step by epoch": lambda o: {"scheduler": lr_scheduler.StepLR(o, 1, 0.5), "interval": "epoch"},
    "cosine": lambda o: {"scheduler": lr_scheduler.CosineAnnealingLR(o, 8), "interval": "step"},
    "plateau": lambda o: {
        "scheduler": lr_scheduler.ReduceLROnPlateau(o, patience=0, threshold=10.0), "monitor": "val_loss",
    },
}  # fmt: skip


@pytest.mark.parametrize("name", SCHEDULERS)
def test_multiplies_the_rate_of_any_scheduler(name, foreign, fit):
    scheduler = None if name == "none" else SCHEDULERS[name]
    plain, warmed = Rates(), Rates()
    fit(foreign.Module(scheduler=scheduler), [plain], max_epochs=3)
    fit(foreign.Module(scheduler=scheduler), [LearningRateWarmup(8, start_factor=0.2), warmed], max_epochs=3)

    assert warmed.rest == plain.rest, "the scheduler never sees the factor"
    before = [0.05, *plain.rest[:-1]] if name != "step by epoch" else None
    if name == "plateau":
        before = [rate for epoch in range(3) for rate in [plain.rest[epoch * 5]] * 5]
    if before:
        expected = [rate * warmup_factor(t, 8, start_factor=0.2) for t, rate in enumerate(before)]
        assert warmed.used == expected


@pytest.mark.parametrize("shape", ["linear", "cosine"])
def test_follows_the_documented_formula(shape, foreign, fit):
    rates, warmup = Rates(), LearningRateWarmup(6, shape=shape, start_factor=0.1)
    fit(foreign.Module(), [rates, warmup])

    assert rates.used == [0.05 * warmup_factor(t, 6, shape=shape, start_factor=0.1) for t in range(10)]
    assert rates.rest == [0.05] * 10
    assert warmup.applied_updates == 10


def test_logs_the_rate_used_where_lightnings_monitor_logs_the_scheduled_rate(foreign, fit, tmp_path):
    logger = CSVLogger(tmp_path)
    fit(foreign.Module(), [LearningRateWarmup(5), LearningRateMonitor()], logger=logger, max_epochs=1)

    shown = foreign.logged(logger, "learning_rate")
    assert list(shown.values()) == pytest.approx([0.05 * warmup_factor(t, 5) for t in range(5)])
    assert list(foreign.logged(logger, "lr-Adam").values()) == pytest.approx([0.05] * 5)


def test_logs_only_where_lightning_writes(foreign, fit, tmp_path):
    logger = CSVLogger(tmp_path)
    fit(foreign.Module(), [LearningRateWarmup(20)], logger=logger, log_every_n_steps=3)
    expected = {step: 0.05 * warmup_factor(step, 20) for step in (2, 5, 8)}
    assert foreign.logged(logger, "learning_rate") == pytest.approx(expected)


def test_epochs_are_counted_in_updates_of_an_epoch(foreign, fit):
    rates = Rates()
    fit(foreign.Module(), [LearningRateWarmup(2, unit="epochs"), rates], accumulate_grad_batches=2, max_epochs=3)
    # 5 batches, accumulated by 2: three updates an epoch, six in two
    assert sorted(set(rates.used)) == pytest.approx([0.05 * warmup_factor(t, 6) for t in range(7)])


def test_epochs_keep_their_length_if_the_accumulation_changes(foreign, fit):
    """Two epochs of warmup end after two epochs, here of five and of two updates."""
    rates, accumulation = Rates(), GradientAccumulationScheduler({0: 1, 1: 3, 2: 1})
    fit(foreign.Module(), [LearningRateWarmup(2, unit="epochs"), accumulation, rates], max_epochs=3)
    updates = [0, 1, 2, 3, 4, 7, 9, 10, 11]  # batches that end one; after the others the latest rate is reported
    progress = [0, 0.2, 0.4, 0.6, 0.8, 1, 1.5, 2, 2]
    assert [rates.used[i] for i in updates] == pytest.approx([0.05 * warmup_factor(done, 2) for done in progress])
    assert len(rates.events) == 1


def test_epochs_keep_their_length_if_the_data_change(foreign, fit):
    class LongerEpochs(foreign.Module):
        def train_dataloader(self):
            return foreign.loader(2 + self.trainer.current_epoch)

    rates = Rates()
    warmup = LearningRateWarmup(2, unit="epochs")
    fit(LongerEpochs(), [warmup, rates], train="its own", max_epochs=3, reload_dataloaders_every_n_epochs=1)
    progress = [0, 1 / 2, 1, 4 / 3, 5 / 3, 2, 2, 2, 2]
    assert rates.used == pytest.approx([0.05 * warmup_factor(done, 2) for done in progress])


def test_a_skipped_update_does_not_count(foreign, fit):
    rates, warmup = Rates(), LearningRateWarmup(20)
    fit(foreign.Module(), [warmup, DropGradients(2, 3), rates])

    assert warmup.applied_updates == 8
    assert rates.used[2] == rates.used[3] == rates.used[4] == 0.05 * warmup_factor(2, 20)


def test_an_overflow_of_the_scaler_does_not_count(foreign, fit):
    def overflow(module, loss, batch_idx):
        return loss * float("inf") if module.trainer.global_step == 3 else loss

    warmup = LearningRateWarmup(20)
    fit(foreign.Module(loss_hook=overflow), [warmup], plugins=foreign.scaled_fp16())
    assert warmup.applied_updates == 9


def test_a_step_without_a_loss_does_not_count(foreign, fit):
    warmup = LearningRateWarmup(20)
    fit(foreign.Module(loss_hook=lambda module, loss, i: None if i == 1 else loss), [warmup])
    assert warmup.applied_updates == 8


def test_two_optimizers_share_the_factor(foreign, fit):
    rates, warmup = Rates(), LearningRateWarmup(20)
    module = foreign.TwoOptimizers()
    trainer = fit(module, [warmup, rates])
    assert warmup.applied_updates == 10
    assert rates.used[1:4] == [0.05 * warmup_factor(t, 20) for t in (1, 2, 3)]
    assert {"learning_rate", "learning_rate/1"} <= trainer.callback_metrics.keys()


@pytest.mark.parametrize("hook", ["training_step", "on_after_backward", "on_before_optimizer_step"])
@pytest.mark.parametrize("precision", ["32-true", "16-mixed"])
def test_a_rate_that_the_module_sets_within_the_step_is_multiplied_too(hook, precision, foreign, fit):
    class SetsItsRate(foreign.Module):
        """Falls by its rate at each step, because its gradient is one."""

        def __init__(self):
            super().__init__(lr=1e-3, optimizer=torch.optim.SGD)
            self.level = torch.nn.Parameter(torch.tensor(0.0))

        def training_step(self, batch, batch_idx):
            return self.level + 0 * super().training_step(batch, batch_idx)

    def sets_the_rate(self, *args):
        self.optimizers().param_groups[0]["lr"] = 0.5
        return getattr(super(SetsItsRate, self), hook)(*args)

    original = SetsItsRate.training_step
    if hook == "training_step":
        sets_the_rate = lambda self, *args: self.optimizers().param_groups[0].update(lr=0.5) or original(self, *args)
    setattr(SetsItsRate, hook, sets_the_rate)
    module, recovery = SetsItsRate(), DivergenceRecovery(spike_ratio=None, trend_ratio=None, validation_ratio=None)

    class Diverges(Callback):
        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            if trainer.global_step == 2:
                recovery.recover_from(trainer, pl_module, "as the test wants")

    plugins = foreign.scaled_fp16() if precision == "16-mixed" else None
    fit(module, [Diverges(), recovery], plugins=plugins, max_steps=4, limit_val_batches=0)
    assert module.level.item() == pytest.approx(-2 * 0.05, rel=1e-3)  # from the start again, at a tenth of 0.5


def test_the_order_of_the_callbacks_does_not_matter(foreign, fit):
    modules = []
    for order in itertools.permutations(range(3)):
        callbacks = [
            LearningRateWarmup(7),
            PlateauLearningRate("val_loss", patience=0, threshold=10.0, threshold_mode="abs"),
            Rates(),
        ]
        module = foreign.Module(scheduler=SCHEDULERS["cosine"])
        torch.manual_seed(3)
        module.load_state_dict({k: torch.randn(v.shape) for k, v in module.state_dict().items()})
        fit(module, [callbacks[i] for i in order], max_epochs=4)
        modules.append(module)
    assert all(foreign.same_weights(modules[0], module) for module in modules[1:])


def seeded(foreign, **options):
    torch.manual_seed(5)
    return foreign.Module(**options)


@pytest.mark.parametrize("every", [3, 5])
def test_a_resumed_run_continues_bitwise(every, foreign, fit, tmp_path):
    options = {"scheduler": SCHEDULERS["cosine"]}
    whole, checkpoints = (
        seeded(foreign, **options),
        ModelCheckpoint(tmp_path, "{step}", every_n_train_steps=every, save_top_k=-1),
    )
    fit(whole, [LearningRateWarmup(9, shape="cosine"), checkpoints], train=foreign.StatefulLoader())
    saved = torch.load(tmp_path / f"step={every}.ckpt", weights_only=True)
    resumed, warmup = seeded(foreign, **options), LearningRateWarmup(9, shape="cosine")
    fit(resumed, [warmup], train=foreign.StatefulLoader(), resume=tmp_path / f"step={every}.ckpt", seed=99)

    assert saved["optimizer_states"][0]["param_groups"][0]["lr"] == saved["lr_schedulers"][0]["_last_lr"][0]
    assert warmup.applied_updates == 10
    assert foreign.same_weights(whole, resumed)


def test_a_checkpoint_without_its_state_restarts_the_warmup(foreign, fit, tmp_path):
    trainer = fit(foreign.Module(), max_epochs=1)
    trainer.save_checkpoint(tmp_path / "other.ckpt")
    warmup = LearningRateWarmup(20)
    fit(foreign.Module(), [warmup], resume=tmp_path / "other.ckpt")
    assert warmup.applied_updates == 5


def test_an_exception_leaves_the_scheduled_rate_in_the_checkpoint(foreign, fit, tmp_path):
    def crash(module, loss, batch_idx):
        if module.trainer.global_step == 3:
            raise RuntimeError("crash")
        return loss

    with pytest.raises(RuntimeError, match="crash"):
        fit(
            foreign.Module(loss_hook=crash),
            [LearningRateWarmup(20), ModelCheckpoint(tmp_path, "crashed", save_on_exception=True)],
        )
    saved = torch.load(tmp_path / "crashed.ckpt", weights_only=True)
    assert saved["optimizer_states"][0]["param_groups"][0]["lr"] == 0.05


def test_reports_once_that_the_full_rate_is_reached(foreign, fit, caplog):
    rates = Rates()
    with caplog.at_level(logging.INFO, "vestim_pl"):
        fit(foreign.Module(), [LearningRateWarmup(3), rates])
    assert [(event.kind, event.step, event.values["learning_rate"]) for event in rates.events] == [("warmup", 3, 0.05)]
    assert [record.message for record in caplog.records if record.name == "vestim_pl"] == [
        "warmup finished after 3 updates; the learning rate is now 0.05"
    ]


def test_the_factor_does_not_outlive_the_fit(foreign, fit):
    trainer = fit(foreign.Module(), [LearningRateWarmup(50)])
    assert LearningRateFactors.of(trainer).product == 1.0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"duration": -1}, "LearningRateWarmup.duration: -1 is too small"),
        ({"duration": 5, "unit": "batches"}, "LearningRateWarmup.unit: 'batches' is unknown"),
        ({"duration": 5, "shape": "cosin"}, "nearest: 'cosine'"),
        ({"duration": 5, "start_factor": 0.0}, "start_factor: 0.0 must be above 0"),
    ],
)
def test_bad_argument_is_refused(options, message):
    with pytest.raises(ConfigurationError, match=message):
        LearningRateWarmup(**options)


def test_epochs_of_unknown_length_are_refused(foreign, fit):
    class Endless(torch.utils.data.IterableDataset):
        def __iter__(self):
            return iter(foreign.loader().dataset)

    with pytest.raises(ConfigurationError, match="use unit=steps"):
        fit(
            foreign.Module(), [LearningRateWarmup(2, unit="epochs")],
            train=torch.utils.data.DataLoader(Endless(), batch_size=8),
        )  # fmt: skip


def test_the_linear_shape_is_that_of_torch():
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    reference = torch.optim.lr_scheduler.LinearLR(optimizer, start_factor=0.1, total_iters=7)
    for updates in range(10):
        assert warmup_factor(updates, 7, start_factor=0.1) == pytest.approx(reference.get_last_lr()[0])
        optimizer.step()
        reference.step()


def test_the_cosine_shape_starts_and_ends_flat():
    values = [warmup_factor(t, 100, shape="cosine", start_factor=0.2) for t in range(101)]
    assert values[0] == pytest.approx(0.2)
    assert values[50] == pytest.approx(0.6)
    assert values[100] == 1.0
    assert values[1] - values[0] < 0.1 * (values[51] - values[50])
    assert values[25] == pytest.approx(0.2 + 0.8 * 0.5 * (1 - math.cos(math.pi / 4)))


def test_a_duration_of_zero_is_no_warmup():
    assert warmup_factor(0, 0) == 1.0
