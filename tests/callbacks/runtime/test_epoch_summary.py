import logging
import re

import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from torch.optim import lr_scheduler

from vestim_pl.callbacks import EpochSummary, GradientNormMonitor, LearningRateWarmup
from vestim_pl.callbacks.runtime import epoch_summary
from vestim_pl.errors import ConfigurationError
from vestim_pl.lightning_support.events import publish

NAN = float("nan")
SCORES = [5.0, 3.25, 4.0, NAN, 2.0, 6.0, 7.0, 8.0]


@pytest.fixture
def lines(caplog):
    caplog.set_level(logging.INFO, "vestim_pl")

    def read():
        return [record.getMessage() for record in caplog.records if record.name == "vestim_pl"]

    return read


def scored(foreign, **options):
    class Scored(foreign.Module):
        def on_validation_epoch_end(self):
            self.log("val/rmse_mv", 0.1 if self.trainer.sanity_checking else SCORES[self.current_epoch])

        def on_train_epoch_end(self):
            self.log("train/rmse_mv", 10.0 * (self.current_epoch + 1))

    return Scored(**options)


def timeless(lines):
    return [re.sub(r"\d+\.\d s", "0.1 s", line) for line in lines]


def test_one_line_per_epoch_and_one_at_the_end(foreign, fit, lines):
    fit(scored(foreign), [EpochSummary(), EarlyStopping("val/rmse_mv", patience=3, check_finite=False)], max_epochs=8)
    assert timeless(lines()) == [
        "epoch 0: train 10 mV, validation 5 mV (best), 0.1 s, learning rate 0.05, patience 3 of 3",
        "epoch 1: train 20 mV, validation 3.25 mV (best), 0.1 s, learning rate 0.05, patience 3 of 3",
        "epoch 2: train 30 mV, validation 4 mV, 0.1 s, learning rate 0.05, patience 2 of 3",
        "epoch 3: train 40 mV, validation nan mV, 0.1 s, learning rate 0.05, patience 1 of 3",
        "epoch 4: train 50 mV, validation 2 mV (best), 0.1 s, learning rate 0.05, patience 3 of 3",
        "epoch 5: train 60 mV, validation 6 mV, 0.1 s, learning rate 0.05, patience 2 of 3",
        "epoch 6: train 70 mV, validation 7 mV, 0.1 s, learning rate 0.05, patience 1 of 3",
        "epoch 7: train 80 mV, validation 8 mV, 0.1 s, learning rate 0.05, patience 0 of 3",
        "stopped after epoch 7: Monitored metric val/rmse_mv did not improve in the last 3 validations. "
        "Best score: 2.000; best validation 2 mV in epoch 4",
    ]


@pytest.mark.parametrize("at_train_epoch_end", [True, False])
def test_an_early_stop_says_why(at_train_epoch_end, foreign, fit, lines):
    stopping = EarlyStopping("val/rmse_mv", stopping_threshold=4.5, check_on_train_epoch_end=at_train_epoch_end)
    fit(scored(foreign), [stopping, EpochSummary()], max_epochs=8)
    assert lines()[-1].startswith("stopped after epoch 1: Stopping threshold reached: val/rmse_mv = 3.25 < 4.5; best")


def test_it_works_without_any_metric(foreign, fit, lines):
    fit(foreign.Module(), [EpochSummary()])
    assert timeless(lines()) == [
        "epoch 0: 0.1 s, learning rate 0.05",
        "epoch 1: 0.1 s, learning rate 0.05",
        "stopped after epoch 1: max_epochs 2 reached",
    ]


def test_metric_names_and_unit_are_arguments(foreign, fit, lines):
    callbacks = [GradientNormMonitor(), EpochSummary("train_loss", "val_loss", unit="")]
    fit(foreign.Module(), callbacks, max_epochs=1, num_sanity_val_steps=2)
    number = r"\d\.\d+(e-\d+)?"
    pattern = (
        rf"epoch 0: train {number}, validation {number} \(best\), \d+\.\d s, learning rate 0.05, gradient norm {number}"
    )
    assert re.fullmatch(pattern, lines()[0])


