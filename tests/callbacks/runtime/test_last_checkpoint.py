"""``last.ckpt`` is the last state, and a training that resumes from it equals an uninterrupted one."""

import logging
import time

import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint

from tests.callbacks.foreign import same
from tests.pairs import in_turn
from vestim_pl.callbacks import (
    DivergenceRecovery,
    FiniteParameterGuard,
    LastCheckpoint,
    PlateauLearningRate,
    RandomStateCheckpoint,
)
from vestim_pl.errors import ConfigurationError, DivergenceError

BATCHES = 6


class StoppedError(Exception):
    pass


class StopBefore(Callback):
    """Kills a run before a batch, counted over all epochs."""

    def __init__(self, batch):
        self.batch = batch

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.fit_loop.total_batch_idx >= self.batch:
            raise StoppedError


class Damage(Callback):
    """Multiplies a weight by NaN or another factor after the given steps."""

    def __init__(self, *steps, factor=float("nan")):
        self.steps, self.factor = steps, factor

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if trainer.global_step in self.steps:
            with torch.no_grad():
                pl_module.net[0].weight.mul_(self.factor)


class Steps(Callback):
    """Records the step in the file before each batch and epoch."""

    def __init__(self, path):
        self.path, self.after_batch, self.after_epoch = path, [], []

    def read(self):
        return torch.load(self.path, weights_only=True)["global_step"] if self.path.exists() else 0

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.after_batch.append(self.read())

    def on_train_epoch_start(self, trainer, pl_module):
        self.after_epoch.append(self.read())


def load(path):
    return torch.load(path, weights_only=True)


@pytest.fixture
def train(fit, foreign, tmp_path):
    """Train from scratch, or from ``last.ckpt`` of the folder, with every callback that has a state."""

    def _train(name, callbacks=(), every=None, resume=False, **options):
        folder = tmp_path / name
        all_callbacks = [
            RandomStateCheckpoint(), FiniteParameterGuard(), *callbacks, DivergenceRecovery(snapshot_every=3),
            LastCheckpoint(str(folder / "last.ckpt"), every=every), ModelCheckpoint(folder, "best"),
        ]  # fmt: skip
        torch.manual_seed(0)
        module = foreign.Module(lr=0.01, dropout=0.3)
        defaults = {"train": foreign.StatefulLoader(BATCHES), "max_epochs": 3}
        path = folder / "last.ckpt" if resume else None
        try:
            return fit(module, all_callbacks, resume=path, **(defaults | options))
        except StoppedError:
            return None

    return _train


SCHEDULES = {
    "epochs": {},
    "steps": {"max_steps": 18, "max_epochs": -1},
    "steps ending within an epoch": {"max_steps": 16},
    "validation every second epoch": {"check_val_every_n_epoch": 2},
    "no validation": {"limit_val_batches": 0},
    "validation within the epoch": {"val_check_interval": 0.5},
    "validation by batches": {"val_check_interval": 4, "check_val_every_n_epoch": None},
    "accumulation": {"accumulate_grad_batches": 4},
}


@pytest.mark.filterwarnings("ignore:The dirpath has changed")
@pytest.mark.parametrize(("schedule", "every"), in_turn(SCHEDULES, [None, "1 step"]))
def test_resuming_equals_never_stopping(train, tmp_path, schedule, every):
    options = SCHEDULES[schedule]
    train("whole", every=every, **options)
    expected = load(tmp_path / "whole" / "last.ckpt")
    for stop in (8, 12, 13, 15):  # within an epoch, at the end of one, after its first batch, after half of it
        train(f"{stop}", [StopBefore(stop)], every=every, **options)
        train(f"{stop}", every=every, resume=True, **options)
        found = load(tmp_path / f"{stop}" / "last.ckpt")
        for key in ("global_step", "epoch", "state_dict", "optimizer_states", "random_state", "loops"):
            assert same(expected[key], found[key]), (stop, key)
        for key, state in expected["callbacks"].items():
            assert "ModelCheckpoint" in key or same(state, found["callbacks"][key]), (stop, key)


def test_a_limit_of_steps_within_an_epoch_is_continued_there(train, tmp_path):
    train("whole", max_epochs=3)
    train("parts", max_epochs=3, max_steps=8)
    assert load(tmp_path / "parts" / "last.ckpt")["global_step"] == 8
    train("parts", max_epochs=3, resume=True)
    whole, parts = load(tmp_path / "whole" / "last.ckpt"), load(tmp_path / "parts" / "last.ckpt")
    assert parts["global_step"] == whole["global_step"] == 18
    assert same(whole["state_dict"], parts["state_dict"])


@pytest.mark.parametrize(("every", "expected"), [(None, [0] * 6), ("2 steps", [0, 0, 2, 2, 4, 4])])
def test_it_is_written_at_the_end_of_every_epoch_and_at_intervals(train, tmp_path, every, expected):
    steps = Steps(tmp_path / "run" / "last.ckpt")
    train("run", [steps], every=every, check_val_every_n_epoch=2)
    assert steps.after_epoch == [0, 6, 12]
    assert steps.after_batch[:6] == expected
    assert steps.read() == 18


def test_it_is_written_regardless_of_the_metric(train, fit, foreign, tmp_path):
    class Worse(Callback):
        def on_validation_epoch_end(self, trainer, pl_module):
            pl_module.log("score", float(trainer.current_epoch))

    best = ModelCheckpoint(tmp_path, "best", monitor="score")
    fit(foreign.Module(), [Worse(), LastCheckpoint(str(tmp_path / "last.ckpt")), best], max_epochs=3)
    assert load(tmp_path / "best.ckpt")["global_step"] == foreign.BATCHES
    last = load(tmp_path / "last.ckpt")
    assert last["global_step"] == 3 * foreign.BATCHES
    [books] = [state for key, state in last["callbacks"].items() if "ModelCheckpoint" in key]
    assert books["best_model_path"] == str(tmp_path / "best.ckpt")


