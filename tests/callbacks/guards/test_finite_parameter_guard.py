import logging
import os
import re

import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import ModelCheckpoint, OnExceptionCheckpoint

from vestim_pl.callbacks import FiniteParameterGuard, LearningRateWarmup
from vestim_pl.errors import ConfigurationError, DivergenceError
from vestim_pl.lightning_support.checkpoint_finiteness import CheckpointGate

NAN, INF = float("nan"), float("inf")


class Poison(Callback):
    """Writes a value into the gradient or a parameter at one step."""

    def __init__(self, value=NAN, at=3, site="parameter"):
        self.value, self.at, self.site = value, at, site

    def on_after_backward(self, trainer, pl_module):
        if self.site == "gradient" and trainer.global_step == self.at:
            pl_module.net[3].weight.grad[0, 2] = self.value

    @torch.no_grad()
    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if self.site == "parameter" and trainer.global_step == self.at + 1 and not hasattr(self, "done"):
            self.done = True
            pl_module.net[3].weight[0, 2] = self.value


class Events(Callback):
    def __init__(self):
        self.events = []

    def on_event(self, trainer, event):
        self.events.append(event)


class Recover(Callback):
    """Fixes the parameters and answers whether it did, as a recovery would."""

    def __init__(self, answer=True, fix=True):
        self.answer, self.fix, self.asked = answer, fix, []

    @torch.no_grad()
    def recover_from(self, trainer, pl_module, reason):
        self.asked.append(reason)
        if self.fix:
            for parameter in pl_module.parameters():
                parameter.nan_to_num_(0.0, 0.0, 0.0)
        return self.answer


def is_finite(path):
    return all(torch.isfinite(value).all() for value in torch.load(path, weights_only=True)["state_dict"].values())


def checkpoints_of(folder):
    return list(folder.rglob("*.ckpt"))


@pytest.mark.parametrize("value", [NAN, INF, -INF])
@pytest.mark.parametrize("site", ["gradient", "parameter"])
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_caught_in_the_same_step(value, site, precision, accumulate, foreign, fit):
    events = Events()
    at = 3 if accumulate == 1 else 1  # batch 3, either way
    with pytest.raises(DivergenceError) as raised:
        fit(
            foreign.Module(lr=1e-2, optimizer=torch.optim.SGD),
            [Poison(value, at, site), FiniteParameterGuard(), events],
            precision=precision, accumulate_grad_batches=accumulate,
        )  # fmt: skip
    message = str(raised.value)
    assert message.startswith(
        "Epoch 0, Batch 3: model parameters became NaN/Inf after optimizer step "
        f"{at + 1} (learning rate 0.01); first in "
    )
    assert re.search(r"net\.3\.weight \((1 NaN|1 Inf|8 NaN) of 8\)", message)
    assert "lower the learning rate to 0.001 (/ 10), halve the lookback, or triple the hidden sizes" in message
    assert "\n" not in message
    assert [(event.kind, event.batch, event.reason) for event in events.events] == [("non_finite", 3, message)]


def test_the_scaler_saves_the_parameters_from_a_bad_gradient(foreign, fit):
    fit(foreign.Module(), [Poison(INF, site="gradient"), FiniteParameterGuard()], plugins=foreign.scaled_fp16())


def test_a_divergence_by_learning_rate_alone(foreign, fit):
    with pytest.raises(DivergenceError, match="lower the learning rate to 1e\\+19"):
        fit(foreign.Module(lr=1e20, optimizer=torch.optim.SGD), [FiniteParameterGuard()], max_epochs=50)


def test_huge_but_finite_parameters_are_no_alarm(foreign, fit):
    fit(foreign.Module(), [Poison(1e30, at=4), FiniteParameterGuard()], max_epochs=1)


