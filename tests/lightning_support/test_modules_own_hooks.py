"""A module's checkpoint hooks find what Lightning's own checkpoint has, whoever calls them."""

import pytest
import torch
from lightning.pytorch import LightningDataModule
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.plugins import MixedPrecision
from omegaconf import OmegaConf

from tests.callbacks.fault_injector import FaultInjector
from tests.callbacks.foreign import ForeignRecurrent, fit
from vestim_pl.callbacks import DivergenceRecovery, FiniteParameterGuard, RandomStateCheckpoint, StepGuard

NAN = float("nan")


class Annotates(ForeignRecurrent):
    """Adds to its hyperparameters in the checkpoint, and reads them back."""

    def __init__(self, options=None):
        super().__init__(carry=True)
        self.save_hyperparameters()
        self.seen = []

    def on_save_checkpoint(self, checkpoint):
        super().on_save_checkpoint(checkpoint)
        checkpoint["hyper_parameters"]["note"] = "mine"
        self.seen.append((sorted(checkpoint), sorted(checkpoint["loops"]), checkpoint["pytorch-lightning_version"]))

    def on_load_checkpoint(self, checkpoint):
        super().on_load_checkpoint(checkpoint)
        assert "options" in checkpoint["hyper_parameters"]


class Data(LightningDataModule):
    def __init__(self, length=8):
        super().__init__()
        self.save_hyperparameters()

    def train_dataloader(self):
        return ForeignRecurrent().train_dataloader()

    def state_dict(self):
        return {"read": 3}


@pytest.mark.parametrize("options", [None, OmegaConf.create({"width": 3})])
@pytest.mark.parametrize("site", ["input", "parameter"])
def test_hooks_that_look_for_hyperparameters_are_served_at_a_skip_and_in_a_rollback(site, options):
    module = Annotates(options)
    recovery, guard = DivergenceRecovery(snapshot_every=2), StepGuard()
    fit(module, [FaultInjector(site, NAN, 4), RandomStateCheckpoint(), guard, FiniteParameterGuard(), recovery])
    assert (guard.skipped_steps, len(recovery.attempts)) == (1, site == "parameter")
    assert module.seen
    assert "note" not in module.hparams


def test_hooks_of_a_module_whose_hyperparameters_are_a_container_leave_them_as_they_were():
    class Contained(ForeignRecurrent):
        def __init__(self, config):
            super().__init__()
            self.save_hyperparameters(config)

        def on_save_checkpoint(self, checkpoint):
            checkpoint["hyper_parameters"]["note"] = checkpoint["hparams_type"].__name__

    module = Contained(OmegaConf.create({"width": 3}))
    fit(module, [FaultInjector("parameter", NAN, 4), DivergenceRecovery(snapshot_every=2)])
    assert "note" not in module.hparams


@pytest.mark.parametrize("data", [None, Data()])
def test_they_find_the_same_keys_as_in_lightnings_checkpoint(tmp_path, data):
    module = Annotates()
    scaler = MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu", init_scale=1024.0))
    keeper = ModelCheckpoint(tmp_path)
    fit(module, [keeper], plugins=[scaler], datamodule=data, enable_checkpointing=True)
    (lightnings,) = module.seen
    module = Annotates()
    fit(module, [DivergenceRecovery()], plugins=[scaler], datamodule=data)
    assert module.seen[0] == lightnings
