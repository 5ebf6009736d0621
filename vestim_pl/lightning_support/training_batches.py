"""Change training batches before they are moved to the device, for several callbacks at once."""

import functools
from collections.abc import Callable
from typing import Any

from lightning.pytorch import LightningDataModule, LightningModule, Trainer

from vestim_pl.lightning_support.lightning_classes import overrides_hook

__all__ = ["change_training_batches"]

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
