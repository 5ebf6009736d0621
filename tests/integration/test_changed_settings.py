"""A resumed run uses the settings that it is given: rates, schedules, options and arguments, also after a rollback."""

import math

import pytest
import torch
import yaml
from lightning.pytorch import Callback

from vestim_pl.errors import ConfigurationError
from vestim_pl.lightning_support.training_snapshot import restore_snapshot
from vestim_pl.train import train


class Watch(Callback):
    """Keeps the options of the optimizer before every step."""

    seen: list[dict] = []

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        Watch.seen.append({key: value for key, value in optimizer.param_groups[0].items() if key != "params"})


class RollBack(Callback):
    """Restores the oldest snapshot of the recovery at the second batch of a resumed run."""

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if trainer.current_epoch == 2 and batch_idx == 1:
            (recovery,) = [each for each in trainer.callbacks if type(each).__name__ == "DivergenceRecovery"]
            snapshots = recovery.rollbacks.snapshots
            restore_snapshot(trainer, pl_module, next(s for s in [*snapshots.good, snapshots.pending] if s))


WATCH = "+callbacks.watch={_target_:tests.integration.test_changed_settings.Watch}"
ROLL_BACK = "+callbacks.roll_back={_target_:tests.integration.test_changed_settings.RollBack}"


@pytest.fixture
def resumed(compose, small, tmp_path):
    """Train two epochs with the first settings, and resume with the second ones; what the optimizer then had."""

    def _resumed(first, second, epochs=3):
        options = [*small, "test=false", "trainer.max_epochs=2", WATCH]
        train(compose(*options, *first))
        Watch.seen = []
        last = tmp_path / "run" / "checkpoints" / "last.ckpt"
        run = train(compose(*options, *second, f"trainer.max_epochs={epochs}", f"ckpt_path={last}"))
        return run, list(Watch.seen)

    return _resumed


def test_rate_and_decay_of_the_command_line_are_used_and_shown(resumed, tmp_path):
    run, seen = resumed([], ["optimizer.lr=1e-6", "optimizer.weight_decay=0.3", "+optimizer.betas=[0.8,0.99]"])
    assert {(step["lr"], step["weight_decay"], tuple(step["betas"])) for step in seen} == {(1e-6, 0.3, (0.8, 0.99))}
    (written,) = tmp_path.glob("run/**/hparams.yaml")
    assert yaml.safe_load(written.read_text())["optimizer"]["lr"] == run.estimator.hparams["optimizer"]["lr"] == 1e-6


def test_a_rollback_to_a_snapshot_of_before_keeps_the_new_settings(resumed):
    _, seen = resumed([], ["optimizer.lr=1e-6", "optimizer.weight_decay=0.3", ROLL_BACK])
    assert len(seen) > 3
    assert {(step["lr"], step["weight_decay"]) for step in seen} == {(1e-6, 0.3)}


def test_a_longer_cosine_goes_on_falling_and_ends_at_its_end(resumed):
    run, seen = resumed(["scheduler=cosine"], ["scheduler=cosine"], epochs=4)
    rates, steps = [step["lr"] for step in seen], run.trainer.num_training_batches
    total = 4 * steps
    expected = [
        1e-5 + (1e-3 - 1e-5) / 2 * (1 + math.cos(math.pi * position / total)) for position in range(2 * steps, total)
    ]
    assert rates == pytest.approx(expected, rel=1e-6)


def test_another_base_rate_scales_the_schedule_from_its_position_on(resumed):
    both = ["scheduler=step", "scheduler.period=1"]
    _, seen = resumed(both, [*both, "optimizer.lr=1e-2", "scheduler.factor=0.1"])
    assert [step["lr"] for step in seen] == pytest.approx([1e-4] * len(seen))
    both = ["scheduler=cosine_warm_restarts", "scheduler.t0=2", "scheduler.eta_min=0"]
    run, seen = resumed(both, [*both, "optimizer.lr=1e-2", "scheduler.t0=4"])
    position = [step / (4 * run.trainer.num_training_batches) for step in range(2 * len(seen), 3 * len(seen))]
    assert [step["lr"] for step in seen] == pytest.approx([5e-3 * (1 + math.cos(math.pi * each)) for each in position])


def test_a_schedule_in_steps_does_not_resume_where_an_epoch_has_another_number_of_them(resumed):
    both = ["scheduler=cosine"]
    with pytest.raises(
        ConfigurationError, match=r"scheduler\.name: cosine counts optimizer steps, an epoch has \d+ of"
    ):
        resumed(both, [*both, "trainer.accumulate_grad_batches=2"])


def test_an_argument_of_a_callback_is_that_of_the_command_line(resumed):
    run, _ = resumed(
        [],
        [
            "callbacks.early_stopping.patience=4", "callbacks.step_guard.max_skips_per_epoch=7",
            "callbacks.plateau.patience=9", "+callbacks.recovery.max_attempts=2",
        ],
    )  # fmt: skip
    found = {type(each).__name__: each for each in run.trainer.callbacks}
    assert found["EarlyStopping"].patience == 4
    assert found["StepGuard"].budget.per_epoch == 7
    assert found["PlateauLearningRate"].scheduler.patience == 9
    assert found["DivergenceRecovery"].rollbacks.max_attempts == 2


def test_a_checkpoint_holds_plain_settings(resumed, tmp_path):
    resumed([], [])
    content = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)
    assert content["settings"]["trainer"]["max_epochs"] == 3
    assert content["settings"]["seed"] == 0