@pytest.mark.parametrize(
    ("accumulated", "expected"),
    [
        (1, [0, 0, 0, 3, 3, 3, 6, 6, 6, 9, 9, 9]),
        (2, [0, 0, 0, 0, 2, 2, 3, 3, 3, 3, 5, 5]),  # the third batch is within a window: the file waits for its end
    ],
)
def test_minutes_are_counted_from_the_previous_file(train, tmp_path, monkeypatch, accumulated, expected):
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])

    class FourMinutesABatch(Callback):
        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            clock[0] += 240.0

    steps = Steps(tmp_path / "run" / "last.ckpt")
    callbacks = [FourMinutesABatch(), steps]
    train("run", callbacks, every="10 min", max_epochs=2, accumulate_grad_batches=accumulated)
    assert steps.after_batch == expected


def test_after_a_rollback_it_is_rewritten(train, tmp_path, caplog):
    train("run", [Damage(8), StopBefore(9)], every="100 steps")
    last = load(tmp_path / "run" / "last.ckpt")
    assert last["global_step"] == 8
    assert all(bool(weight.isfinite().all()) for weight in last["state_dict"].values())
    assert f"overwrote {tmp_path}/run/last.ckpt with the last good state" in caplog.messages


def test_after_the_last_attempt_it_holds_the_last_good_state(fit, foreign, tmp_path):
    callbacks = [
        Damage(7, 8), FiniteParameterGuard(), DivergenceRecovery(max_attempts=1, snapshot_every=2),
        LastCheckpoint(str(tmp_path / "last.ckpt"), every="1 step"),
    ]  # fmt: skip
    with pytest.raises(DivergenceError):
        fit(foreign.Module(), callbacks, max_epochs=3)
    assert all(bool(weight.isfinite().all()) for weight in load(tmp_path / "last.ckpt")["state_dict"].values())


def test_early_divergences_without_validation_leave_the_good_epoch_checkpoint(fit, foreign, tmp_path, caplog):
    """Both occur in the second epoch, before its first snapshot, so the result of the first epoch stays."""
    keeper = ModelCheckpoint(tmp_path, enable_version_counter=False)
    content = {}

    class Note(Callback):
        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            content[trainer.global_step] = {path.name: path.read_bytes() for path in tmp_path.glob("*.ckpt")}

    callbacks = [Damage(13, 16), FiniteParameterGuard(), Note(), DivergenceRecovery(max_attempts=5), keeper]
    torch.manual_seed(0)
    fit(foreign.Module(lr=0.05), callbacks, train=foreign.loader(10), max_epochs=2, limit_val_batches=0)
    rollbacks = [text for text in caplog.messages if "went back" in text]
    assert len(rollbacks) == 2
    assert all("went back to step 10" in text for text in rollbacks)
    assert content[10] == content[19]
    assert list(content[10]) == ["epoch=0-step=10.ckpt"]


def test_a_training_that_early_stopping_ended_stays_ended(fit, foreign, tmp_path, caplog):
    caplog.set_level(logging.INFO)

    def run(**options):
        stopper = EarlyStopping("val_loss", patience=1, mode="max", check_on_train_epoch_end=False)
        return fit(foreign.Module(), [stopper, LastCheckpoint(str(tmp_path / "last.ckpt"))], max_epochs=9, **options)

    ended = run().global_step
    assert ended < 9 * foreign.BATCHES
    assert run(resume=tmp_path / "last.ckpt").global_step == ended
    assert "early stopping has already ended this training; remove EarlyStopping to train further" in caplog.messages


@pytest.mark.filterwarnings("ignore:The dirpath has changed")
def test_killed_between_the_best_and_the_last_file_of_the_last_epoch(fit, foreign, tmp_path):
    """The best file is then newer and already the end of the training, so it is the last state."""
    last, best = tmp_path / "last.ckpt", tmp_path / "best.ckpt"

    def run(**options):
        keeper = ModelCheckpoint(tmp_path, "best", enable_version_counter=False)
        return fit(foreign.Module(), [LastCheckpoint(str(last)), keeper], max_epochs=2, **options)

    run()
    expected = load(last)
    last.write_bytes(b"of an epoch before")
    run(resume=best)
    assert same(expected["state_dict"], load(last)["state_dict"])
    assert same(expected["loops"], load(last)["loops"])


def test_a_plateau_is_counted_once(fit, foreign, tmp_path):
    def run(epochs, **options):
        torch.manual_seed(0)
        plateau = PlateauLearningRate("val_loss", patience=0, factor=0.5, threshold=0.9)
        fit(foreign.Module(), [plateau, LastCheckpoint(str(tmp_path / "last.ckpt"))], max_epochs=epochs, **options)
        return plateau.state_dict()

    whole = run(4)
    run(2)
    assert run(4, resume=tmp_path / "last.ckpt") == whole


def test_a_dry_run_writes_nothing(fit, foreign, tmp_path):
    fit(foreign.Module(), [LastCheckpoint(str(tmp_path / "last.ckpt"))], fast_dev_run=True)
    assert not (tmp_path / "last.ckpt").exists()


def test_a_bad_interval_is_refused(tmp_path):
    with pytest.raises(ConfigurationError, match=r"^LastCheckpoint\.every: 'often' is not an interval"):
        LastCheckpoint(str(tmp_path / "last.ckpt"), every="often")
