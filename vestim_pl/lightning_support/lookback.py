"""Windows that grow over the first epochs, and batches cut to them."""

from typing import Any

import torch
from lightning.pytorch import Trainer
from torch import Tensor

from vestim_pl.errors import ConfigurationError
from vestim_pl.lightning_support.protocols import ShortensWindows, callbacks_with

__all__ = ["crop_sequences", "lookback_at", "whole_batch"]


def lookback_at(epoch: int, start: int, full: int, epochs: int) -> int:
    """Compute the window length of an epoch, which grows in equal steps from ``start`` to ``full``.

    Args:
        epoch: Epoch, from 0.
        start: Steps in epoch 0.
        full: Steps from epoch ``epochs`` on.
        epochs: Number of epochs with fewer than ``full`` steps.

    Example::

        >>> [lookback_at(epoch, start=50, full=200, epochs=3) for epoch in range(5)]
        [50, 100, 150, 200, 200]

    """
    if epoch >= epochs or start >= full:
        return full
    return start + (full - start) * epoch // epochs


def crop_sequences(batch: Any, length: int, callback: str = "LookbackWarmup") -> Any:
    """Cut a batch to its last ``length`` steps.

    Args:
        batch: Named tuple with ``inputs [B, L, F]``, ``target [B, T]``, ``weight [B, T]`` and ``fresh [B]``, and
            optionally ``first_row [B]``, which is shifted; `SequenceBatch` is one.
        length: Steps to keep.
        callback: Name of the callback, for the messages.

    Returns:
        Views of the batch; the batch itself if it is not longer.

    Raises:
        ConfigurationError: If the batch is of another type, or if lanes continue from the batch before, because
            cutting their first steps would leave a gap in their history.

    Example::

        >>> from vestim_pl.functional.sequence_batch import SequenceBatch
        >>> batch = SequenceBatch.of(torch.arange(5.0).view(1, 5, 1), torch.arange(5.0).view(1, 5))
        >>> crop_sequences(batch, 2).target
        tensor([[3., 4.]])

    """
    if not (
        hasattr(batch, "_replace") and all(hasattr(batch, name) for name in ("inputs", "target", "weight", "fresh"))
    ):
        raise ConfigurationError(
            f"{callback}: cannot cut a batch of type {type(batch).__name__}; pass crop=, a function of the batch and"
            " of the number of last steps to keep"
        )
    if not bool(batch.fresh.all()):
        raise ConfigurationError(
            f"{callback}: sequences of this batch continue from the batch before (fresh is false), so no steps may be"
            " cut off; use it with sampling=windows, or leave it out with sampling=streams"
        )
    steps = batch.inputs.shape[1]
    if steps <= length:
        return batch
    fields: dict[str, Tensor] = {name: getattr(batch, name)[:, -length:] for name in ("inputs", "target", "weight")}
    if hasattr(batch, "first_row"):
        first_row = batch.first_row
        fields["first_row"] = torch.where(first_row < 0, first_row, first_row + (steps - length))
    return batch._replace(**fields)


def whole_batch(trainer: Trainer, batch: Any) -> Any:
    """Return the current batch with all steps of its windows, even if a callback has shortened them.

    Args:
        trainer: The trainer, whose callbacks may implement `ShortensWindows`.
        batch: The batch of the training step, returned if no callback shortens it.

    """
    owners = callbacks_with(trainer, ShortensWindows)
    return owners[0].whole_batch(trainer) if owners else batch
