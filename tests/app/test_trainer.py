"""The trainer of the configuration, and what it refuses in one line."""

import pytest
from omegaconf import DictConfig

from tests.composing import compose
from vestim_pl.app.conf_tree import plain
from vestim_pl.app.trainer import build_trainer, refuse_wrong_checkpoints
from vestim_pl.errors import ConfigurationError
from vestim_pl.train import train


def composed(*overrides: str) -> DictConfig:
    return compose("trainer.accelerator=cpu", *overrides)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("trainer.devices=0", r"^trainer: .*trainer\.devices=0.*trainer\.accelerator=auto takes what the machine has"),
        ("+trainer.val_check_interval=5.5", r"^trainer: .*invalid value 5\.5 for val_check_interval.*int\.$"),
    ],
)
def test_settings_that_cannot_work_are_refused(override, message):
    with pytest.raises(ConfigurationError, match=message):
        build_trainer(composed(override))


def test_the_progress_bar_is_as_asked():
    assert build_trainer(composed("+trainer.enable_progress_bar=true")).progress_bar_callback is not None
    assert build_trainer(composed("+trainer.enable_progress_bar=false")).progress_bar_callback is None


@pytest.mark.parametrize(("epochs", "between"), [(2, 2), (30, 5), (-1, 5)])
def test_a_run_shorter_than_the_time_between_validations_is_validated_at_its_end(epochs, between):
    trainer = build_trainer(composed("+preset=fast", f"trainer.max_epochs={epochs}"))
    assert trainer.check_val_every_n_epoch == between


def test_random_generators_are_put_back_before_a_bundle_notes_their_state():
    """Otherwise a bundle of the first step after a resume draws other dropout than the step did."""
    names = [type(callback).__name__ for callback in build_trainer(composed("+preset=resilient")).callbacks]
    assert names.index("RandomStateCheckpoint") < names.index("CrashBundle") < names.index("StepGuard")


def test_the_profiler_that_costs_nothing_is_used_unless_one_is_set():
    profiler = build_trainer(composed()).profiler
    assert profiler.profile("a") is profiler.profile("b")
    with pytest.raises(ValueError, match="own"), profiler.profile("a"), profiler.profile("b"):
        raise ValueError("own")
    assert type(build_trainer(composed("+trainer.profiler=simple")).profiler).__name__ == "SimpleProfiler"


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("+callbacks.checkpoint.every_n_train_steps=10", r"callbacks\.checkpoint\.every_n_train_steps: 10 would rank"),
        ("+callbacks.checkpoint.train_time_interval={_target_:datetime.timedelta,minutes:5}", r"train_time_interval: "),
        ("callbacks.checkpoint.save_last=true", r"callbacks\.checkpoint\.save_last: True would write the best state"),
        ("callbacks.checkpoint.save_last=link", r"callbacks\.checkpoint\.save_last: link would write"),
    ],
)
def test_what_would_keep_the_wrong_file_is_refused(override, named):
    with pytest.raises(ConfigurationError, match=f"{named}.*; remove it") as caught:
        train(compose(override))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["callbacks.checkpoint.save_top_k=3"],
        ["callbacks.last_checkpoint=null", "callbacks.checkpoint.save_last=true"],
        ["+callbacks.often={_target_:lightning.pytorch.callbacks.ModelCheckpoint,every_n_train_steps:5}"],
        ["callbacks.checkpoint=null"],
    ],
)
def test_what_keeps_the_right_files_passes(overrides):
    refuse_wrong_checkpoints(plain(compose(*overrides).callbacks))


def test_what_is_no_interval_is_refused_by_the_name_of_the_setting():
    with pytest.raises(ConfigurationError, match=r"^checkpoint_every: 'often' is not an interval; write a number"):
        train(compose("checkpoint_every=often"))
