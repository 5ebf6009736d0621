"""Every public callback in every kind of project: it works with the right counts, or setup refuses it in one line.

Each kind is something that other projects do and that a callback could stumble over. The table says where a callback
must refuse; everywhere else it must work. Reused objects, manual optimization and two optimizers are in
``test_contract.py``, where every callback meets them too.
"""

import os
import signal
import threading
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset

from tests.callbacks.foreign import leaky_sequences
from tests.callbacks.test_contract import (
    BATCHES,
    EPOCHS,
    NAMES,
    Foreign,
    fresh,
    last_steps,
    learned,
    make,  # noqa: F401 - a fixture
    run,
)
from tests.which_lightning import Callback, pl
from vestim_pl.callbacks import AdaptiveLookback, LookbackWarmup, StepGuard
from vestim_pl.errors import ConfigurationError


@dataclass
class Sequences:
    """A batch as a dataclass; Lightning moves it to the device by its fields."""

    inputs: Tensor
    target: Tensor


class OwnBatch:
    """A batch of a class that no container library knows; it moves itself to the device."""

    def __init__(self, inputs: Tensor, target: Tensor) -> None:
        self.inputs, self.target = inputs, target

    def to(self, device: Any, **_: Any) -> "OwnBatch":
        return OwnBatch(self.inputs.to(device), self.target.to(device))


class DataclassBatches(Foreign):
    batch: type = Sequences

    def loss(self, batch):
        return super().loss((batch.inputs, batch.target))

    def train_dataloader(self):
        x, y = leaky_sequences(BATCHES * 8, 6, seed=1)
        batches = [self.batch(x[i : i + 8].clone(), y[i : i + 8].clone()) for i in range(0, BATCHES * 8, 8)]
        return DataLoader(batches, batch_size=None)

    def val_dataloader(self):
        return self.train_dataloader()


class OwnBatches(DataclassBatches):
    batch = OwnBatch


class Stream(IterableDataset):
    """Batches without a length."""

    def __iter__(self):
        x, y = leaky_sequences(BATCHES * 8, 6, seed=1)
        for i in range(0, BATCHES * 8, 8):
            yield [x[i : i + 8].clone(), y[i : i + 8].clone()]


class EndlessData(Foreign):
    def train_dataloader(self):
        return DataLoader(Stream(), batch_size=None)


class TakesIterator(Foreign):
    """Takes batches itself, so that Lightning knows no batch size."""

    def training_step(self, dataloader_iter):
        batch, batch_idx, _ = next(dataloader_iter)
        loss = self.loss(batch)
        self.log("train_loss", loss, on_step=False, on_epoch=True, batch_size=8)
        return loss


class CannotBeCopied(Foreign):
    """Holds a lock, a generator, and the loss of the latest step with its graph."""

    def __init__(self):
        super().__init__()
        self.lock = threading.Lock()
        self.names = (name for name in "abc")
        self.latest = None

    def training_step(self, batch, batch_idx):
        with self.lock:
            self.latest = super().training_step(batch, batch_idx)
        return self.latest


class SparseGradients(Foreign):
    """Has an embedding with sparse gradients beside the LSTM."""

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(3, 2, sparse=True)

    def loss(self, batch):
        x, y = batch
        rows = torch.arange(x.shape[1], device=x.device) % 3
        return super().loss((x + self.table(rows), y))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.02)


KINDS: dict[str, type[Foreign]] = {
    "dataclass batch": DataclassBatches,
    "batch of its own class": OwnBatches,
    "iterable dataset": EndlessData,
    "dataloader_iter": TakesIterator,
    "cannot be copied": CannotBeCopied,
    "sparse gradients": SparseGradients,
    "accumulation changes": Foreign,
}
# Refused before the first step, with these words.
REFUSED: dict[tuple[str, str], str] = {}


def crop_any(batch: Any, steps: int) -> Any:
    if isinstance(batch, list | tuple):
        return last_steps(batch, steps)
    return type(batch)(batch.inputs[:, -steps:], batch.target[:, -steps:])


@pytest.mark.both_lightnings
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", NAMES)
def test_it_works_in_this_kind_of_project_or_is_refused(make, name, kind):  # noqa: F811
    module, callback = fresh(KINDS[kind]), make(name)
    if isinstance(callback, AdaptiveLookback | LookbackWarmup):
        callback.crop = crop_any
    accumulation = pl.callbacks.GradientAccumulationScheduler({0: 1, 1: 2, 2: 4})
    others = [accumulation] if kind == "accumulation changes" else []
    if (name, kind) in REFUSED:
        with pytest.raises(ConfigurationError, match=REFUSED[name, kind]):
            run(module, [*others, callback])
        return
    trainer = run(module, [*others, callback])
    assert trainer.global_step == (4 + 2 + 1 if others else BATCHES * EPOCHS)
    assert learned(module)
    assert trainer.optimizers[0].param_groups[0]["lr"] == 0.02
    assert not module.rnn._forward_hooks
    if isinstance(callback, StepGuard):
        assert (callback.applied_steps, callback.skipped_steps) == (trainer.global_step, 0)


@pytest.mark.both_lightnings
@pytest.mark.parametrize("name", NAMES)
def test_sigterm_ends_the_training_and_leaves_nothing_of_it_in_the_module(make, name):  # noqa: F811
    class Terminates(Callback):
        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            if trainer.global_step == 5:
                os.kill(os.getpid(), signal.SIGTERM)

    module = fresh()
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(BaseException):
        run(module, [Terminates(), make(name)])
    assert signal.getsignal(signal.SIGTERM) == before
    assert not module.rnn._forward_hooks
    assert "on_before_batch_transfer" not in vars(module)
