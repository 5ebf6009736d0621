import logging
import math

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.plugins import MixedPrecision
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from tests.callbacks.foreign import ForeignRecurrent, RankReport, Recorder, fit, same
from vestim_pl.callbacks import AdaptiveGradientClipping, GradientNoise
from vestim_pl.callbacks.gradients.gradient_noise import GaussianNoise, noise_std
from vestim_pl.errors import ConfigurationError


class Foreign(LightningModule):
    def __init__(self, fused=False):
        super().__init__()
        self.fused = fused
        self.layer = nn.Linear(40, 50)
        self.unused = nn.Linear(2, 2)

    def training_step(self, batch, batch_idx):
        return nn.functional.dropout(self.layer(batch[0]), 0.5).square().mean()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.01, fused=self.fused)


class Grads(Callback):
    def __init__(self):
        self.seen = []

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        self.seen.append([None if p.grad is None else p.grad.clone() for p in pl_module.parameters()])


class Skip(Callback):
    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        optimizer.zero_grad(set_to_none=True)


def run(*callbacks, model=None, steps=6, ckpt_path=None, checkpoint=None, **options):
    torch.manual_seed(0)
    options = {"accelerator": "cpu", "log_every_n_steps": 1} | options
    trainer = Trainer(
        max_steps=steps, callbacks=list(callbacks), logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, **options,
    )  # fmt: skip
    model = (model or Foreign)()
    data = torch.randn(4, 40, generator=torch.Generator().manual_seed(1))
    trainer.fit(model, DataLoader(TensorDataset(data), batch_size=4), ckpt_path=ckpt_path)
    if checkpoint:
        trainer.save_checkpoint(checkpoint)
    return model, trainer


def noise_of_first_step(**options):
    before, after = Grads(), Grads()
    run(before, GradientNoise(**options), after, steps=1)
    return before.seen[0], after.seen[0]


def test_noise_has_the_variance_asked_for_and_spares_missing_gradients():
    before, after = noise_of_first_step(eta=0.3)
    assert after[2] is None
    assert after[3] is None
    noise = torch.cat([(a - b).flatten() for a, b in zip(after[:2], before[:2], strict=True)])
    assert noise.std() == pytest.approx(math.sqrt(0.3), rel=0.05)
    assert noise.mean().abs() < 0.05


def test_noise_is_annealed():
    before, after = Grads(), Grads()
    run(before, GradientNoise(eta=0.3, gamma=2.0), after, steps=4)
    noise = after.seen[3][0] - before.seen[3][0]
    assert noise.std() == pytest.approx(noise_std(3, 0.3, 2.0), rel=0.05)


def test_seed_decides():
    _, first = noise_of_first_step(seed=1)
    _, again = noise_of_first_step(seed=1)
    _, other = noise_of_first_step(seed=2)
    assert torch.equal(first[0], again[0])
    assert not torch.equal(first[0], other[0])


def test_global_randomness_of_the_run_is_unchanged():
    states = []

    class Rng(Callback):
        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            states.append(torch.get_rng_state())

    run(Rng(), steps=3)
    run(Rng(), GradientNoise(), steps=3)
    for plain, noisy in zip(states[:3], states[3:], strict=True):
        assert torch.equal(plain, noisy)


def test_parameters_whose_gradients_come_and_go_get_noise_while_they_have_one():
    class Drop(Callback):
        def on_before_optimizer_step(self, trainer, pl_module, optimizer):
            if trainer.global_step == 1:
                pl_module.layer.bias.grad = None

    before, after = Grads(), Grads()
    run(Drop(), before, GradientNoise(), after, steps=3)
    for step, missing in enumerate([False, True, False]):
        weight, bias = after.seen[step][:2]
        assert (weight - before.seen[step][0]).std() == pytest.approx(noise_std(step, 0.01, 0.55), rel=0.1)
        assert bias is None if missing else not torch.equal(bias, before.seen[step][1])


def test_skipped_update_stays_skipped():
    after = Grads()
    run(Skip(), GradientNoise(), after, steps=2)
    assert all(grad is None for step in after.seen for grad in step)


