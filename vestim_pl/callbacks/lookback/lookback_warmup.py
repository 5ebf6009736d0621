"""Train on short windows first and on full windows later."""

import logging
from collections.abc import Callable
from functools import partial
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from vestim_pl.callbacks.lookback.cropping import crop_sequences
from vestim_pl.errors import ConfigurationError
from vestim_pl.lightning_support.events import publish
from vestim_pl.lightning_support.logged_metrics import log_agreed
from vestim_pl.lightning_support.training_batches import change_training_batches, refuse_batch_iterator
from vestim_pl.settings.checks import check_integers

__all__ = ["LookbackWarmup", "lookback_at"]


class LookbackWarmup(Callback):
    """Grow the training window from ``start`` to ``full`` steps over the first epochs.

    A short window is cheap and its gradient hardly vanishes. A network therefore first learns from the last steps, in a
    fraction of the time, and then from earlier ones. Sequence-length warmup is known from language models (Li et al.
    2022, arXiv 2108.06084), where it allows a higher initial learning rate without divergence.

    During the fit, a wrapper around ``on_before_batch_transfer`` cuts every training batch to its last steps before it
    is moved to the device. Validation, test and prediction keep the full window. The length depends only on the epoch,
    so a resumed run is exact without any state in the checkpoint. With `AdaptiveLookback`, the shorter window applies.

    ======================= =========================================================================================
    logged key              meaning
    ======================= =========================================================================================
    ``lookback``            steps of the training windows in this epoch, once per epoch
    ======================= =========================================================================================

    Each change also publishes a ``lookback`` event.

    Args:
        start: Window length in epoch 0, in steps.
        full: Window length from epoch ``epochs`` on, in steps; longer batches are cut to it.
        epochs: Epochs until the full window.
        crop: Function of a batch and a number of steps that returns the batch cut to its last steps; None for
            batches with the fields of `SequenceBatch`.

    Raises:
        ConfigurationError: If an argument is out of range, if a batch has another type and ``crop`` is None, or if
            lanes carry a state from batch to batch (streams), whose history would get a gap.

    Example::

        >>> warmup = LookbackWarmup(start=50, full=200, epochs=3)
        >>> pairs = LookbackWarmup(start=50, full=200, epochs=3, crop=lambda batch, n: (batch[0][:, -n:], batch[1]))

    """

    def __init__(self, start: int, full: int, epochs: int, crop: Callable[[Any, int], Any] | None = None) -> None:
        name = type(self).__name__
        self.start, self.full, self.epochs = start, full, epochs
        check_integers(self, name, start=1, epochs=1)
        if full < start:
            raise ConfigurationError(
                f"{name}.start: {start} is longer than the full window of {full}; lower it, or remove the callback"
            )
        self.crop = crop or partial(crop_sequences, callback=name)
        self.lookback = full
        self._undo: Callable[[], None] | None = None

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        refuse_batch_iterator(pl_module, type(self).__name__, "shortened")
        self._undo = change_training_batches(trainer, pl_module, lambda batch: self.crop(batch, self.lookback))

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.lookback = self._at(trainer.current_epoch)  # a run resumed within an epoch skips on_train_epoch_start

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


def lookback_at(epoch: int, start: int, full: int, epochs: int) -> int:
    """Compute the window length of an epoch: equal steps from ``start`` in epoch 0 to ``full`` from ``epochs`` on.

    Example::

        >>> [lookback_at(epoch, start=50, full=200, epochs=3) for epoch in range(5)]
        [50, 100, 150, 200, 200]

    """
    if epoch >= epochs or start >= full:
        return full
    return start + (full - start) * epoch // epochs
