"""The trainer of the configuration, and what it refuses in one line."""

import hydra
import pytest
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig

from vestim_pl.app.configuration import conf_folder
from vestim_pl.app.trainer import build_trainer
from vestim_pl.errors import ConfigurationError


def composed(*overrides: str) -> DictConfig:
    GlobalHydra.instance().clear()
    with hydra.initialize_config_dir(str(conf_folder()), version_base="1.3"):
        return hydra.compose("train", ["run_dir=run", "trainer.accelerator=cpu", *overrides])


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("trainer.devices=0", r"^trainer: .*trainer\.devices=0.*trainer\.accelerator=auto takes what the machine has"),
        ("+trainer.val_check_interval=5.5", r"^trainer: .*invalid value 5\.5 for val_check_interval.*int\.$"),
        ("trainer.accumulate_grad_batches=0", r"^trainer\.accumulate_grad_batches: 0 is not positive"),
        ("trainer.gradient_clip_val=-1", r"^trainer\.gradient_clip_val: -1 is negative; use null"),
        ("trainer.max_epochs=0", r"^trainer\.max_epochs: 0 trains nothing"),
    ],
)
def test_settings_that_cannot_work_are_refused(override, message):
    with pytest.raises(ConfigurationError, match=message):
        build_trainer(composed(override))


@pytest.mark.parametrize(("epochs", "between"), [(2, 2), (30, 5), (-1, 5)])
def test_a_run_shorter_than_the_time_between_validations_is_validated_at_its_end(epochs, between):
    trainer = build_trainer(composed("+preset=fast", f"trainer.max_epochs={epochs}"))
    assert trainer.check_val_every_n_epoch == between


def test_random_generators_are_put_back_before_a_bundle_notes_their_state():
    """Otherwise a bundle of the first step after a resume draws other dropout than the step did."""
    names = [type(callback).__name__ for callback in build_trainer(composed("+preset=resilient")).callbacks]
    assert names.index("RandomStateCheckpoint") < names.index("CrashBundle") < names.index("StepGuard")