def test_the_message_knows_lookback_hidden_sizes_and_the_effective_rate(foreign, fit):
    module, other = foreign.Module(), foreign.Module()
    module.save_hyperparameters({"sampling": {"lookback": 300}, "network": {"hidden_sizes": [10]}})
    with pytest.raises(DivergenceError, match=re.escape("(learning rate 0.0005, lookback 300)")) as raised:
        fit(module, [Poison(at=0), LearningRateWarmup(100), FiniteParameterGuard()])
    assert "shorten the lookback to 150 (/ 2), or widen the hidden sizes to [30] (x 3)" in str(raised.value)
    with pytest.raises(DivergenceError, match=re.escape("to 200 (/ 2), or widen the hidden sizes to [15, 6]")):
        fit(other, [Poison(), FiniteParameterGuard(lookback=400, hidden_sizes=[5, 2])])


def test_a_recovery_takes_over(foreign, fit):
    events, recovery = Events(), Recover()
    trainer = fit(foreign.Module(), [Poison(), FiniteParameterGuard(), events, recovery])
    assert trainer.global_step == 10
    assert len(recovery.asked) == 1
    assert "To fix it, lower the learning rate" in events.events[0].reason
    assert recovery.asked == ["epoch 0, batch 3: the parameters are not finite"]


@pytest.mark.parametrize("recovery", [None, True, False])
def test_it_is_logged_once(recovery, foreign, fit, caplog):
    caplog.set_level(logging.INFO, "vestim_pl")
    callbacks, error = [Poison(), FiniteParameterGuard(), *([] if recovery is None else [Recover(recovery)])], ""
    try:
        fit(foreign.Module(), callbacks)
    except DivergenceError as raised:
        error = str(raised)
    shown = [record.getMessage() for record in caplog.records if record.name == "vestim_pl"] + [error]
    assert sum("To fix it, lower the learning rate" in text for text in shown) == 1
    assert bool(error) is (recovery is not True)


@pytest.mark.parametrize(("answer", "fix"), [(False, True), (True, False)])
def test_a_recovery_that_fails_ends_in_the_error(answer, fix, foreign, fit):
    with pytest.raises(DivergenceError):
        fit(foreign.Module(), [Poison(), FiniteParameterGuard(), Recover(answer, fix)])


@pytest.mark.parametrize(("every", "caught"), [(1, 3), (2, 3), (3, 4), (100, 4)])
def test_checks_every_so_many_steps_and_at_the_epochs_end(every, caught, foreign, fit):
    with pytest.raises(DivergenceError, match=f"Batch {caught}: .* optimizer step {caught + 1} "):
        fit(foreign.Module(), [Poison(), FiniteParameterGuard(every_n_steps=every)])


SAVING = {
    "top k": {"monitor": "train_step_loss", "every_n_train_steps": 1, "save_top_k": 2, "save_last": True},
    "all": {"every_n_train_steps": 1, "save_top_k": -1, "save_last": True},
    "linked last": {"every_n_train_steps": 1, "save_top_k": -1, "save_last": "link"},
    "weights only": {"every_n_train_steps": 1, "save_weights_only": True, "save_last": True, "save_top_k": -1},
    "on exception": {"save_on_exception": True, "save_last": True, "every_n_train_steps": 2, "save_top_k": 1},
    "on exception, weights only, linked": {
        "save_on_exception": True, "save_last": "link", "every_n_train_steps": 2, "save_top_k": -1,
        "save_weights_only": True,
    },
}  # fmt: skip


@pytest.mark.parametrize("name", SAVING)
@pytest.mark.parametrize("every", [1, 100])
@pytest.mark.parametrize("order", ["guard first", "guard last"])
def test_no_nonfinite_checkpoint_is_left(name, every, order, foreign, fit, tmp_path):
    def log_loss(module, loss, batch_idx):
        module.log("train_step_loss", loss)
        return loss

    checkpoint = ModelCheckpoint(tmp_path / "kept", "{step}", **SAVING[name])
    callbacks = [Poison(), FiniteParameterGuard(every_n_steps=every), checkpoint]
    callbacks = callbacks if order == "guard first" else [checkpoint, *callbacks[:2]]
    with pytest.raises(DivergenceError):
        fit(foreign.Module(loss_hook=log_loss), callbacks)

    kept = checkpoints_of(tmp_path / "kept")
    assert kept, "the good ones stay"
    assert all(os.path.exists(path) for path in kept), "no link points nowhere"
    assert all(is_finite(path) for path in kept)
    last = tmp_path / "kept" / "last.ckpt"
    assert torch.load(last, weights_only=True)["global_step"] in (2, 3)


