from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch.strategies import DDPStrategy, DeepSpeedStrategy, FSDPStrategy, ModelParallelStrategy

from tests.lightning_support.fake_trainer import FakeTrainer
from vestim_pl.errors import ConfigurationError
from vestim_pl.lightning_support.gradient_access import require_plain_gradients


def trainer_of(strategy=DDPStrategy, scaler=None, fused=False):
    optimizer = torch.optim.Adam([torch.zeros(1, requires_grad=True)], fused=fused)
    return FakeTrainer(
        strategy=object.__new__(strategy),
        precision_plugin=SimpleNamespace(scaler=scaler),
        optimizers=[optimizer],
        precision="16-mixed",
    )


@pytest.mark.parametrize("strategy", [DeepSpeedStrategy, FSDPStrategy, ModelParallelStrategy])
def test_sharded_gradients_are_refused(strategy):
    with pytest.raises(
        ConfigurationError, match=f"Probe: trainer.strategy {strategy.__name__} .* use the strategy ddp or auto"
    ):
        require_plain_gradients(trainer_of(strategy), "Probe")


def test_scaled_gradients_are_refused():
    with pytest.raises(ConfigurationError, match=r"Probe: Adam\(fused=True\) with precision 16-mixed .* fused=False"):
        require_plain_gradients(trainer_of(scaler=object(), fused=True), "Probe")


@pytest.mark.parametrize(("scaler", "fused"), [(None, False), (None, True), (object(), False)])
def test_plain_gradients_pass(scaler, fused):
    require_plain_gradients(trainer_of(scaler=scaler, fused=fused), "Probe")
