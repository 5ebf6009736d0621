import pytest
import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.demos.boring_classes import BoringModel, ManualOptimBoringModel

from vestim_pl.lightning_support.loop_progress import is_logged_step, next_batch_index


def test_it_is_the_index_that_the_training_step_gets(fit):
    class Indices(BoringModel):
        before, passed = [], []

        def on_before_batch_transfer(self, batch, dataloader_idx):
            if self.trainer.training:
                self.before.append(next_batch_index(self.trainer))
            return batch

        def training_step(self, batch, batch_idx):
            self.passed.append(batch_idx)
            return super().training_step(batch, batch_idx)

    loader = torch.utils.data.DataLoader(torch.ones(4, 32))
    fit(Indices(), train=loader, max_epochs=2, limit_val_batches=0, accumulate_grad_batches=2)
    assert Indices.before == Indices.passed == [0, 1, 2, 3] * 2


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
