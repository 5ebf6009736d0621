"""VoltageEstimator: checkpoint contents, carried state, and reported errors."""

import math

import pytest
import torch
from lightning.pytorch import Callback, Trainer
from omegaconf import OmegaConf
from torch.utils.data import DataLoader

from vestim_pl.callbacks import StepGuard
from vestim_pl.errors import ConfigurationError
from vestim_pl.estimator import VoltageEstimator
from vestim_pl.functional.sequence_batch import SequenceBatch

FEATURES = ["SOC", "Current", "Temp"]


def make_estimator(kind: type[VoltageEstimator] = VoltageEstimator, **options) -> VoltageEstimator:
    torch.manual_seed(1)
    estimator = kind(FEATURES, **{"network": {"name": "LSTM", "hidden_sizes": [6]}, **options})
    inputs = torch.randn(500, 3) * torch.tensor([0.3, 4.0, 15.0]) + torch.tensor([0.5, -1.0, 10.0])
    estimator.scaler.fit(inputs, 3.7 + 0.2 * torch.randn(500))
    return estimator


def make_batch(lanes: int = 4, steps: int = 12, seed: int = 0, fresh: bool = True) -> SequenceBatch:
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(lanes, steps, 3, generator=generator)
    batch = SequenceBatch.of(inputs, 3.7 + 0.1 * torch.randn(lanes, steps, generator=generator))
    return batch._replace(fresh=torch.full((lanes,), fresh))


def loader(*batches: SequenceBatch) -> DataLoader:
    return DataLoader(list(batches), batch_size=None)


def make_trainer(tmp_path, **options) -> Trainer:
    return Trainer(
        **{
            "accelerator": "cpu", "max_epochs": 1, "logger": False, "enable_checkpointing": False,
            "enable_progress_bar": False, "enable_model_summary": False, "num_sanity_val_steps": 0,
            "default_root_dir": tmp_path, **options,
        }
    )  # fmt: skip


SPECS = [{"name": name, "hidden_sizes": [6]} for name in ("LSTM", "GRU", "LSTM_EMA", "LSTM_LPF", "FNN")]
SPECS.append({"name": "Transformer", "hidden_sizes": [6, 4], "heads": 2, "lookback": 5})


@pytest.mark.parametrize("spec", [*SPECS, OmegaConf.create({"name": "LSTM", "members": 2, "direct": [4]})])
def test_checkpoint_alone_takes_physical_units_and_returns_the_same_volts(tmp_path, spec):
    estimator = make_estimator(network=spec)
    trainer = make_trainer(tmp_path)
    trainer.fit(estimator, loader(make_batch()))
    trainer.save_checkpoint(tmp_path / "some.ckpt")
    torch.load(tmp_path / "some.ckpt", weights_only=True)  # nothing to unpickle

    restored = VoltageEstimator.load_from_checkpoint(tmp_path / "some.ckpt", weights_only=True)
    inputs = make_batch(seed=3).inputs * 10
    with torch.no_grad():
        expected, _ = estimator.eval()(inputs)
        volts, _ = restored.eval()(inputs)
    assert torch.equal(volts, expected)
    assert restored.hparams == estimator.hparams
    assert all(type(value) in (dict, list) for value in restored.hparams.values())


def test_loss_is_the_weighted_mean_square_in_scaled_units(tmp_path):
    estimator = make_estimator()
    batch = make_batch()
    weight = torch.zeros_like(batch.weight)
    weight[:, -1] = 1.0
    batch = batch._replace(weight=weight)
    estimator.trainer = make_trainer(tmp_path)
    loss = estimator.training_step(batch, 0)
    volts, _ = estimator(batch.inputs)
    error = (volts - batch.target)[:, -1] / estimator.scaler.target_std
    assert torch.allclose(loss, error.square().mean(), rtol=1e-5)


