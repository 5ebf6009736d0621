"""Where in a batch, and in which recordings, the non-finite values are."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from lightning.pytorch import Trainer
from torch import Tensor

from vestim_pl.lightning_support.protocols import LocatesBatches

__all__ = ["locate_batch", "nonfinite_fields"]


def nonfinite_fields(batch: Any) -> dict[str, list[int]]:
    """Fields of a batch that hold a NaN or an infinity, each with the rows of the first axis where.

    Args:
        batch: Tensor, or nested tuple, named tuple, list or dictionary of tensors ``[B, ...]``.

    Returns:
        Rows by field: the name in a named tuple or dictionary, the position elsewhere.

    Example::

        >>> nonfinite_fields((torch.ones(2, 3), torch.tensor([0.0, float("inf")])))
        {'1': [1]}

    """
    found: dict[str, list[int]] = {}
    for name, tensor in _tensors(batch, ""):
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            bad = ~torch.isfinite(tensor)
            rows = bad.flatten(1).any(1) if bad.ndim > 1 else bad.reshape(-1)
            found[name or "batch"] = rows.nonzero().flatten().tolist()
    return found


def locate_batch(trainer: Trainer, batch: Any, rows: Sequence[int] = (), limit: int = 8) -> list[dict[str, Any]]:
    """Recordings and times that a batch was cut from, where the data module can tell.

    Args:
        trainer: Trainer, whose ``datamodule`` may implement `LocatesBatches`.
        batch: The batch.
        rows: Rows in question; all where none is named.
        limit: Most entries to return, so that an event stays readable.

    Example::

        >>> locate_batch(Trainer(logger=False, enable_checkpointing=False), torch.ones(2))
        []

    """
    datamodule = trainer.datamodule  # type: ignore[attr-defined]
    if not isinstance(datamodule, LocatesBatches):
        return []
    places = list(datamodule.locate(batch))
    chosen = [places[row] for row in rows if row < len(places)] or places
    return chosen[:limit]


def _tensors(value: Any, name: str) -> list[tuple[str, Tensor]]:
    if isinstance(value, Tensor):
        return [(name, value)]
    if isinstance(value, Mapping):
        items = [(str(key), item) for key, item in value.items()]
    elif isinstance(value, tuple) and hasattr(value, "_fields"):
        items = list(zip(value._fields, value, strict=True))
    elif isinstance(value, tuple | list):
        items = [(str(index), item) for index, item in enumerate(value)]
    else:
        return []
    return [found for key, item in items for found in _tensors(item, f"{name}.{key}" if name else key)]
