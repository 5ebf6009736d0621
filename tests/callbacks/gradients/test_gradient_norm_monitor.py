import logging
import math

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger

from tests.callbacks.foreign import DropGradients
from vestim_pl.callbacks import GradientNormMonitor
from vestim_pl.callbacks.gradients.gradient_norm_monitor import EpochNorms
from vestim_pl.errors import ConfigurationError

NAN, INF = float("nan"), float("inf")


class Reference(Callback):
    """The norms as a plain loop over numpy would measure them, and what the monitor logged."""

    def __init__(self):
        self.before, self.after, self.logged, self.events, self.epochs = [], [], [], [], []

    def _norm(self, pl_module):
        grads = [p.grad.numpy().ravel() for p in pl_module.parameters() if p.grad is not None]
        return float(np.linalg.norm(np.concatenate(grads))) if grads else None

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        self.before.append(self._norm(pl_module))

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.after.append(self._norm(pl_module))
        self.logged.append({k: float(v) for k, v in trainer.callback_metrics.items() if k.startswith("grad_norm/")})

    def on_train_epoch_end(self, trainer, pl_module):
        self.epochs.append({k: float(v) for k, v in trainer.callback_metrics.items() if k.startswith("grad_norm/")})

    def on_event(self, trainer, event):
        self.events.append(event)

    def column(self, key):
        return [logged.get(f"grad_norm/{key}") for logged in self.logged]


class SetGradient(Callback):
    """Writes a value into one gradient at given steps, before the monitor measures."""

    def __init__(self, value, *steps):
        self.value, self.steps = value, steps

    def on_after_backward(self, trainer, pl_module):
        if trainer.global_step in self.steps:
            pl_module.net[0].weight.grad[0, 0] = self.value


def precision(name, foreign):
    return {"plugins": foreign.scaled_fp16()} if name == "fp16 with a scaler" else {"precision": name}


@pytest.mark.parametrize("name", ["32-true", "bf16-mixed", "fp16 with a scaler"])
@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("algorithm", ["norm", "value"])
def test_both_norms_are_measured_in_every_precision(name, accumulate, algorithm, foreign, fit):
    reference = Reference()
    fit(
        foreign.Module(), [GradientNormMonitor(), reference], gradient_clip_val=0.2, gradient_clip_algorithm=algorithm,
        accumulate_grad_batches=accumulate, max_epochs=1, **precision(name, foreign),
    )  # fmt: skip
    steps = range(5) if accumulate == 1 else (1, 3, 4)
    pre, post = reference.column("pre_clip"), reference.column("post_clip")
    assert [pre[i] for i in steps] == pytest.approx(reference.before, rel=1e-5)
    assert [post[i] for i in steps] == pytest.approx([reference.after[i] for i in steps], rel=1e-5)
    if algorithm == "norm":
        assert all(value <= 0.2 * (1 + 1e-5) for value in post if value)
    assert max(reference.before) > 0.3, "clipping has to engage for this test to say anything"


def test_the_epoch_statistics(foreign, fit):
    last = Reference()
    fit(foreign.Module(), [GradientNormMonitor(), last], gradient_clip_val=0.3)
    for epoch, figures in enumerate(last.epochs):
        norms = last.before[5 * epoch : 5 * epoch + 5]
        assert figures["grad_norm/clip_fraction"] == pytest.approx(np.mean([norm > 0.3 for norm in norms]))
        assert figures["grad_norm/median"] == pytest.approx(np.median(norms), rel=1e-5)
        assert figures["grad_norm/p90"] == pytest.approx(np.percentile(norms, 90), rel=1e-5)
        assert figures["grad_norm/p99"] == pytest.approx(np.percentile(norms, 99), rel=1e-5)
        assert figures["grad_norm/non_finite"] == 0
    assert last.epochs[0]["grad_norm/clip_fraction"] > 0


def test_the_first_steps_then_every_kth_and_those_that_are_written(foreign, fit, monkeypatch):
    measured = []
    original = GradientNormMonitor._after_update

    def spy(self, optimizer, args, kwargs, *, index):
        if index in self._pending:
            measured.append(self._steps[index])
        original(self, optimizer, args, kwargs, index=index)

    monkeypatch.setattr(GradientNormMonitor, "_after_update", spy)
    fit(foreign.Module(), [GradientNormMonitor(every_n_steps=4, first_n_steps=3)], max_epochs=4, log_every_n_steps=7)
    assert measured == [1, 2, 3, 4, 7, 8, 12, 14, 16, 20]


def test_a_written_row_never_repeats_an_old_norm(foreign, fit, tmp_path):
    logger, reference = CSVLogger(tmp_path), Reference()
    fit(
        foreign.Module(), [GradientNormMonitor(every_n_steps=100, first_n_steps=0), reference],
        logger=logger, log_every_n_steps=3,
    )  # fmt: skip
    assert foreign.logged(logger, "grad_norm/pre_clip") == pytest.approx(
        {step: reference.before[step] for step in (2, 5, 8)}, rel=1e-4
    )