def test_the_learning_rate_is_the_effective_one(foreign, fit, lines):
    module = foreign.Module(scheduler=lambda o: {"scheduler": lr_scheduler.StepLR(o, 1, 0.1), "interval": "epoch"})
    fit(module, [LearningRateWarmup(100, start_factor=0.5), EpochSummary()])
    rates = [re.search(r"learning rate (\S+)$", line).group(1) for line in lines()[:2]]
    assert rates == [f"{0.05 * (0.5 + 0.5 * 4 / 100):.3g}", f"{0.005 * (0.5 + 0.5 * 9 / 100):.3g}"]


class Causes(Callback):
    def __init__(self):
        self.seen = []

    def on_event(self, trainer, event):
        self.seen.append(event.values["cause"])


@pytest.mark.parametrize(
    ("stopping", "cause"),
    [
        ([], "limit"),
        ([EarlyStopping("val/rmse_mv", stopping_threshold=4.5)], "early_stopping"),
        ([EarlyStopping("val/rmse_mv", divergence_threshold=0.1)], "diverged"),
        ([EarlyStopping("bad", check_finite=True)], "diverged"),
    ],
)
def test_the_event_has_the_cause(stopping, cause, foreign, fit):
    class Bad(Callback):
        def on_validation_end(self, trainer, pl_module):
            trainer.callback_metrics["bad"] = torch.tensor(float("nan"))

    causes = Causes()
    fit(scored(foreign), [Bad(), *stopping, EpochSummary(), causes], max_epochs=3)
    assert causes.seen == [cause]


def test_a_step_limit_and_a_stop_by_another_callback(foreign, fit, lines):
    class Stop(Callback):
        def on_train_epoch_end(self, trainer, pl_module):
            trainer.should_stop = True

    fit(foreign.Module(), [EpochSummary()], max_steps=7, max_epochs=9)
    assert lines()[-1] == "stopped after epoch 1: max_steps 7 reached"
    fit(foreign.Module(), [EpochSummary(), Stop()], max_epochs=9)
    assert lines()[-1] == "stopped after epoch 0: a callback requested the stop"


def test_the_reason_of_another_callback_is_not_repeated(foreign, fit, lines):
    class Stop(Callback):
        events = []

        def on_train_epoch_end(self, trainer, pl_module):
            trainer.should_stop = True
            publish(trainer, "stop", "the budget of skips is used up")

        def on_event(self, trainer, event):
            self.events.append(event.kind)

    fit(scored(foreign), [EpochSummary(), Stop()], max_epochs=9)
    assert lines()[-2:] == [lines()[-2], "stopped after epoch 0; best validation 5 mV in epoch 0"]
    assert sum("the budget of skips is used up" in line for line in lines()) == 1
    assert Stop.events == ["stop"]


def test_the_line_comes_before_an_exception_of_the_next_epoch(foreign, fit, lines):
    def crash(module, loss, batch_idx):
        if module.current_epoch == 1:
            raise RuntimeError("crash")
        return loss

    with pytest.raises(RuntimeError, match="crash"):
        fit(foreign.Module(loss_hook=crash), [EpochSummary()])
    assert timeless(lines()) == ["epoch 0: 0.1 s, learning rate 0.05"]


def test_a_validation_of_an_earlier_epoch_is_not_shown_again(foreign, fit, lines):
    fit(scored(foreign), [EpochSummary()], max_epochs=3, check_val_every_n_epoch=2, num_sanity_val_steps=2)
    assert ["validation" in line for line in lines()[:3]] == [False, True, False]
    assert lines()[-1].endswith("best validation 3.25 mV in epoch 1")


def test_a_resumed_run_knows_the_best_epoch(foreign, fit, lines, tmp_path):
    fit(scored(foreign), [EpochSummary(), ModelCheckpoint(tmp_path, "{epoch}", save_top_k=-1)], max_epochs=5)
    fit(scored(foreign), [EpochSummary()], max_epochs=7, resume=tmp_path / "epoch=4.ckpt")
    assert timeless(lines())[-3:] == [
        "epoch 5: train 60 mV, validation 6 mV, 0.1 s, learning rate 0.05",
        "epoch 6: train 70 mV, validation 7 mV, 0.1 s, learning rate 0.05",
        "stopped after epoch 6: max_epochs 7 reached; best validation 2 mV in epoch 4",
    ]


