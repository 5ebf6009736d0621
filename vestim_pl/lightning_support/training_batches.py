"""Training batches: change them before the transfer, and find where they come from."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.utilities.signature_utils import is_param_in_hook_signature
from torch import Tensor

from vestim_pl.errors import ConfigurationError
from vestim_pl.functional.finiteness import nonfinite_rows
from vestim_pl.lightning_support.lightning_classes import overrides_hook
from vestim_pl.lightning_support.protocols import LocatesBatches, ShortensWindows, callbacks_with
from vestim_pl.lightning_support.tensors import named_tensors

__all__ = [
    "change_training_batches",
    "locate_batch",
    "nonfinite_fields",
    "refuse_batch_iterator",
    "taken_batch",
    "takes_batches_itself",
    "whole_batch",
]

HOOK = "on_before_batch_transfer"
CHANGES = "__training_batch_changes__"


def change_training_batches(
    trainer: Trainer, pl_module: LightningModule, change: Callable[[Any], Any], *, first: bool = False
) -> Callable[[], None]:
    """Apply a function to every training batch, but not to batches of validation, test and prediction.

    A callback cannot replace a batch in ``on_train_batch_start``. Therefore ``on_before_batch_transfer`` is wrapped, of
    the data module if it overrides that hook, else of the module. The change runs after the original hook and before
    the transfer, so that the changed batch is moved. All callers share one wrapper and can leave in any order. Tested
    with lightning 2.6.6.

    Args:
        trainer: Trainer that is about to fit.
        pl_module: Its module.
        change: Takes a batch and returns the changed one.
        first: Apply it before the changes of other callers, so that it gets whole batches.

    Returns:
        Function that removes the change; further calls do nothing.

    """
    datamodule: LightningDataModule | None = getattr(trainer, "datamodule", None)
    overridden = datamodule is not None and overrides_hook(datamodule, HOOK)
    owner: Any = datamodule if overridden else pl_module
    changes: list[Callable[[Any], Any]] | None = getattr(getattr(owner, HOOK), CHANGES, None)
    if changes is None:
        changes = []
        setattr(owner, HOOK, _wrapped(trainer, getattr(owner, HOOK), changes))
    changes.insert(0 if first else len(changes), change)

    def undo() -> None:
        if change in changes:
            changes.remove(change)
            if not changes:
                delattr(owner, HOOK)

    return undo


def _wrapped(trainer: Trainer, original: Callable[..., Any], changes: list[Callable[[Any], Any]]) -> Callable[..., Any]:
    @functools.wraps(original)
    def changed(batch: Any, dataloader_idx: int) -> Any:
        batch = original(batch, dataloader_idx)
        return functools.reduce(lambda value, change: change(value), changes, batch) if trainer.training else batch

    setattr(changed, CHANGES, changes)
    return changed


def nonfinite_fields(batch: Any) -> dict[str, list[int]]:
    """Find the fields of a batch with non-finite values, and the rows of the first axis that hold them.

    A field is called by its position in a tuple or list, and by its name elsewhere.

    Example::

        >>> import torch
        >>> nonfinite_fields((torch.ones(2, 3), torch.tensor([0.0, float("inf")])))
        {'1': [1]}

    """
    found: dict[str, list[int]] = {}
    for name, tensor in named_tensors(batch, "batch" if isinstance(batch, Tensor) else "", attributes=True):
        if tensor.is_floating_point() and (bad := nonfinite_rows(tensor)).any():
            found[name] = bad.reshape(-1).nonzero().flatten().tolist()
    return found


def takes_batches_itself(module: LightningModule) -> bool:
    """Whether ``training_step`` takes ``dataloader_iter``, so that hooks before it get the batch before."""
    return is_param_in_hook_signature(module.training_step, "dataloader_iter", explicit=True)


def taken_batch(trainer: Trainer) -> tuple[int, Any]:
    """Index and batch that a ``training_step`` with ``dataloader_iter`` has taken last. lightning 2.6.6."""
    fetcher: Any = trainer.fit_loop._data_fetcher
    return fetcher._batch_idx, fetcher._batch


def refuse_batch_iterator(module: LightningModule, callback: str, purpose: str) -> None:
    """Refuse a module whose ``training_step`` takes ``dataloader_iter``.

    Args:
        module: The module.
        callback: Name of the callback, for the message.
        purpose: What cannot be done to its batches, as a participle.

    Raises:
        ConfigurationError: If it does.

    """
    if takes_batches_itself(module):
        raise ConfigurationError(
            f"{callback}: training_step of {type(module).__name__} takes dataloader_iter, so its batches cannot be"
            f" {purpose}; take the batch, as in training_step(self, batch, batch_idx), or leave the callback out"
        )


def locate_batch(trainer: Trainer, batch: Any, rows: Sequence[int] = (), limit: int = 8) -> list[dict[str, Any]]:
    """List the recordings and times that rows of a batch were cut from, if the data module knows them.

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


def whole_batch(trainer: Trainer, batch: Any) -> Any:
    """Return the current batch with all steps of its windows, also where a callback has shortened them."""
    owners = callbacks_with(trainer, ShortensWindows)
    return owners[0].whole_batch(trainer) if owners else batch