@pytest.mark.parametrize("weights_only", [False, True])
@pytest.mark.parametrize("answer", [True, False])
def test_what_a_checkpoint_shows_between_two_checks_is_recovered_too(answer, weights_only, foreign, fit, tmp_path):
    events, recovery = Events(), Recover(answer)
    checkpoint = ModelCheckpoint(
        tmp_path, "{step}", every_n_train_steps=1, save_top_k=-1, save_weights_only=weights_only
    )
    callbacks = [Poison(at=2), FiniteParameterGuard(every_n_steps=4), recovery, events, checkpoint]
    if answer:
        trainer = fit(foreign.Module(), callbacks)
        assert trainer.global_step == 10
        assert all(is_finite(path) for path in checkpoints_of(tmp_path))
        assert len(checkpoints_of(tmp_path)) == 10
    else:
        with pytest.raises(DivergenceError, match="batch 2: the parameters are not finite"):
            fit(foreign.Module(), callbacks)
    assert len(recovery.asked) == 1
    assert [event.kind for event in events.events] == ["non_finite"]


def test_another_exception_with_nonfinite_parameters_saves_nothing(foreign, fit, tmp_path):
    def crash(module, loss, batch_idx):
        if module.trainer.global_step == 3:
            with torch.no_grad():
                module.net[0].weight[0, 0] = NAN
            raise RuntimeError("crash")
        return loss

    events = Events()
    checkpoint = ModelCheckpoint(tmp_path, "kept", save_on_exception=True)
    with pytest.raises(RuntimeError, match="crash"):
        fit(
            foreign.Module(loss_hook=crash),
            [FiniteParameterGuard(), events, checkpoint, OnExceptionCheckpoint(tmp_path, "exception")],
        )
    assert checkpoints_of(tmp_path) == []
    assert [event.kind for event in events.events] == ["checkpoint_removed"]
    assert "did not write" in events.events[0].reason


def test_an_exception_over_good_parameters_saves_as_ever(foreign, fit, tmp_path):
    def crash(module, loss, batch_idx):
        if batch_idx == 2:
            raise RuntimeError("crash")
        return loss

    checkpoint = ModelCheckpoint(tmp_path, "kept", save_on_exception=True)
    with pytest.raises(RuntimeError, match="crash"):
        fit(foreign.Module(loss_hook=crash), [FiniteParameterGuard(), checkpoint])
    assert is_finite(tmp_path / "kept.ckpt")
    assert checkpoint.save_on_exception


def test_the_users_setting_comes_back_with_the_next_fit(foreign, fit, tmp_path):
    guard, checkpoint = FiniteParameterGuard(), ModelCheckpoint(tmp_path, "kept", save_on_exception=True)
    with pytest.raises(DivergenceError):
        fit(foreign.Module(), [Poison(), guard, checkpoint])
    assert not checkpoint.save_on_exception
    fit(foreign.Module(), [guard, checkpoint])
    assert checkpoint.save_on_exception


def test_save_checkpoint_with_nonfinite_parameters_ends_the_fit(foreign, fit, tmp_path):
    class SaveAtOnce(Callback):
        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            trainer.save_checkpoint(tmp_path / "mine.ckpt")

    with pytest.raises(DivergenceError, match=r"Epoch 0, Batch 2: .* optimizer step 4"):
        fit(foreign.Module(), [Poison(), SaveAtOnce(), FiniteParameterGuard()])
    assert is_finite(tmp_path / "mine.ckpt")


