from itertools import pairwise

import pytest
import torch
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from vestim_pl.callbacks import LookbackWarmup
from vestim_pl.callbacks.lookback.lookback_warmup import lookback_at
from vestim_pl.errors import ConfigurationError
from vestim_pl.functional.sequence_batch import SequenceBatch


def loader():
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(8, 20, 2, generator=generator)
    return DataLoader(TensorDataset(x, x.sum((1, 2))[:, None]), batch_size=4)


class Foreign(LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = nn.GRU(2, 4, batch_first=True)
        self.head = nn.Linear(4, 1)
        self.lengths, self.val_lengths, self.first = [], [], []

    def _loss(self, batch):
        return (self.head(self.layer(batch[0])[0][:, -1]) - batch[1]).square().mean()

    def training_step(self, batch, batch_idx):
        self.lengths.append(batch[0].shape[1])
        self.first.append(batch[0][0, 0, 0].item())
        return self._loss(batch)

    def validation_step(self, batch, batch_idx):
        self.val_lengths.append(batch[0].shape[1])

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=0.01)

    def train_dataloader(self):
        return loader()

    def val_dataloader(self):
        return loader()


class Doubling(Foreign):
    """Has the hook itself."""

    def on_before_batch_transfer(self, batch, dataloader_idx):
        return [2 * batch[0], batch[1]]


class DataModule(LightningDataModule):
    def train_dataloader(self):
        return loader()

    def on_before_batch_transfer(self, batch, dataloader_idx):
        return [batch[0] + 100, batch[1]]


class Ours(Foreign):
    def on_before_batch_transfer(self, batch, dataloader_idx):
        sequence = SequenceBatch.of(batch[0], batch[1].expand(-1, 20))
        return sequence._replace(fresh=torch.full((4,), self.fresh))

    fresh = True

    def _loss(self, batch):
        return (self.head(self.layer(batch.inputs)[0]).squeeze(-1) - batch.target).square().mean()


class Events(Callback):
    def __init__(self):
        self.seen = []

    def on_event(self, trainer, event):
        self.seen.append(event)


def last_steps(batch, length):
    return [batch[0][:, -length:], batch[1]]


def warmup(**options):
    return LookbackWarmup(**({"start": 5, "full": 20, "epochs": 3, "crop": last_steps} | options))


def run(*callbacks, model=Foreign, epochs=5, datamodule=None, ckpt_path=None, checkpoint=None, **options):
    torch.manual_seed(0)
    module = model()
    trainer = Trainer(
        max_epochs=epochs, callbacks=list(callbacks), logger=False, enable_checkpointing=False, accelerator="cpu",
        enable_progress_bar=False, enable_model_summary=False, **options,
    )  # fmt: skip
    trainer.fit(module, datamodule=datamodule, ckpt_path=ckpt_path)
    if checkpoint:
        trainer.save_checkpoint(checkpoint)
    return module, trainer


def test_window_grows_in_training_only_and_keeps_the_last_steps():
    module, trainer = run(warmup())
    assert module.lengths == [5, 5, 10, 10, 15, 15, 20, 20, 20, 20]
    assert set(module.val_lengths) == {20}
    x = next(iter(loader()))[0]
    assert module.first[0] == x[0, -5, 0].item()
    assert trainer.callback_metrics["lookback"] == 20


def test_each_change_is_reported():
    events = Events()
    run(warmup(), events)
    assert [(event.epoch, event.values["lookback"]) for event in events.seen] == [(0, 5), (1, 10), (2, 15), (3, 20)]


def test_longer_batches_are_cut_to_full():
    module, _ = run(warmup(full=12))
    assert module.lengths[-1] == 12


@pytest.mark.parametrize("model", [Foreign, Doubling])
def test_hook_of_the_module_is_kept_and_restored(model):
    callback = warmup()
    module, _ = run(callback, model=model)
    assert "on_before_batch_transfer" not in vars(module)
    factor = 2 if model is Doubling else 1
    assert module.first[0] == pytest.approx(factor * next(iter(loader()))[0][0, -5, 0].item())


def test_hook_of_the_data_module_is_kept_and_restored():
    datamodule = DataModule()
    module, _ = run(warmup(), datamodule=datamodule)
    assert module.lengths[:4] == [5, 5, 10, 10]
    assert module.first[0] > 50
    assert "on_before_batch_transfer" not in vars(datamodule)


def test_hook_is_restored_after_an_error():
    class Fails(Foreign):
        def training_step(self, batch, batch_idx):
            self.__class__.kept = self
            raise RuntimeError("boom")

    with pytest.raises(RuntimeError, match="boom"):
        run(warmup(), model=Fails)
    assert "on_before_batch_transfer" not in vars(Fails.kept)


def test_our_batches_need_no_function():
    module, _ = run(LookbackWarmup(start=5, full=20, epochs=3), model=Ours)
    assert module.lengths[:4] == [5, 5, 10, 10]


def test_streams_are_refused():
    class Streams(Ours):
        fresh = False

    with pytest.raises(ConfigurationError, match="fresh is false"):
        run(LookbackWarmup(start=5, full=20, epochs=3), model=Streams)


def test_unknown_batches_are_refused():
    with pytest.raises(ConfigurationError, match="pass crop="):
        run(LookbackWarmup(start=5, full=20, epochs=3))


@pytest.mark.parametrize("options", [{"start": 0}, {"full": 4}, {"epochs": 0}])
def test_bad_argument_is_refused(options):
    with pytest.raises(ConfigurationError, match=next(iter(options))):
        warmup(**options)


def test_grows_by_equal_steps_and_stays():
    lengths = [lookback_at(epoch, 10, 400, 7) for epoch in range(20)]
    assert lengths[0] == 10
    assert lengths[7:] == [400] * 13
    steps = [b - a for a, b in pairwise(lengths[:8])]
    assert max(steps) - min(steps) <= 1


def test_no_growth_from_full_to_full():
    assert lookback_at(0, 50, 50, 3) == 50