@pytest.mark.parametrize("bad", [NAN, INF, -INF])
def test_a_non_finite_norm_is_counted_separately(bad, foreign, fit):
    reference = Reference()
    # the gradient is dropped after the measurement, as StepGuard does, so the run continues
    fit(
        foreign.Module(), [SetGradient(bad, 2), GradientNormMonitor(), DropGradients(2), reference],
        gradient_clip_val=0.3, max_epochs=1,
    )  # fmt: skip
    figures = reference.epochs[0]
    assert figures["grad_norm/non_finite"] == 1
    assert math.isfinite(figures["grad_norm/median"])
    assert not math.isfinite(reference.column("pre_clip")[2])


def test_an_overflow_of_the_scaler_is_counted_separately(foreign, fit):
    reference = Reference()
    fit(
        foreign.Module(), [SetGradient(INF, 2), GradientNormMonitor(), reference],
        plugins=foreign.scaled_fp16(), max_epochs=1,
    )  # fmt: skip
    assert reference.epochs[0]["grad_norm/non_finite"] == 1
    assert math.isfinite(reference.column("pre_clip")[3])


def test_a_skipped_update_is_not_observed(foreign, fit):
    monitor = GradientNormMonitor()
    reference = Reference()
    fit(foreign.Module(), [DropGradients(1, 2), monitor, reference], max_epochs=1)
    assert reference.column("pre_clip")[1] == reference.column("pre_clip")[0], "nothing new was logged"


def test_norms_by_layer_add_up(foreign, fit):
    reference = Reference()
    fit(foreign.Module(), [GradientNormMonitor(per_layer=True), reference], max_epochs=1)
    logged = reference.logged[-1]
    layers = {key.removeprefix("grad_norm/layer/"): value for key, value in logged.items() if "/layer/" in key}
    assert set(layers) == {"net.0", "net.3"}
    assert math.hypot(*layers.values()) == pytest.approx(logged["grad_norm/pre_clip"], rel=1e-5)


def test_a_threshold_that_limits_every_step_is_an_event(foreign, fit, caplog):
    caplog.set_level(logging.INFO, logger="vestim_pl")
    reference = Reference()
    fit(foreign.Module(), [GradientNormMonitor(), reference], gradient_clip_val=1e-3, train=foreign.loader(12))
    assert [(event.kind, event.epoch) for event in reference.events] == [("clip_burst", 0)], "once for a series"
    assert reference.events[0].values["clip_fraction"] == 1.0
    assert "clipping engaged in 100% of 12 observed steps" in reference.events[0].reason
    logged = [record.message for record in caplog.records if "clipping engaged" in record.message]
    assert logged == [reference.events[0].reason]


def test_a_burst_is_reported_when_it_begins_when_the_norm_changes_tenfold_and_when_it_ends(foreign, fit):
    class Change(Callback):
        def on_train_epoch_start(self, trainer, pl_module):
            trainer.gradient_clip_val = 1e6 if trainer.current_epoch == 4 else 1e-3

    def louder(module, loss, batch_idx):
        return loss * (100.0 if module.current_epoch in (2, 3) else 1.0)

    reference = Reference()
    fit(
        foreign.Module(loss_hook=louder), [Change(), GradientNormMonitor(), reference],
        gradient_clip_val=1e-3, train=foreign.loader(12), max_epochs=6,
    )  # fmt: skip
    reported = [(event.kind, event.epoch) for event in reference.events]
    assert reported == [("clip_burst", 0), ("clip_burst", 2), ("clip_burst_end", 4), ("clip_burst", 5)]
    assert reference.events[2].reason == (
        "epoch 4: clipping engaged in 0% of 12 observed steps; it had engaged in nearly every step since epoch 0"
    )


def test_an_epoch_without_a_finite_norm_does_not_show_that_of_an_earlier_one(foreign, fit):
    reference = Reference()
    fit(foreign.Module(), [SetGradient(NAN, *range(5, 10)), GradientNormMonitor(), reference], max_epochs=2)
    assert math.isfinite(reference.epochs[0]["grad_norm/median"])
    assert all(math.isnan(reference.epochs[1][f"grad_norm/{key}"]) for key in ("median", "p90", "p99"))
    quiet = Reference()
    fit(foreign.Module(), [GradientNormMonitor(), quiet], gradient_clip_val=100.0, train=foreign.loader(12))
    assert quiet.events == []


def test_two_optimizers_have_their_own_figures(foreign, fit):
    reference = Reference()
    fit(foreign.TwoOptimizers(), [GradientNormMonitor(), reference], max_epochs=1)
    logged = reference.logged[-1]
    assert {"grad_norm/pre_clip", "grad_norm/pre_clip/optimizer_1"} <= logged.keys()
    assert logged["grad_norm/pre_clip"] != logged["grad_norm/pre_clip/optimizer_1"]
    assert "grad_norm/median/optimizer_1" in reference.epochs[0]


