import torch
from lightning.pytorch.demos.boring_classes import BoringModel

from vestim_pl.lightning_support.batch_index import next_batch_index


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
