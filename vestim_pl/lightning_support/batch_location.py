"""Fields, rows and recordings of the non-finite values in a batch."""

from collections.abc import Sequence
from typing import Any

from lightning.pytorch import Trainer
from torch import Tensor

from vestim_pl.functional.finiteness import nonfinite_rows
from vestim_pl.lightning_support.nested_tensors import named_tensors
from vestim_pl.lightning_support.protocols import LocatesBatches

__all__ = ["locate_batch", "nonfinite_fields"]


def nonfinite_fields(batch: Any) -> dict[str, list[int]]:
    """Find the fields of a batch with non-finite values, and the rows of the first axis that hold them.

    Args:
        batch: Tensor, or nested container of tensors ``[B, ...]``; see `named_tensors`.

    Returns:
        Rows by field: the name in a named tuple, dataclass or dictionary, the position elsewhere.

    Example::

        >>> import torch
        >>> nonfinite_fields((torch.ones(2, 3), torch.tensor([0.0, float("inf")])))
        {'1': [1]}

    """
    found: dict[str, list[int]] = {}
    for name, tensor in [("batch", batch)] if isinstance(batch, Tensor) else named_tensors(batch):
        if tensor.is_floating_point() and (bad := nonfinite_rows(tensor)).any():
            found[name] = bad.reshape(-1).nonzero().flatten().tolist()
    return found


def locate_batch(trainer: Trainer, batch: Any, rows: Sequence[int] = (), limit: int = 8) -> list[dict[str, Any]]:
    """List the recordings and times that a batch was cut from, if the data module knows them.

    Args:
        trainer: Trainer, whose ``datamodule`` may implement `LocatesBatches`.
        batch: The batch.
        rows: Rows to locate; all rows if empty.
        limit: Most entries to return, so that an event stays readable.

    """
    datamodule = trainer.datamodule  # type: ignore[attr-defined]
    if not isinstance(datamodule, LocatesBatches):
        return []
    places = list(datamodule.locate(batch))
    chosen = [places[row] for row in rows if row < len(places)] or places
    return chosen[:limit]
