"""Every argument of Lightning's Trainer, given on the command line, is refused in one line or builds a trainer."""

import inspect

import pytest
from lightning.pytorch import Trainer

from tests.composing import compose
from vestim_pl.app.early_check import check_before_import
from vestim_pl.app.trainer import build_trainer
from vestim_pl.errors import ConfigurationError

REFUSED = {
    "logger=false": r"trainer\.logger: loggers are the group logger; .*logger\.csv=null",
    "callbacks=[]": r"trainer\.callbacks: callbacks are the group callbacks; ",
    "limit_predict_batches=2": r"trainer\.limit_predict_batches: no command predicts",
    "barebones=true": r"trainer\.barebones: true leaves out checkpoints, logs and all callbacks",
    "max_epochs=0": r"trainer\.max_epochs: 0 trains nothing",
    "max_steps=0": r"trainer\.max_steps: 0 trains nothing",
    "limit_train_batches=0": r"trainer\.limit_train_batches: 0 trains nothing",
    "limit_train_batches=0.0": r"trainer\.limit_train_batches: 0\.0 trains nothing",
    "limit_test_batches=0": r"trainer\.limit_test_batches: 0 tests nothing; leave it out and use test=false",
    "limit_val_batches=0": r"trainer\.limit_val_batches: 0 leaves out .*callbacks\.checkpoint=null callbacks\.pl",
    "accumulate_grad_batches=0": r"trainer\.accumulate_grad_batches: 0 is not positive",
    "log_every_n_steps=0": r"trainer\.log_every_n_steps: 0 is not positive",
    "gradient_clip_val=-1": r"trainer\.gradient_clip_val: -1 is negative; use null",
    "enable_checkpointing=false": r"trainer: .*enable_checkpointing=False",
    "val_check_interval=5.5": r"trainer: .*invalid value 5\.5 for val_check_interval",
    "strategy=bad": r"trainer: .*invalid strategy",
    "profiler=bad": r"trainer: .*profiler",
    "plugins=x": r"trainer: Found invalid type for plugin x",
}
BUILDS = [
    "accelerator=cpu", "strategy=auto", "devices=1", "num_nodes=1", "precision=64-true", "fast_dev_run=true",
    "max_epochs=2", "min_epochs=2", "max_steps=5", "min_steps=5", "max_time=00:01:00:00", "limit_train_batches=0.5",
    "limit_val_batches=1", "limit_test_batches=1", "overfit_batches=2",
    "val_check_interval=0.5", "check_val_every_n_epoch=2",
    "num_sanity_val_steps=1", "log_every_n_steps=1", "enable_checkpointing=true", "enable_progress_bar=false",
    "enable_model_summary=true", "accumulate_grad_batches=2", "gradient_clip_val=null", "gradient_clip_algorithm=value",
    "deterministic=warn", "benchmark=true", "inference_mode=false", "use_distributed_sampler=true", "profiler=simple",
    "detect_anomaly=true", "plugins=[]", "sync_batchnorm=true", "reload_dataloaders_every_n_epochs=1",
    "default_root_dir=other", "enable_autolog_hparams=false", "model_registry=x",
]  # fmt: skip


def build(config):
    check_before_import(config)
    build_trainer(config)


def given(argument: str):
    name = argument.partition("=")[0]
    sign = "" if name in compose().trainer else "+"
    machine = [] if name == "accelerator" else ["trainer.accelerator=cpu"]
    return compose(*machine, f"{sign}trainer.{argument}")


@pytest.mark.parametrize("argument", REFUSED)
def test_what_cannot_work_is_refused_before_training(argument):
    config = given(argument)
    with pytest.raises(ConfigurationError, match=REFUSED[argument]) as caught:
        build(config)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("argument", BUILDS)
def test_what_works_builds_a_trainer(argument):
    config = given(argument)
    build(config)


def test_no_argument_is_left_out():
    tried = {argument.partition("=")[0] for argument in [*REFUSED, *BUILDS]}
    assert tried == set(inspect.signature(Trainer).parameters)


def test_a_training_without_validation_and_what_needs_it_is_the_users_choice():
    without = [f"callbacks.{name}=null" for name in ("plateau", "early_stopping", "checkpoint")]
    check_before_import(compose("+trainer.limit_val_batches=0", *without))
