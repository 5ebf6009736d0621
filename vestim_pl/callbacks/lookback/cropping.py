"""Cut batches to their last steps."""

from typing import Any

import torch
from torch import Tensor

from vestim_pl.errors import ConfigurationError

__all__ = ["crop_sequences"]


def crop_sequences(batch: Any, length: int, callback: str = "LookbackWarmup") -> Any:
    """Cut a batch to its last ``length`` steps, as views; a shorter batch is returned as it is.

    Args:
        batch: Named tuple with ``inputs [B, L, F]``, ``target [B, T]``, ``weight [B, T]`` and ``fresh [B]``, and
            optionally ``first_row [B]``, which is shifted; `SequenceBatch` is one.
        length: Steps to keep.
        callback: Name of the callback, for the messages.

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
