import copy
import math

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.plugins import MixedPrecision
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from vestim_pl.callbacks import AdaptiveGradientClipping, StepGuard
from vestim_pl.callbacks.gradients.adaptive_gradient_clipping import _clip
from vestim_pl.errors import ConfigurationError


class Foreign(LightningModule):
    def __init__(self, fused=False):
        super().__init__()
        self.fused = fused
        self.layer = nn.Linear(3, 1)

    def training_step(self, batch, batch_idx):
        x, y = batch
        return (self.layer(x) - y).square().mean()

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=0.01, fused=self.fused)


class TwoOptimizers(Foreign):
    def __init__(self):
        super().__init__()
        self.automatic_optimization = False
        self.other = nn.Linear(3, 1)

    def training_step(self, batch, batch_idx):
        x, y = batch
        for optimizer, layer in zip(self.optimizers(), (self.layer, self.other), strict=True):
            optimizer.zero_grad()
            self.manual_backward((layer(x) - y).square().mean())
            optimizer.step()

    def configure_optimizers(self):
        return [torch.optim.SGD(layer.parameters(), lr=0.01) for layer in (self.layer, self.other)]


class Multiply(Callback):
    """Multiplies the gradient of one step."""

    def __init__(self, step, factor):
        self.step, self.factor = step, factor

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        if trainer.global_step == self.step:
            pl_module.layer.weight.grad *= self.factor


class Record(Callback):
    def __init__(self):
        self.norms, self.grads, self.logged = [], [], []

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        grads = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        self.norms.append(float(torch.nn.utils.get_total_norm(grads)))
        self.grads.append([grad.clone() for grad in grads])

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.logged.append({k: float(v) for k, v in trainer.logged_metrics.items()})


def loader(rows):
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(rows, 3, generator=generator)
    return DataLoader(TensorDataset(x, x.sum(1, keepdim=True) + 5), batch_size=8)


def run(*callbacks, model=None, steps=40, ckpt_path=None, checkpoint=None, rows=320, **options):
    torch.manual_seed(0)
    model = model or Foreign()
    options = {"log_every_n_steps": 1, "accelerator": "cpu"} | options
    trainer = Trainer(
        max_steps=steps, callbacks=list(callbacks), logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, **options,
    )  # fmt: skip
    trainer.fit(model, loader(rows), ckpt_path=ckpt_path)
    if checkpoint:
        trainer.save_checkpoint(checkpoint)
    return model, trainer


def test_spike_is_clipped_and_the_rest_is_not():
    before, after = Record(), Record()
    run(Multiply(30, 1000.0), before, AdaptiveGradientClipping(z_threshold=6.0), after)
    assert before.norms[30] > 100 * before.norms[29]
    assert after.norms[30] < 2 * before.norms[29]
    unclipped = [step for step in range(40) if step != 30]
    assert [after.norms[step] for step in unclipped] == [before.norms[step] for step in unclipped]


@pytest.mark.parametrize("between", [(), (Multiply(30, 1000.0),)], ids=["right after", "with a change between"])
def test_it_clips_the_same_after_a_step_guard(between):
    def after(*guards):
        record = Record()
        run(*guards, *between, AdaptiveGradientClipping(z_threshold=1.0, warmup_steps=5), record)
        return record.norms

    assert after(StepGuard()) == after()


def test_logged_values_describe_the_clipping():
    record = Record()
    run(Multiply(30, 1000.0), AdaptiveGradientClipping(z_threshold=6.0), record)
    logged = record.logged[30]
    assert logged["adaptive_clipping/clipped_fraction"] == 1.0
    assert logged["adaptive_clipping/norm"] > 100 * logged["adaptive_clipping/limit"]
    assert logged["adaptive_clipping/z_score"] > 6.0
    assert record.logged[29]["adaptive_clipping/clipped_fraction"] == 0.0


def test_clipped_fraction_counts_every_step_since_the_last_log():
    record = Record()
    run(Multiply(31, 1000.0), AdaptiveGradientClipping(z_threshold=6.0), record, log_every_n_steps=10)
    assert record.logged[39]["adaptive_clipping/clipped_fraction"] == pytest.approx(0.1)


@pytest.mark.parametrize("max_norm", [None, 0.5])
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_non_finite_gradient_is_not_spread_and_not_remembered(bad, max_norm):
    clipping, before, after = AdaptiveGradientClipping(warmup_steps=5, max_norm=max_norm), Record(), Record()
    run(Multiply(10, bad), before, clipping, after, steps=11)
    for left, right in zip(before.grads[10], after.grads[10], strict=True):
        assert torch.equal(left.nan_to_num(), right.nan_to_num())
    assert torch.isfinite(after.grads[10][1]).all()  # the bias
    assert clipping.statistics[0].seen == 10
    assert all(math.isfinite(value) for value in clipping.statistics[0])


