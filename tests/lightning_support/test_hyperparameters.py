import sys

from lightning.pytorch import LightningModule
from omegaconf import OmegaConf

from vestim_pl.lightning_support.hyperparameters import hyperparameters_argument, is_omegaconf


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
