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

from tests.callbacks.fault_injector import FaultInjector
from tests.callbacks.foreign import Recorder, leaky_sequences, same
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
from tests.which_lightning import Callback, CSVLogger, pl
from vestim_pl.callbacks import (
    AdaptiveGradientClipping,
    AdaptiveLookback,
    CrashBundle,
    GradientFlowProbe,
    GradientNoise,
    GradientNormMonitor,
    LookbackWarmup,
    StepGuard,
)
from vestim_pl.errors import ConfigurationError
from vestim_pl.lightning_support.stop_request import Interrupted


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

    def log(self, *args, **kwargs):
        super().log(*args, **({"batch_size": 8} | kwargs))  # Lightning finds none in a batch of another class

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
        batch, _, _ = next(dataloader_iter)
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
REFUSED = {
    (name, "dataloader_iter"): f"{name}: training_step of TakesIterator takes dataloader_iter, so its batches cannot be"
    for name in ("AdaptiveLookback", "CrashBundle", "GradientFlowProbe", "LookbackWarmup")
}


def crop_any(batch: Any, steps: int) -> Any:
    if isinstance(batch, list | tuple):
        return last_steps(batch, steps)
    return type(batch)(batch.inputs[:, -steps:], batch.target[:, -steps:])


@pytest.mark.both_lightnings
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", NAMES)
def test_it_works_in_this_kind_of_project_or_is_refused(make, name, kind, tmp_path):  # noqa: F811
    module, callback = fresh(KINDS[kind]), make(name)
    if isinstance(callback, AdaptiveLookback | LookbackWarmup):
        callback.crop = crop_any
    accumulation = pl.callbacks.GradientAccumulationScheduler({0: 1, 1: 2, 2: 4})
    others = [accumulation] if kind == "accumulation changes" else []
    if (name, kind) in REFUSED:
        with pytest.raises(ConfigurationError, match=REFUSED[name, kind]):
            run(module, [*others, callback])
        return
    trainer = run(module, [*others, callback], logger=CSVLogger(tmp_path), log_every_n_steps=1)
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
    with pytest.raises((SystemExit, Interrupted)):  # Lightning's SIGTERMException is a SystemExit
        run(module, [Terminates(), make(name)])
    assert signal.getsignal(signal.SIGTERM) == before
    assert not module.rnn._forward_hooks
    assert "on_before_batch_transfer" not in vars(module)


class NanIn(Callback):
    """Writes a NaN into the training batch of a step, which it finds in an attribute of the module."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        pl_module.spoil = trainer.global_step == self.step


class Spoils:
    """Mixin that spoils the batch in ``loss``, where every kind of batch has been unpacked."""

    spoil = False

    def loss(self, batch):
        if self.spoil and self.training:
            inputs = batch[0] if isinstance(batch, list | tuple) else batch.inputs
            inputs[2, 3, 0] = float("nan")
        return super().loss(batch)


@pytest.mark.parametrize(
    ("kind", "field"),
    [(DataclassBatches, "inputs"), (OwnBatches, "inputs"), (TakesIterator, "0"), (EndlessData, "0")],
)
def test_a_nan_is_found_in_every_kind_of_batch_and_named(kind, field):
    module, guard, recorder = fresh(type(kind.__name__, (Spoils, kind), {})), StepGuard(), Recorder()
    run(module, [NanIn(2 * BATCHES + 2), guard, recorder])
    (skip,) = recorder.of("skip")
    assert skip.values["cause"] == "batch"
    assert f"the loss is nan: non-finite values in {field} of batch 2" in skip.reason
    assert guard.skipped_steps == 1


def test_nothing_is_said_of_a_batch_that_cannot_be_looked_into():
    class Slots:
        __slots__ = ("inputs", "target")

        def __init__(self, inputs, target):
            self.inputs, self.target = inputs, target

    class Opaque(Spoils, DataclassBatches):
        batch = Slots

    recorder = Recorder()
    run(fresh(Opaque), [NanIn(2 * BATCHES), StepGuard(), recorder])
    assert "although parameters are finite; no tensor found in the batch" in recorder.of("skip")[0].reason


@pytest.mark.parametrize("callback", [AdaptiveLookback(6, 0.9, 1, 4, 4, 1, crop=last_steps), GradientFlowProbe([1, 7])])
def test_a_module_that_cannot_be_copied_is_reported_once_and_trains_as_without(callback, tmp_path):
    alone, measured, recorder = fresh(CannotBeCopied), fresh(CannotBeCopied), Recorder()
    run(alone, [])
    run(measured, [callback, recorder], default_root_dir=tmp_path)
    (event,) = (event for event in recorder.events if event.kind in ("lookback", "gradient_flow"))
    assert "cannot pickle" in event.reason
    assert same(list(alone.parameters()), list(measured.parameters()))


class OneRow(SparseGradients):
    """Learns only the table, of which each batch uses one row, twice."""

    def loss(self, batch):
        return self.table(torch.tensor([1, 1])).sum()

    def configure_optimizers(self):
        return torch.optim.SGD(self.table.parameters(), lr=1.0)


def test_a_sparse_gradient_is_clipped_measured_and_noised_as_a_dense_one():
    """Its rows are [2, 2] where it is dense; its norm is sqrt(8)."""
    clipped, noised, norms = fresh(OneRow), fresh(OneRow), fresh(OneRow)
    start = clipped.table.weight.detach().clone()
    one_step = {"max_epochs": 1, "max_steps": 1, "limit_val_batches": 0}

    run(clipped, [AdaptiveGradientClipping(max_norm=0.1)], **one_step)
    assert (start - clipped.table.weight)[1].tolist() == pytest.approx([0.1 / 2**0.5] * 2, rel=1e-4)

    monitor = GradientNormMonitor(every_n_steps=1, per_layer=True)
    trainer = run(norms, [monitor], **one_step)
    assert trainer.callback_metrics["grad_norm/median"].item() == pytest.approx(8**0.5)

    run(noised, [GradientNoise(eta=1.0)], **one_step)
    change = start - noised.table.weight
    assert change[0].tolist() == change[2].tolist() == [0, 0]
    assert all(value not in (0, 2) for value in change[1].tolist())


class SkipsTheRest(Foreign):
    """Skips what is left of the first epoch from its third batch on."""

    def on_train_batch_start(self, batch, batch_idx):
        return -1 if batch_idx == 2 and self.current_epoch == 0 else None


@pytest.mark.parametrize("accumulate", [1, 4])
def test_a_batch_that_the_module_skips_belongs_to_no_step(accumulate, tmp_path):
    recorder, bundle = Recorder(), CrashBundle(str(tmp_path))
    fault = FaultInjector("input", float("nan"), 6)  # in the last epoch; Lightning ends the epoch after the skip early
    run(fresh(SkipsTheRest), [fault, bundle, StepGuard(), recorder], accumulate_grad_batches=accumulate)
    (skip,) = recorder.of("skip")
    assert skip.values["batches"] == ([2] if accumulate == 1 else [0, 1, 2, 3])
    written = torch.load(next(tmp_path.glob("*.pt")), weights_only=True)
    assert len(written["batches"]) == accumulate