def test_the_gate_is_gone_after_the_fit_and_never_doubled(foreign, fit, tmp_path):
    guard = FiniteParameterGuard()
    trainer = fit(foreign.Module(), [guard])
    assert not isinstance(trainer.strategy.checkpoint_io, CheckpointGate)
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    module, poison = foreign.Module(), Poison()
    with pytest.raises(DivergenceError):
        fit(module, [poison, guard])
    fit(foreign.Module(), [guard], resume=tmp_path / "a.ckpt", max_epochs=3)
    assert guard._gate is None


def test_parameters_that_are_bad_from_the_start_are_reported_at_once(foreign, fit, tmp_path):
    module = foreign.Module()
    trainer = fit(module, max_epochs=1)
    with torch.no_grad():
        module.net[0].bias[1] = NAN
    trainer.save_checkpoint(tmp_path / "bad.ckpt")
    with pytest.raises(
        DivergenceError, match=r"before the first step, first in net\.0\.bias \(1 NaN of 8\); resume from"
    ):
        fit(foreign.Module(), [FiniteParameterGuard()], resume=tmp_path / "bad.ckpt")
    with pytest.raises(DivergenceError, match="check how they are initialized"):
        fit(module, [FiniteParameterGuard()])


class WithBuffers(Callback):
    """Gives the module a mask of -inf and running statistics; poisons the statistics."""

    def setup(self, trainer, pl_module, stage):
        pl_module.register_buffer("mask", torch.tensor([0.0, -INF]))
        pl_module.register_buffer("running_mean", torch.zeros(3))
        pl_module.frozen = torch.nn.Parameter(torch.tensor([-INF]), requires_grad=False)

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if trainer.global_step == 3:
            pl_module.running_mean[1] = NAN


def test_buffers_are_checked_but_not_those_infinite_by_design(foreign, fit):
    with pytest.raises(DivergenceError, match=r"Batch 2: .* first in running_mean \(1 NaN of 3\)"):
        fit(foreign.Module(), [WithBuffers(), FiniteParameterGuard()])
    fit(foreign.Module(), [WithBuffers(), FiniteParameterGuard(check_buffers=False)])


def test_two_optimizers(foreign, fit):
    fit(foreign.TwoOptimizers(), [FiniteParameterGuard()])
    with pytest.raises(DivergenceError, match="Epoch 0, Batch 1: "):
        fit(foreign.TwoOptimizers(), [Poison(at=3), FiniteParameterGuard()])


def test_one_read_from_the_device_a_step(foreign, fit, monkeypatch):
    reads = []
    monkeypatch.setattr(torch.Tensor, "is_cpu", False)  # where reading costs nothing
    for name in ("item", "tolist"):
        original = getattr(torch.Tensor, name)
        monkeypatch.setattr(torch.Tensor, name, lambda self, read=original: reads.append(1) or read(self))
    fit(foreign.Module(), max_epochs=1, limit_val_batches=0)
    without = len(reads)
    reads.clear()
    fit(foreign.Module(), [FiniteParameterGuard()], max_epochs=1, limit_val_batches=0)
    assert len(reads) - without == 5 + 1, "one a step, and one at the start"


def test_a_checkpoint_of_another_project_and_fast_dev_run(foreign, fit, tmp_path):
    fit(foreign.Module(), max_epochs=1).save_checkpoint(tmp_path / "other.ckpt")
    guard = FiniteParameterGuard()
    fit(foreign.Module(), [guard], resume=tmp_path / "other.ckpt", num_sanity_val_steps=2)
    trainer = fit(foreign.Module(), [guard], fast_dev_run=True)
    trainer.test(foreign.Module(), foreign.loader(), verbose=False)


def test_refuses_what_makes_no_sense():
    with pytest.raises(ConfigurationError, match=r"FiniteParameterGuard\.every_n_steps: 0 is too small"):
        FiniteParameterGuard(every_n_steps=0)
