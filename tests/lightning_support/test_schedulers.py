"""The torch schedulers of ``scheduler=...``: the rate of every update, with further factors, and after a resume."""

import math
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Callback, Trainer

from tests.test_estimator import loader, make_batch, make_estimator, make_trainer
from vestim_pl.callbacks import DivergenceRecovery, LearningRateWarmup, PlateauLearningRate
from vestim_pl.errors import ConfigurationError
from vestim_pl.lightning_support.learning_rate import LearningRateFactors
from vestim_pl.lightning_support.schedulers import build_scheduler

BATCHES, BASE = 4, 0.1
STEP = {"name": "step", "period": 2, "factor": 0.5}
RESTARTS = {"name": "cosine_warm_restarts", "t0": 1, "t_mult": 2, "eta_min": 0.01}


class Rates(Callback):
    """Learning rate that each update used."""

    def __init__(self) -> None:
        self.used: list[float] = []

    def on_before_optimizer_step(self, trainer: Trainer, *_: object) -> None:
        self.used += LearningRateFactors.of(trainer).effective(trainer.optimizers[0])


def fit(folder: Path, spec: dict, *callbacks: Callback, ckpt_path: Path | None = None, **options) -> tuple:
    estimator, rates = make_estimator(optimizer={"name": "SGD", "lr": BASE}, scheduler=spec), Rates()
    trainer = make_trainer(folder, callbacks=[*callbacks, rates], **options)
    batches = loader(*[make_batch(seed=seed) for seed in range(BATCHES)])
    trainer.fit(estimator, batches, batches, ckpt_path=ckpt_path, weights_only=True if ckpt_path else None)
    return trainer, estimator, rates.used


def restarts(cycles: list[int], lowest: float = 0.01) -> list[float]:
    """The formula of Loshchilov & Hutter, cycle by cycle."""
    return [
        lowest + (BASE - lowest) * (1 + math.cos(math.pi * step / cycle)) / 2
        for cycle in cycles
        for step in range(cycle)
    ]


def test_step_cuts_the_rate_every_period_of_epochs(tmp_path):
    _, _, used = fit(tmp_path, STEP, max_epochs=5)
    assert used == pytest.approx([BASE] * 8 + [BASE / 2] * 8 + [BASE / 4] * 4)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_restarts_happen_at_epoch_ends_and_cycles_grow(tmp_path, accumulate):
    _, _, used = fit(tmp_path, RESTARTS, max_epochs=3, accumulate_grad_batches=accumulate)
    updates = BATCHES // accumulate
    assert used == pytest.approx(restarts([updates, 2 * updates]))


@pytest.mark.parametrize(("spec", "expected"), [(STEP, [BASE] * 8 + [BASE / 2] * 4), (RESTARTS, restarts([4, 8]))])
def test_warmup_plateau_and_recovery_multiply_into_it(tmp_path, spec, expected):
    warmup = LearningRateWarmup(4, start_factor=0.25)
    plateau = PlateauLearningRate("val/rmse_mv", patience=0, factor=0.5, threshold=0.9)  # no epoch improves by 90 %
    _, _, used = fit(tmp_path, spec, warmup, plateau, DivergenceRecovery(), max_epochs=3)
    warm = [0.25, 0.4375, 0.625, 0.8125] + [1.0] * 8
    cut = [1.0] * 8 + [0.5] * 4  # the first validation is the best so far
    assert used == pytest.approx([a * b * c for a, b, c in zip(expected, warm, cut, strict=True)])


@pytest.mark.parametrize("spec", [STEP, RESTARTS])
@pytest.mark.parametrize("stop", [4, 8])  # at the end of an epoch; there the rate restarts, or is cut
def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path, spec, stop):
    _, whole, used = fit(tmp_path, spec, max_epochs=4)
    trainer, _, before = fit(tmp_path, spec, max_epochs=4, max_steps=stop)
    trainer.save_checkpoint(tmp_path / "stopped.ckpt")
    _, resumed, after = fit(tmp_path, spec, max_epochs=4, ckpt_path=tmp_path / "stopped.ckpt")
    assert before + after == used
    for name, weight in whole.state_dict().items():
        assert torch.equal(weight, resumed.state_dict()[name]), name


def test_a_cosine_of_another_length_is_computed_anew_on_resume(tmp_path):
    spec = {"name": "cosine", "min_factor": 0.1}
    trainer, _, _ = fit(tmp_path, spec, max_epochs=1)
    trainer.save_checkpoint(tmp_path / "stopped.ckpt")
    _, _, used = fit(tmp_path, spec, max_epochs=2, ckpt_path=tmp_path / "stopped.ckpt")
    low, half = BASE * 0.1, BASE * 0.9 / 2
    assert used == pytest.approx([low + half * (1 + math.cos(math.pi * step / 8)) for step in range(4, 8)])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "step", "period": 0}, r"scheduler\.period: 0 is too small; choose an integer of at least 1"),
        ({"name": "step", "period": 1.5}, r"scheduler\.period: 1\.5 does not fit: .*integer"),
        ({"name": "step", "factor": 0.0}, r"scheduler\.factor: 0\.0 is not in \(0, 1\]; choose for example 0\.5"),
        ({"name": "step", "factor": 10.0}, r"scheduler\.factor: 10\.0 is not in \(0, 1\]"),
        ({"name": "step", "gamma": 0.5}, r"scheduler\.gamma: no such key; choose one of period, factor"),
        ({"name": "cosine", "min_factor": 2.0}, r"scheduler\.min_factor: 2\.0 is not in \[0, 1\]"),
        ({"name": "cosine_warm_restarts", "t0": 0}, r"scheduler\.t0: 0 is too small"),
        ({"name": "cosine_warm_restarts", "t_mult": 0}, r"scheduler\.t_mult: 0 is too small"),
        ({"name": "cosine_warm_restarts", "t_mult": 1.5}, r"scheduler\.t_mult: 1\.5 does not fit: .*integer"),
        (
            {"name": "cosine_warm_restarts", "eta_min": 0.5},
            r"scheduler\.eta_min: 0\.5 is not between 0 and the learning rate, 0\.1; choose for example 0\.001",
        ),
        ({"name": "cosine_warm_restarts", "eta_min": math.nan}, r"scheduler\.eta_min: nan is not between 0 and"),
    ],
)
def test_bad_option_is_refused_in_one_line(options, message):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=BASE)
    with pytest.raises(ConfigurationError, match=message) as refused:
        build_scheduler(optimizer, options, lambda: 100, lambda: 10)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", ["cosine", "cosine_warm_restarts"])
def test_an_endless_training_is_refused_if_the_schedule_needs_its_length(tmp_path, name):
    with pytest.raises(ConfigurationError, match=rf"scheduler\.name: {name} needs to know .* set trainer\.max_epochs"):
        fit(tmp_path, {"name": name}, max_epochs=-1)
