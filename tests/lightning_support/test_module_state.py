import sys

import torch
from lightning.pytorch import LightningModule
from omegaconf import OmegaConf

from vestim_pl.lightning_support.module_state import (
    clear_nonfinite_extras,
    hyperparameters_argument,
    is_omegaconf,
    load_extras,
    save_extras,
)


class Carrying(LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(2, 2)
        self.state = (torch.ones(2, 3), torch.ones(2))
        self.loads = 0

    def on_save_checkpoint(self, checkpoint):
        checkpoint["state_dict"].pop("layer.bias")  # as modules that trim their checkpoints do
        checkpoint["state"] = self.state

    def on_load_checkpoint(self, checkpoint):
        assert "state_dict" in checkpoint
        self.loads += 1
        self.state = checkpoint["state"]


def test_extras_are_copies_both_ways():
    module = Carrying()
    extras = save_extras(module)
    module.state[0].fill_(5)
    load_extras(module, extras)
    assert module.state[0].sum() == 6
    module.state[0].fill_(7)
    assert extras["state"][0].sum() == 6
    assert module.layer.bias is not None


def test_finite_extras_are_left_alone_and_bad_rows_are_set_to_zero():
    module = Carrying()
    assert clear_nonfinite_extras(module) == []
    assert module.loads == 0
    module.state[0][1, 2] = float("inf")
    assert clear_nonfinite_extras(module) == ["state"]
    assert module.state[0].tolist() == [[1, 1, 1], [0, 0, 0]]
    assert module.state[1].tolist() == [1, 1]


class Net(LightningModule):
    def __init__(self, config, size=1):
        super().__init__()
        self.save_hyperparameters(config if isinstance(config, dict) else None)


def test_containers_of_omegaconf_are_recognised_without_importing_it(monkeypatch):
    containers = [OmegaConf.create({"a": 1}), OmegaConf.create([1])]
    assert all(map(is_omegaconf, containers))
    monkeypatch.delitem(sys.modules, "omegaconf")
    assert not is_omegaconf({"a": 1})
    assert "omegaconf" not in sys.modules


def test_argument_that_holds_all_hyperparameters():
    assert hyperparameters_argument(Net({"a": 1})) == "config"
    assert hyperparameters_argument(Net("text")) is None