def test_higher_can_be_better(foreign, fit, lines):
    fit(scored(foreign), [EpochSummary(mode="max")], max_epochs=6)
    assert lines()[-1].endswith("best validation 6 mV in epoch 5")
    with pytest.raises(ConfigurationError, match="'maximum' is unknown"):
        EpochSummary(mode="maximum")


def test_two_optimizers_a_dev_run_and_a_test_alone(foreign, fit, lines):
    trainer = fit(foreign.TwoOptimizers(), [EpochSummary()], fast_dev_run=True)
    count = len(lines())
    trainer.validate(foreign.Module(), foreign.loader(), verbose=False)
    assert len(lines()) == count == 2


def test_a_norm_that_this_epoch_did_not_log_is_not_shown(foreign, fit, lines):
    class Norm(foreign.Module):
        def on_train_epoch_end(self):
            if self.current_epoch != 1:
                self.log("grad_norm/median", 0.5)

    fit(Norm(), [EpochSummary()], max_epochs=3)
    assert ["gradient norm 0.5" in line for line in lines()[:3]] == [True, False, True]


def test_a_norm_that_is_nan_is_shown_as_nan(foreign, fit, lines):
    def nan_loss(module, loss, batch_idx):
        return loss * (NAN if module.current_epoch == 1 else 1.0)

    fit(foreign.Module(loss_hook=nan_loss), [GradientNormMonitor(), EpochSummary()])
    assert "gradient norm nan" not in lines()[0]
    assert "gradient norm nan" in lines()[1]


@pytest.mark.parametrize(
    ("count", "text"), [(0, ","), (1, " (1 non-finite batch left out),"), (3, " (3 non-finite batches left out),")]
)
def test_batches_left_out_of_the_training_error_are_shown(count, text, foreign, fit, lines):
    class Left(foreign.Module):
        def on_train_epoch_end(self):
            self.log_dict({"train/rmse_mv": 45.0, "train/left_out": float(count)})

    fit(Left(), [EpochSummary()], max_epochs=1)
    assert lines()[0].startswith(f"epoch 0: train 45 mV{text}")


class Time:
    """Replaces the module ``time``: a training batch takes 2 s, a validation 5 s."""

    wall = cpu = 0.0

    def perf_counter(self) -> float:
        return self.wall

    def process_time(self) -> float:
        return self.cpu

    def passes(self, wall: float, cpu: float) -> None:
        self.wall, self.cpu = self.wall + wall, self.cpu + cpu


@pytest.fixture
def timed(foreign, monkeypatch):
    clock = Time()
    monkeypatch.setattr(epoch_summary, "time", clock)

    class Timed(foreign.Module):
        def on_train_batch_start(self, *arguments):
            clock.passes(2.0, 1.0)

        def on_validation_epoch_end(self):
            clock.passes(5.0, 4.0)

    return Timed


KEYS = ("epoch/seconds", "epoch/training_seconds", "epoch/training_cpu_seconds")


def times(foreign, logger):
    return [list(foreign.logged(logger, key).values()) for key in KEYS]


def test_seconds_of_every_epoch_are_logged_with_and_without_the_validation(timed, foreign, fit, tmp_path):
    logger = CSVLogger(tmp_path)
    fit(timed(), [EpochSummary()], max_epochs=4, check_val_every_n_epoch=2, num_sanity_val_steps=2, logger=logger)
    training = 2.0 * foreign.BATCHES
    assert times(foreign, logger) == [
        [training, training + 5, training, training + 5],
        [training] * 4,
        [training / 2] * 4,
    ]


def test_an_epoch_resumed_in_its_middle_has_no_times(timed, foreign, fit, tmp_path):
    half = foreign.BATCHES // 2
    saving = ModelCheckpoint(tmp_path, "{step}", save_top_k=-1, every_n_train_steps=half)
    fit(timed(), [EpochSummary(), saving], max_epochs=1)
    logger = CSVLogger(tmp_path)
    fit(timed(), [EpochSummary()], max_epochs=3, resume=tmp_path / f"step={half}.ckpt", logger=logger)
    assert times(foreign, logger)[1] == [2.0 * foreign.BATCHES] * 2, "epochs 1 and 2 alone"
