import pytest
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.demos.boring_classes import BoringModel, ManualOptimBoringModel

from vestim_pl.lightning_support.log_steps import is_logged_step


@pytest.mark.parametrize(("model", "accumulate"), [(BoringModel, 1), (BoringModel, 2), (ManualOptimBoringModel, 1)])
def test_agrees_with_lightning(model, accumulate):
    seen = []

    class Compare(Callback):
        def on_before_optimizer_step(self, trainer, pl_module, optimizer):
            seen.append((is_logged_step(trainer), trainer._logger_connector.should_update_logs))

    Trainer(
        max_steps=12, log_every_n_steps=3, accumulate_grad_batches=accumulate, callbacks=[Compare()], logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False, accelerator="cpu",
    ).fit(model())  # fmt: skip
    assert all(ours == theirs for ours, theirs in seen)
    assert sum(ours for ours, _ in seen) == 4
