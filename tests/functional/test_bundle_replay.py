from pathlib import Path

import pytest
import torch
from lightning.pytorch import LightningModule
from torch import nn

from tests.callbacks.fault_injector import FaultInjector
from tests.callbacks.foreign import ForeignRecurrent, fit
from vestim_pl.callbacks import CrashBundle
from vestim_pl.functional.bundle_file import read_bundle
from vestim_pl.functional.bundle_replay import load_state, replay_bundle
from vestim_pl.functional.errors import ConfigurationError
from vestim_pl.functional.step_trace import Phase


def build():
    return ForeignRecurrent(hidden=8)


def not_a_module():
    return 3


@pytest.fixture
def bundle():
    fit(ForeignRecurrent(), [FaultInjector("input", float("nan"), at=1), CrashBundle("bundles")], max_steps=2)
    return read_bundle(next(Path("bundles").glob("*.pt")))


def test_foreign_class_is_imported_only_when_trusted(bundle):
    with pytest.raises(ConfigurationError, match="--trust"):
        replay_bundle(bundle)
    assert replay_bundle(bundle, trust=True).trace.origin.frame.phase is Phase.BATCH


def test_factory_instead_of_the_class(bundle):
    replay = replay_bundle(bundle, factory=f"{__name__}:build")
    assert replay.trace.origin.frame.phase is Phase.BATCH
    with pytest.raises(ConfigurationError, match="returned int, not a LightningModule"):
        replay_bundle(bundle, factory=f"{__name__}:not_a_module")


def test_hyperparameters_that_do_not_build_it(bundle):
    bundle["module"]["hparams"] = {"__kind__": "dict", "items": [["no_such", 1]]}
    with pytest.raises(ConfigurationError, match="save_hyperparameters"):
        replay_bundle(bundle, trust=True)
    bundle["module"]["hparams"] = {"__kind__": "opaque", "repr": "object"}
    with pytest.raises(ConfigurationError, match="could not be saved; pass --factory"):
        replay_bundle(bundle, trust=True)


def test_weights_without_a_place_are_told(bundle):
    bundle["module"]["hparams"] = {"__kind__": "dict", "items": [["hidden", 4]]}
    notes = replay_bundle(bundle, trust=True).notes
    assert "parameter cell.weight of the bundle has no place in the module" in notes
    assert notes[-1].startswith("the update is not replayed")


def test_foreign_optimizer_leaves_the_update_out(bundle):
    bundle["optimizer"]["class"] = "nowhere:Optimizer"
    notes = replay_bundle(bundle, trust=True).notes
    assert len(notes) == 1
    assert "the update is not replayed" in notes[0]


def test_random_state_of_the_caller_is_left_alone(bundle):
    before = torch.get_rng_state()
    replay_bundle(bundle, trust=True)
    assert torch.equal(before, torch.get_rng_state())


def test_load_state_tells_what_is_missing():
    class Net(LightningModule):
        def __init__(self):
            super().__init__()
            self.layer, self.norm = nn.Linear(1, 1), nn.BatchNorm1d(1)

    notes = load_state(Net(), {"layer.weight": torch.ones(1, 1)}, {"gone": torch.ones(1)}, {})
    assert "buffer gone of the bundle has no place in the module" in notes
    assert "parameter layer.bias is not in the bundle" in notes