def test_watching_changes_nothing(foreign, fit):
    torch.manual_seed(5)
    watched = foreign.Module()
    torch.manual_seed(5)
    plain = foreign.Module()
    fit(watched, [GradientNormMonitor(per_layer=True)], gradient_clip_val=0.2)
    fit(plain, gradient_clip_val=0.2)
    assert foreign.same_weights(watched, plain)


def test_one_host_sync_an_observed_step(foreign, fit, monkeypatch):
    reads = []
    original = torch.Tensor.cpu
    monkeypatch.setattr(torch.Tensor, "cpu", lambda self, *a, **k: reads.append(self.shape) or original(self, *a, **k))
    fit(foreign.Module(), [GradientNormMonitor(per_layer=True)], max_epochs=1, log_every_n_steps=100)
    assert [shape for shape in reads if shape == (4,)] == [(4,)] * 5


@pytest.mark.parametrize("stop", [3, 7])
def test_a_resumed_run_logs_the_same(stop, foreign, fit, tmp_path):
    whole = Reference()
    checkpoints = ModelCheckpoint(tmp_path, "{step}", every_n_train_steps=stop, save_top_k=-1)

    def monitor():
        return GradientNormMonitor(every_n_steps=2, first_n_steps=4)

    def module():
        torch.manual_seed(5)
        return foreign.Module()

    options = {"gradient_clip_val": 0.3, "max_epochs": 3, "log_every_n_steps": 100}
    fit(module(), [monitor(), whole, checkpoints], train=foreign.StatefulLoader(), **options)
    path, resumed = tmp_path / f"step={stop}.ckpt", Reference()
    torch.load(path, weights_only=True)
    fit(module(), [monitor(), resumed], train=foreign.StatefulLoader(), resume=path, **options)
    epochs = whole.epochs[stop // 5 :]
    keys = ["clip_fraction", "median", "p90", "p99", "non_finite"]
    for expected, found in zip(epochs, resumed.epochs, strict=True):
        assert {key: found[f"grad_norm/{key}"] for key in keys} == {key: expected[f"grad_norm/{key}"] for key in keys}


def test_a_fused_optimizer_with_a_scaler_is_refused(foreign, fit):
    with pytest.raises(ConfigurationError, match="use fused=False"):
        fit(
            foreign.Module(optimizer=lambda parameters, lr: torch.optim.Adam(parameters, lr, fused=True)),
            [GradientNormMonitor()], plugins=foreign.scaled_fp16(),
        )  # fmt: skip


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"every_n_steps": 0}, "GradientNormMonitor.every_n_steps: 0 is too small"),
        ({"first_n_steps": -1}, "GradientNormMonitor.first_n_steps: -1 is too small"),
        ({"clip_burst_fraction": 0.0}, "clip_burst_fraction: 0.0 must be positive"),
    ],
)
def test_bad_argument_is_refused(options, message):
    with pytest.raises(ConfigurationError, match=message):
        GradientNormMonitor(**options)


def test_hooks_do_not_outlive_the_fit(foreign, fit):
    def crash(module, loss, batch_idx):
        raise RuntimeError("crash")

    trainer = fit(foreign.Module(), [GradientNormMonitor()], fast_dev_run=True)
    assert not trainer.optimizers[0]._optimizer_step_post_hooks
    monitor = GradientNormMonitor()
    with pytest.raises(RuntimeError, match="crash"):
        fit(foreign.Module(loss_hook=crash), [monitor])
    assert monitor._hooks == []


@pytest.mark.parametrize("bad", [NAN, INF])
def test_percentiles_leave_out_a_non_finite_norm(bad):
    norms = EpochNorms()
    norms.observe(1.0, 1.0)
    norms.observe(bad, bad)
    norms.observe(3.0, 2.0)
    expected = {"non_finite": 1.0, "clip_fraction": 0.5, "median": 2.0, "p90": 2.8, "p99": 2.98}
    assert norms.summary() == pytest.approx(expected)


def test_a_step_without_an_update_counts_for_the_norm_but_not_for_clipping():
    norms = EpochNorms()
    norms.observe(3.0, None)
    assert norms.before == [3.0]
    assert math.isnan(norms.clip_fraction)
    assert "clip_fraction" not in norms.summary()


def test_rounding_is_not_clipping():
    norms = EpochNorms()
    norms.observe(1.0, 1.0 - 1e-7)
    assert norms.clipped == 0


def test_percentiles_are_nan_without_a_finite_norm_and_absent_without_any():
    norms = EpochNorms()
    assert norms.summary() == {"non_finite": 0.0}
    norms.observe(NAN, None)
    summary = norms.summary()
    assert summary["non_finite"] == 1.0
    assert all(math.isnan(summary[name]) for name in ("median", "p90", "p99"))
