from pathlib import Path

import lightning.pytorch as pl
import pytest
import torch

from vestim_pl.data import (
    ResumableLoader,
    StreamBatchSampler,
    StreamDataset,
    StreamSampling,
    WindowBatchSampler,
    WindowDataset,
)
from vestim_pl.data.batches import training_batches
from vestim_pl.errors import ConfigurationError


@pytest.fixture
def make(table):
    """Makes a loader of windows or streams over the same recordings."""

    def loader(kind="windows", workers=0, processed=None):
        rows = table(40, 33, 21)
        if kind == "windows":
            data = WindowDataset(rows, lookback=8)
            sampler = WindowBatchSampler(len(data), 16, seed=4)
        elif kind == "side by side":
            data, sampler = training_batches(rows, StreamSampling(lookback=8, lanes=3, orders=2), seed=4)
        else:
            data = StreamDataset(rows)
            sampler = StreamBatchSampler(rows.lengths, 8, 3, burn_in=2, seed=4)
        return ResumableLoader(data, sampler, num_workers=workers, processed=processed)

    return loader


def key(batch):
    return tuple(batch.first_row.tolist()), tuple(batch.target.flatten().tolist())


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("kind", ["windows", "streams", "side by side"])
def test_from_any_batch_it_continues_with_the_next(make, kind, workers):
    whole = make(kind)
    whole.sampler.set_epoch(2)
    expected = [key(batch) for batch in whole]
    assert len(expected) == len(whole)
    for stop in range(len(expected) + 1) if workers == 0 else (0, 2):
        first = make(kind, workers)
        first.sampler.set_epoch(2)
        batches = iter(first)
        seen = [key(next(batches)) for _ in range(stop)]
        second = make(kind, workers)
        second.load_state_dict(first.state_dict())
        assert second.sampler.epoch == 2
        assert second.state_dict() == first.state_dict()
        assert len(second) == len(whole)
        assert seen + [key(batch) for batch in second] == expected


def test_workers_deliver_the_same(make):
    assert [key(batch) for batch in make(workers=2)] == [key(batch) for batch in make()]


def test_after_a_resume_the_next_epoch_is_whole(make):
    loader = make()
    loader.load_state_dict({"epoch": 0, "batch": 3, "batches": len(loader)})
    assert len(list(loader)) == len(loader) - 3
    assert len(list(loader)) == len(loader)


def test_another_epoch_voids_the_position(make):
    loader = make()
    loader.load_state_dict({"epoch": 0, "batch": 3, "batches": len(loader)})
    loader.sampler.set_epoch(1)
    assert loader.state_dict()["batch"] == 0
    assert len(list(loader)) == len(loader)


def test_the_iterator_starts_with_its_first_batch(make):
    expected = make()
    expected.sampler.set_epoch(5)
    loader = make()
    batches = iter(loader)
    loader.sampler.set_epoch(5)
    assert key(next(batches)) == key(next(iter(expected)))


def test_a_batch_whose_training_was_interrupted_is_served_again(make):
    done = 0
    loader = make(processed=lambda: done)
    batches = iter(loader)
    for expected in range(1, 4):
        next(batches)
        assert loader.state_dict()["batch"] == expected - 1
        done = expected
        assert loader.state_dict()["batch"] == expected


def test_another_number_of_batches_cannot_be_resumed(make):
    loader = make()
    loader.load_state_dict({"epoch": 0, "batch": 3, "batches": 99})
    with pytest.raises(
        ConfigurationError, match=r"at batch 3 of 99 of its epoch, but an epoch now has \d+; resume with"
    ):
        next(iter(loader))
    loader.load_state_dict({"epoch": 0, "batch": 99, "batches": 99})
    loader.sampler.set_epoch(1)
    assert len(list(loader)) == len(loader)


class Foreign(pl.LightningModule):
    """A module of another project; records the batches that it gets."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(2, 1)
        self.seen: list = []

    def training_step(self, batch, batch_idx):
        self.seen.append((self.current_epoch, batch_idx, key(batch)))
        return self.layer(batch.inputs).mean()

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=1e-6)

    def predict_step(self, batch, batch_idx):
        return key(batch)


class SaveAt(pl.Callback):
    """Saves a checkpoint after every step."""

    def on_train_batch_end(self, trainer, *args):
        trainer.save_checkpoint(f"step{trainer.global_step}.ckpt")


def fit(loader, callbacks=(), ckpt_path=None, **options):
    model = Foreign()
    trainer = pl.Trainer(
        max_epochs=2,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        callbacks=list(callbacks),
        **options,
    )
    trainer.fit(model, loader, ckpt_path=ckpt_path)
    return model.seen


@pytest.mark.parametrize("kind", ["windows", "streams"])
def test_somebodys_trainer_resumes_at_the_next_batch_from_every_step(make, kind):
    whole = fit(make(kind), [SaveAt()])
    assert len(whole) == 2 * len(make(kind))
    assert {entry[2] for entry in whole if entry[0] == 0} != {entry[2] for entry in whole if entry[0] == 1}
    for step in range(1, len(whole)):
        assert fit(make(kind), ckpt_path=Path(f"step{step}.ckpt")) == whole[step:]


def test_limited_epochs_resume_too(make):
    whole = fit(make(), [SaveAt()], limit_train_batches=3)
    assert len(whole) == 6
    for step in range(1, 6):
        assert fit(make(), ckpt_path=Path(f"step{step}.ckpt"), limit_train_batches=3) == whole[step:]


def test_lightning_leaves_it_as_it_is_under_several_processes_and_in_prediction(make):
    loader = make()
    trainer = pl.Trainer(accelerator="cpu", logger=False, enable_progress_bar=False, enable_checkpointing=False)
    predicted = trainer.predict(Foreign(), loader)
    assert predicted == [key(batch) for batch in make()]
    connector = trainer._data_connector
    trainer._accelerator_connector.strategy = pl.strategies.DDPStrategy()
    assert trainer._accelerator_connector.is_distributed
    assert connector._prepare_dataloader(loader, shuffle=True, mode=None) is loader