def test_masked_steps_have_no_gradient(tmp_path):
    estimator = make_estimator()
    batch = make_batch()
    weight = torch.ones_like(batch.weight)
    weight[:, 5:] = 0.0
    estimator.trainer = make_trainer(tmp_path)
    losses = []
    for target in (batch.target, batch.target + torch.where(weight > 0, 0.0, 100.0)):
        estimator._carried.clear()
        losses.append(estimator.training_step(batch._replace(target=target, weight=weight), 0))
    assert torch.equal(*losses)


@pytest.mark.parametrize("chunk", [1, 3, 12])
def test_chunks_with_carried_state_equal_one_pass(tmp_path, chunk):
    estimator = make_estimator().eval()
    whole = make_batch(steps=12)
    with torch.no_grad():
        expected = estimator.predict_step(whole, 0)
        parts = []
        for start in range(0, 12, chunk):
            part = SequenceBatch(
                whole.inputs[:, start : start + chunk], whole.target[:, start : start + chunk],
                whole.weight[:, start : start + chunk], torch.full((4,), start == 0), whole.first_row,
            )  # fmt: skip
            parts.append(estimator.predict_step(part, start))
    assert torch.allclose(torch.cat(parts, dim=1), expected, atol=1e-6)


def test_fresh_lanes_forget_and_the_others_do_not(tmp_path):
    estimator = make_estimator().eval()
    first, second = make_batch(seed=1), make_batch(seed=2)._replace(fresh=torch.tensor([True, False, True, False]))
    with torch.no_grad():
        estimator.predict_step(first, 0)
        volts = estimator.predict_step(second, 1)
        from_zero, _ = estimator(second.inputs)
    assert torch.allclose(volts[[0, 2]], from_zero[[0, 2]])
    assert (volts[[1, 3]] - from_zero[[1, 3]]).abs().max() > 1e-5


def test_validation_between_two_training_batches_leaves_the_training_state_alone(tmp_path):
    estimator = make_estimator()
    estimator.trainer = make_trainer(tmp_path)
    estimator.training_step(make_batch(seed=1), 0)
    carried = [tensor.clone() for tensor in estimator._carried["train"]]
    estimator.validation_step(make_batch(lanes=7, seed=2), 0)
    assert all(torch.equal(a, b) for a, b in zip(carried, estimator._carried["train"], strict=True))
    assert not any(tensor.requires_grad for tensor in estimator._carried["train"])


def test_carried_state_is_in_the_checkpoint(tmp_path):
    estimator = make_estimator()
    trainer = make_trainer(tmp_path)
    trainer.fit(estimator, loader(make_batch(seed=1)))
    trainer.save_checkpoint(tmp_path / "some.ckpt")
    restored = VoltageEstimator.load_from_checkpoint(tmp_path / "some.ckpt", weights_only=True)
    assert all(torch.equal(a, b) for a, b in zip(estimator._carried["train"], restored._carried["train"], strict=True))


def test_reported_errors_equal_numpys(tmp_path):
    estimator = make_estimator().eval()
    batches = [make_batch(seed=1), make_batch(seed=2, lanes=3)]
    trainer = make_trainer(tmp_path)
    trainer.validate(estimator, loader(*batches), verbose=False)
    errors = torch.cat([((estimator(b.inputs)[0] - b.target) * 1000).flatten() for b in batches]).detach().double()
    logged = trainer.callback_metrics
    assert math.isclose(logged["val/rmse_mv"], errors.square().mean().sqrt(), rel_tol=1e-4)
    assert math.isclose(logged["val/mae_mv"], errors.abs().mean(), rel_tol=1e-4)
    assert math.isclose(logged["val/max_error_mv"], errors.abs().max(), rel_tol=1e-4)


def test_a_nan_shows_in_the_reported_error(tmp_path):
    estimator = make_estimator().eval()
    batch = make_batch()
    batch.inputs[0, 3, 1] = math.nan
    trainer = make_trainer(tmp_path)
    trainer.validate(estimator, loader(batch), verbose=False)
    assert math.isnan(trainer.callback_metrics["val/rmse_mv"])