def test_logs_and_warns_once_when_it_is_larger_than_the_gradient(caplog):
    before = Grads()
    with caplog.at_level(logging.WARNING, "vestim_pl"):
        _, trainer = run(before, GradientNoise(eta=1.0, gamma=0.0))
    norm = torch.nn.utils.get_total_norm([grad for grad in before.seen[-1] if grad is not None])
    relative = math.sqrt(40 * 50 + 50) / norm
    assert trainer.logged_metrics["gradient_noise/sigma"] == 1.0
    assert trainer.logged_metrics["gradient_noise/relative"] == pytest.approx(float(relative), rel=1e-4)
    assert len([record for record in caplog.records if "is larger than the gradient" in record.message]) == 1


def test_quiet_where_the_noise_is_small(caplog):
    with caplog.at_level(logging.WARNING, "vestim_pl"):
        run(GradientNoise(eta=1e-12))
    assert not caplog.records


def test_fused_optimizer_under_a_scaler_is_refused():
    scaler = torch.amp.GradScaler("cpu")
    with pytest.raises(ConfigurationError, match="fused=False"):
        run(GradientNoise(), model=lambda: Foreign(fused=True), plugins=[MixedPrecision("16-mixed", "cpu", scaler)])


@pytest.mark.parametrize("options", [{"eta": 0.0}, {"eta": math.inf}, {"gamma": -1.0}, {"seed": -1}])
def test_bad_argument_is_refused(options):
    with pytest.raises(ConfigurationError, match=next(iter(options))):
        GradientNoise(**options)


@pytest.mark.slow
def test_ranks_are_alike(tmp_path):
    callbacks = [AdaptiveGradientClipping(warmup_steps=2), GradientNoise(eta=1e-4), Recorder(), RankReport(tmp_path)]
    fit(ForeignRecurrent(), callbacks, strategy="ddp_spawn", devices=2, max_steps=6)
    first, second = (torch.load(tmp_path / f"rank{rank}.pt") for rank in range(2))
    assert same(first["history"], second["history"])


@pytest.mark.parametrize(("step", "variance"), [(0, 0.3), (1, 0.3 / 2**0.55), (999, 0.3 / 1000**0.55)])
def test_variance_is_annealed_as_in_the_paper(step, variance):
    assert noise_std(step, eta=0.3, gamma=0.55) ** 2 == pytest.approx(variance)


def drawn(*numbers, size=4):
    (noise,) = GaussianNoise(torch.device("cpu")).draw([torch.empty(size)], *numbers)
    return noise


def test_noise_is_standard_normal():
    noise = drawn(0, 5, 0, size=100_000)
    assert noise.mean().abs() < 0.02
    assert noise.std() == pytest.approx(1.0, abs=0.02)
    assert (noise.abs() > 2).float().mean() == pytest.approx(0.0455, abs=0.003)


def test_noise_has_the_shapes_of_the_tensors_and_no_number_twice():
    tensors = [torch.empty(30, 40), torch.empty(()), torch.empty(50, dtype=torch.bfloat16)]
    noise = GaussianNoise(torch.device("cpu")).draw(tensors, 0, 5, 0)
    assert [(part.shape, part.dtype) for part in noise] == [(tensor.shape, torch.float32) for tensor in tensors]
    assert len(torch.cat([part.flatten() for part in noise]).unique()) > 1245  # of 1251; float32 may meet by chance


def test_noise_depends_on_each_of_its_numbers_alone():
    places = [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0)]
    seen = {place: tuple(drawn(*place).tolist()) for place in places}
    assert len(set(seen.values())) == 5
    torch.manual_seed(99)
    assert tuple(drawn(0, 1, 0).tolist()) == seen[0, 1, 0]


def test_what_was_drawn_before_makes_no_difference():
    noise = GaussianNoise(torch.device("cpu"))
    for size, step in [(4, 0), (4, 7), (9, 3), (9, 0), (4, 7)]:
        assert torch.equal(noise.draw([torch.empty(size)], 0, step)[0], drawn(0, step, size=size))


def test_steps_are_uncorrelated_for_each_element():
    series = torch.stack([drawn(0, step, 0, size=200) for step in range(900)])
    assert series.mean(1).std() == pytest.approx(1 / math.sqrt(200), rel=0.15)  # steps as a whole
    for lag in (1, 2, 10, 100):
        correlation = (series[lag:] * series[:-lag]).mean()
        assert correlation.abs() < 4 / math.sqrt(series.numel())


def test_global_generator_is_not_touched():
    before = torch.get_rng_state()
    drawn(0, 0, 0)
    assert torch.equal(before, torch.get_rng_state())