@pytest.mark.parametrize("norm", [math.nan, math.inf, 3.0, 0.0])
def test_a_norm_on_a_device_clips_as_one_on_the_host(norm):
    results = []
    for seen, limit in ((norm, 1.5), (torch.tensor(norm), torch.tensor(1.5))):
        weight = nn.Parameter(torch.zeros(2))
        weight.grad = torch.tensor([2.0, -4.0])
        clipped = _clip(torch.optim.SGD([weight], lr=0.1), [weight.grad], seen, limit)
        results.append((float(clipped), weight.grad.tolist()))
    assert results[0] == (float(norm == 3.0), pytest.approx([1.0, -2.0] if norm == 3.0 else [2.0, -4.0], rel=1e-5))
    assert results[1][0] == results[0][0]
    assert results[1][1] == pytest.approx(results[0][1], rel=1e-5)


def test_skipped_update_leaves_everything_alone():
    class Skip(Callback):
        def on_before_optimizer_step(self, trainer, pl_module, optimizer):
            if trainer.global_step == 3:
                optimizer.zero_grad(set_to_none=True)

    clipping = AdaptiveGradientClipping()
    run(Skip(), clipping, steps=6)
    assert clipping.statistics[0].seen == 5


def test_constant_bound_acts_from_the_first_step():
    before, after = Record(), Record()
    run(before, AdaptiveGradientClipping(max_norm=0.5), after, steps=5)
    assert before.norms[0] > 0.5
    assert after.norms == pytest.approx([min(norm, 0.5) for norm in before.norms], rel=1e-4)


@pytest.mark.parametrize("stop", [3, 30, 33])
def test_resume_is_bitwise(tmp_path, stop):
    def callbacks():
        return Multiply(32, 1000.0), AdaptiveGradientClipping(z_threshold=3.0), Record()

    options = {"log_every_n_steps": 7, "rows": 8}  # epochs of one step: torch's own loader resumes at their ends only
    whole, trainer = run(*callbacks(), **options)
    run(*callbacks(), steps=stop, checkpoint=tmp_path / "stop.ckpt", **options)
    resumed, again = run(*callbacks(), ckpt_path=tmp_path / "stop.ckpt", **options)
    for left, right in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(left, right)
    ours, theirs = trainer.callbacks[1].state_dict(), again.callbacks[1].state_dict()
    assert ours == theirs
    assert trainer.logged_metrics == again.logged_metrics


def test_state_is_a_snapshot():
    clipping = AdaptiveGradientClipping()
    run(clipping, steps=5)
    state = clipping.state_dict()
    kept = copy.deepcopy(state)
    run(clipping, steps=5)
    assert state == kept


def test_accumulation_counts_updates():
    clipping = AdaptiveGradientClipping()
    run(clipping, steps=10, accumulate_grad_batches=2)
    assert clipping.statistics[0].seen == 10


def test_several_optimizers_have_their_own_statistics():
    clipping = AdaptiveGradientClipping(warmup_steps=5)
    _, trainer = run(clipping, model=TwoOptimizers(), steps=20)
    assert [clipping.statistics[index].seen for index in (0, 1)] == [10, 10]
    assert clipping.statistics[0].mean != clipping.statistics[1].mean
    assert "adaptive_clipping/norm/optimizer_1" in trainer.logged_metrics


def test_scaler_gradients_are_seen_unscaled():
    plain, scaled = Record(), Record()
    run(AdaptiveGradientClipping(), plain, steps=3, precision="bf16-mixed")
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
    clipping = AdaptiveGradientClipping()
    run(clipping, scaled, steps=3, plugins=[MixedPrecision("16-mixed", "cpu", scaler)])
    assert scaled.norms == pytest.approx(plain.norms, rel=0.05)
    assert clipping.statistics[0].seen == 3


def test_fused_optimizer_under_a_scaler_is_refused():
    scaler = torch.amp.GradScaler("cpu")
    with pytest.raises(ConfigurationError, match="fused=False"):
        run(AdaptiveGradientClipping(), model=Foreign(fused=True), plugins=[MixedPrecision("16-mixed", "cpu", scaler)])
    run(AdaptiveGradientClipping(), model=Foreign(fused=True), steps=2)


def test_second_clipping_is_refused():
    with pytest.raises(ConfigurationError, match=r"trainer.gradient_clip_val: 1.0 .* max_norm=1.0"):
        run(AdaptiveGradientClipping(), gradient_clip_val=1.0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"z_threshold": 0.0}, "z_threshold: 0.0"),
        ({"alpha": 1.0}, "alpha: 1.0"),
        ({"warmup_steps": 1}, "warmup_steps: 1"),
        ({"max_norm": -1.0}, "max_norm: -1.0"),
        ({"reaction": "hard"}, "reaction: 'hard' is not one of reciprocal, threshold, mean"),
        ({"z_threshold": math.nan}, "z_threshold: nan"),
    ],
)
def test_bad_argument_is_refused(options, message):
    with pytest.raises(ConfigurationError, match=message):
        AdaptiveGradientClipping(**options)
