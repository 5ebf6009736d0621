"""The profiler that does nothing: training goes as with Lightning's own, and no action makes a new context."""

import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.demos.boring_classes import BoringModel

from vestim_pl.app.no_profiler import NoProfiler


def weights_after_training(**options) -> torch.Tensor:
    torch.manual_seed(0)
    model = BoringModel()
    trainer = Trainer(
        max_steps=3, logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        accelerator="cpu", **options,
    )  # fmt: skip
    trainer.fit(model)
    return model.layer.weight.detach()


def test_training_is_the_same():
    assert torch.equal(weights_after_training(profiler=NoProfiler()), weights_after_training())


def test_all_actions_share_one_context_and_let_errors_through():
    profiler = NoProfiler()
    assert profiler.profile("a") is profiler.profile("b")
    with profiler.profile("a"), profiler.profile("b"):
        pass
    with pytest.raises(ValueError, match="own"), profiler.profile("a"):
        raise ValueError("own")