def test_a_batch_that_was_skipped_does_not_hide_the_training_error(tmp_path):
    good, bad = make_batch(seed=1), make_batch(seed=2)
    bad.inputs[0, 3, 1] = math.nan
    reported = []
    for batches in ([good], [good, bad]):
        trainer = make_trainer(tmp_path, callbacks=[StepGuard()])
        trainer.fit(make_estimator(optimizer={"name": "SGD", "lr": 0.0}), loader(*batches))
        reported.append({k: float(v) for k, v in trainer.callback_metrics.items() if k.startswith("train/")})
    alone, both = reported
    assert (alone.pop("train/left_out"), both.pop("train/left_out")) == (0, 1)
    assert math.isfinite(alone["train/rmse_mv"])
    assert both == alone


@pytest.mark.parametrize(("name", "decay"), [("Adam", 0.1), ("AdamW", 0.2)])
def test_optimizer_by_name_with_its_options(tmp_path, name, decay):
    estimator = make_estimator(optimizer={"name": name, "lr": 0.02, "weight_decay": decay})
    optimizer = estimator.configure_optimizers()
    assert type(optimizer) is getattr(torch.optim, name)
    assert optimizer.param_groups[0]["lr"] == 0.02
    assert optimizer.param_groups[0]["weight_decay"] == decay


@pytest.mark.parametrize("algorithm", ["norm", "value"])
def test_a_fused_optimizer_is_clipped_in_bf16_where_lightning_alone_refuses(tmp_path, algorithm):
    changes = {}
    for fused, limit in ((True, 1e-3), (False, 1e-3), (True, None)):
        estimator = make_estimator(optimizer={"name": "SGD", "lr": 1.0, "fused": fused})
        before = torch.nn.utils.parameters_to_vector(estimator.parameters()).detach().clone()
        trainer = make_trainer(
            tmp_path, precision="bf16-mixed", gradient_clip_val=limit, gradient_clip_algorithm=algorithm
        )
        trainer.fit(estimator, loader(make_batch()))
        changes[fused, limit] = torch.nn.utils.parameters_to_vector(estimator.parameters()).detach() - before
    assert torch.allclose(changes[True, 1e-3], changes[False, 1e-3], rtol=1e-3, atol=1e-6)
    size = changes[True, 1e-3].norm() if algorithm == "norm" else changes[True, 1e-3].abs().max()
    assert math.isclose(size, 1e-3, rel_tol=1e-2)
    assert changes[True, None].norm() > 10 * changes[True, 1e-3].norm()


class Doubles(Callback):
    """Changes a gradient that has just been measured."""

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        for parameter in pl_module.parameters():
            parameter.grad *= 2


class DoublesItself(VoltageEstimator):
    on_before_optimizer_step = lambda self, optimizer: Doubles().on_before_optimizer_step(None, self, optimizer)


@pytest.mark.parametrize("algorithm", ["norm", "value"])
@pytest.mark.parametrize("limit", [1e-3, 1e3])
def test_a_step_is_clipped_the_same_with_and_without_a_guard(tmp_path, limit, algorithm):
    changes = []
    for callbacks in ([], [StepGuard()]):
        estimator = make_estimator(optimizer={"name": "SGD", "lr": 1.0})
        before = torch.nn.utils.parameters_to_vector(estimator.parameters()).detach().clone()
        trainer = make_trainer(
            tmp_path, callbacks=callbacks, gradient_clip_val=limit, gradient_clip_algorithm=algorithm
        )
        trainer.fit(estimator, loader(make_batch()))
        changes.append(torch.nn.utils.parameters_to_vector(estimator.parameters()).detach() - before)
    torch.testing.assert_close(changes[1], changes[0], rtol=1e-5, atol=1e-7)
    if algorithm == "norm" and limit < 1:
        assert math.isclose(changes[1].norm(), limit, rel_tol=1e-3)


