"""Changing training batches before they go to the device, for several callbacks at once."""

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
    """Apply a function to every training batch; validation, test and prediction keep theirs.

    A callback cannot replace a batch in ``on_train_batch_start``, so ``on_before_batch_transfer`` of whoever owns it
    (the data module if it overrides it, else the module) is wrapped: after the owner's own hook and before the
    transfer, so that a shorter batch is moved. One wrapper serves all callers, who may leave in any order.

    Args:
        trainer: Trainer that is about to fit.
        pl_module: Its module.
        change: Takes a batch and returns the one to train on.
        first: Before the changes that are there already, so that it sees whole batches; else after them.

    Returns:
        Function that takes the change away again; further calls of it do nothing.

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
