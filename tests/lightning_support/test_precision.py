import contextlib

import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.plugins import MixedPrecision

from vestim_pl.lightning_support.precision import loss_scale, precision_context


@pytest.mark.parametrize("precision", [("64-true", torch.float64), ("bf16-true", torch.bfloat16)])
def test_new_tensors_of_a_true_precision(precision):
    with precision_context(precision[0], "cpu"):
        assert torch.zeros(1).dtype is precision[1]
    assert torch.zeros(1).dtype is torch.float32


@pytest.mark.parametrize(
    ("precision", "dtype"),
    [("bf16-mixed", torch.bfloat16), ("16-mixed", torch.float16), ("32-true", torch.float32)],
)
def test_autocast_of_the_precision(precision, dtype):
    with precision_context(precision, "cpu") as context:
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype is dtype
    assert context is None or isinstance(context, contextlib.AbstractContextManager)


def test_scale_before_the_scaler_lowered_it():
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    trainer = Trainer(plugins=[MixedPrecision("16-mixed", "cpu", scaler)], accelerator="cpu", logger=False)
    assert loss_scale(trainer) == 8.0
    assert loss_scale(trainer, lowered=True) == 16.0