class LosesItsLoss(VoltageEstimator):
    """Has an infinite loss with a finite gradient."""

    def training_step(self, batch, batch_idx):
        return super().training_step(batch, batch_idx) + math.inf


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
@pytest.mark.parametrize("algorithm", ["norm", "value"])
def test_a_step_that_was_skipped_for_its_loss_alone_is_not_clipped(tmp_path, algorithm, precision):
    estimator = make_estimator(LosesItsLoss, optimizer={"name": "SGD", "lr": 1.0})
    before = torch.nn.utils.parameters_to_vector(estimator.parameters()).detach().clone()
    guard = StepGuard()
    options = {"gradient_clip_val": 1e-3, "gradient_clip_algorithm": algorithm, "precision": precision}
    make_trainer(tmp_path, callbacks=[guard], **options).fit(estimator, loader(make_batch()))
    assert guard.skipped_steps == 1
    assert guard.gradient_norm > 1e-3  # finite, and above the limit
    assert torch.equal(torch.nn.utils.parameters_to_vector(estimator.parameters()), before)


@pytest.mark.parametrize(("kind", "callbacks"), [(VoltageEstimator, [Doubles()]), (DoublesItself, [])])
def test_a_gradient_changed_after_the_guard_is_measured_again(tmp_path, kind, callbacks):
    estimator = make_estimator(kind, optimizer={"name": "SGD", "lr": 1.0})
    before = torch.nn.utils.parameters_to_vector(estimator.parameters()).detach().clone()
    trainer = make_trainer(tmp_path, callbacks=[StepGuard(), *callbacks], gradient_clip_val=1e-3)
    trainer.fit(estimator, loader(make_batch()))
    change = torch.nn.utils.parameters_to_vector(estimator.parameters()).detach() - before
    assert math.isclose(change.norm(), 1e-3, rel_tol=1e-3)


def test_cosine_runs_from_the_base_rate_to_its_share_over_the_training(tmp_path):
    estimator = make_estimator(optimizer={"name": "SGD", "lr": 0.1}, scheduler={"name": "cosine", "min_factor": 0.1})
    trainer = make_trainer(tmp_path, max_epochs=2)
    trainer.fit(estimator, loader(*[make_batch(seed=s) for s in range(4)]))
    assert trainer.global_step == 8
    assert math.isclose(trainer.optimizers[0].param_groups[0]["lr"], 0.01, rel_tol=1e-6)


def test_a_plateau_scheduler_is_refused_with_the_callback_to_use():
    estimator = make_estimator(scheduler={"name": "plateau"})
    with pytest.raises(ConfigurationError, match=r"the callback PlateauLearningRate.*scheduler=plateau"):
        estimator.configure_optimizers()


def test_training_lowers_the_error(tmp_path):
    estimator = make_estimator(optimizer={"name": "Adam", "lr": 0.01})
    batch = make_batch(lanes=16)
    batch = batch._replace(target=3.7 + 0.1 * batch.inputs[..., 1] + 0.05 * batch.inputs[..., 0])
    trainer = make_trainer(tmp_path, max_epochs=60)
    trainer.validate(estimator, loader(batch), verbose=False)
    before = float(trainer.callback_metrics["val/rmse_mv"])
    trainer.fit(estimator, loader(batch))
    trainer.validate(estimator, loader(batch), verbose=False)
    assert float(trainer.callback_metrics["val/rmse_mv"]) < 0.5 * before


def test_unknown_network_is_refused_with_the_nearest():
    with pytest.raises(ConfigurationError, match=r"network\.name.*LSTM_EM.*LSTM_EMA"):
        VoltageEstimator(FEATURES, {"name": "LSTM_EM"})


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_one_step_on_cuda(tmp_path):
    trainer = make_trainer(tmp_path, accelerator="cuda", devices=1, precision="16-mixed")
    trainer.fit(make_estimator(), loader(make_batch()))
    assert trainer.global_step == 1
