"""Train on short windows first, on the full ones later."""

import logging
from collections.abc import Callable
from functools import partial
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from vestim_pl.errors import ConfigurationError
from vestim_pl.lightning_support.events import publish
from vestim_pl.lightning_support.lookback import crop_sequences, lookback_at
from vestim_pl.lightning_support.rank_agreement import log_agreed
from vestim_pl.lightning_support.training_batches import change_training_batches

__all__ = ["LookbackWarmup"]


class LookbackWarmup(Callback):
    """Lets the window grow from ``start`` to ``full`` steps over the first epochs.

    A short window is cheap and its gradient hardly vanishes, so a network first learns what the last steps tell, in a
    fraction of the time, and then what lies farther back. Sequence-length warmup is known from language models (Li et
    al. 2022, arXiv 2108.06084), where it lets training start at a higher learning rate without diverging.

    Every training batch is cut to its last steps before it is moved to the device, by a wrapper around
    ``on_before_batch_transfer`` for the time of the fit; validation, test and prediction keep the full window. The
    length depends on nothing but the epoch, hence a resumed run is exact without anything in the checkpoint. With
    `AdaptiveLookback` the shorter of the two windows counts.

    ======================= =========================================================================================
    logged key              meaning
    ======================= =========================================================================================
    ``lookback``            steps of the training windows of this epoch, once an epoch
    ======================= =========================================================================================

    Each change is a ``lookback`` event too.

    Args:
        start: Steps of the windows in epoch 0.
        full: Steps from epoch ``epochs`` on; longer batches are cut to it from then on.
        epochs: Epochs until the full window.
        crop: Function of a batch and a number of steps that returns the batch cut to its last steps; None for
            batches with the fields of `SequenceBatch`.

    Raises:
        ConfigurationError: If an argument is out of range, if a batch is of another kind and ``crop`` is None, or if
            lanes carry a state from batch to batch (streams), in whose history a cut would leave a gap.

    Example::

        >>> warmup = LookbackWarmup(start=50, full=200, epochs=3)
        >>> pairs = LookbackWarmup(start=50, full=200, epochs=3, crop=lambda batch, n: (batch[0][:, -n:], batch[1]))

    """

    def __init__(self, start: int, full: int, epochs: int, crop: Callable[[Any, int], Any] | None = None) -> None:
        name = type(self).__name__
        if start < 1:
            raise ConfigurationError(f"{name}.start: {start} must be at least 1 step")
        if full < start:
            raise ConfigurationError(
                f"{name}.start: {start} is longer than the full window of {full}; lower it, or leave the callback out"
            )
        if epochs < 1:
            raise ConfigurationError(f"{name}.epochs: {epochs} must be at least 1; leave the callback out for none")
        self.start = start
        self.full = full
        self.epochs = epochs
        self.crop = crop or partial(crop_sequences, callback=name)
        self.lookback = full
        self._undo: Callable[[], None] | None = None

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._undo = change_training_batches(trainer, pl_module, lambda batch: self.crop(batch, self.lookback))

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.lookback = self._at(trainer.current_epoch)  # a run resumed in mid-epoch has no start of the epoch

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        before, self.lookback = self._at(trainer.current_epoch - 1), self._at(trainer.current_epoch)
        log_agreed(pl_module, {"lookback": float(self.lookback)})
        if self.lookback != before:
            publish(
                trainer, "lookback", f"epoch {trainer.current_epoch}: training windows of {self.lookback} steps",
                level=logging.INFO, lookback=self.lookback,
            )  # fmt: skip

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._unwrap()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._unwrap()

    def _at(self, epoch: int) -> int:
        return self.full if epoch < 0 else lookback_at(epoch, self.start, self.full, self.epochs)

    def _unwrap(self) -> None:
        if self._undo is not None:
            self._undo()
            self._undo = None
