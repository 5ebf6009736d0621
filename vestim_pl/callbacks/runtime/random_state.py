"""Save the random number generators in checkpoints, so that a resumed run draws the same numbers."""

from collections.abc import Callable
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning_utilities.core.apply_func import apply_to_collection

from vestim_pl.lightning_support.exact_resume import (
    before_first_iterator,
    in_validation,
    keep_validation,
    settle_validation,
    validation_follows,
)
from vestim_pl.lightning_support.module_state import load_extras, save_extras
from vestim_pl.lightning_support.processes import gather
from vestim_pl.lightning_support.random_state import random_states, restore_random_states

__all__ = ["RandomStateCheckpoint"]

_MID_EPOCH, _VALIDATION_END, _EPOCH_END = "mid_epoch", "validation_end", "epoch_end"


class RandomStateCheckpoint(Callback):
    """Save the state of all random number generators in every checkpoint, and restore it to resume exactly.

    Lightning's checkpoints hold no such state, so dropout and shuffling of a resumed run differ from those of an
    uninterrupted one. The moment of restoring matters: Lightning creates the data loader's iterator, which draws a
    seed, before training starts, and at a different moment than in an uninterrupted run. This callback therefore saves
    two states, the current one and the one from which the iterator of the epoch was created, and restores each where it
    belongs:

    ==================================== ===============================================================================
    checkpoint written                   restored
    ==================================== ===============================================================================
    at the end of a training epoch       before the iterator is created
    at the end of the validation after   after the iterator is created (Lightning creates another one for the next
    the last batch                       epoch)
    within an epoch                      the epoch's state before the iterator is created, the current one before the
                                         first batch; exact with a stateful data loader, while Lightning restarts the
                                         epoch's data in the same order with a plain one
    after a batch and before the end of  the epoch's state before the iterator is created, the state after the batch
    the validation that follows it       before the validation, which then runs completely
    ==================================== ===============================================================================

    In the last case, Lightning alone omits the validation or repeats a part of it. This callback changes the loop
    counters in the checkpoint so that the whole validation runs. Generators (``torch.Generator``) that you create are
    not saved. Put this callback first if other callbacks draw random numbers.

    Under DDP, the states of every rank are saved, together with what the module adds in its own ``on_save_checkpoint``,
    such as a carried recurrent state. Each rank has its own lanes, and Lightning would only save those of rank 0. The
    module's ``on_load_checkpoint`` is called a second time with the data of its own rank.

    The states are in the checkpoint under ``random_state``, as tensors and numbers.

    Example::

        >>> from lightning.pytorch import Trainer
        >>> trainer = Trainer(callbacks=[RandomStateCheckpoint()], logger=False, accelerator="cpu")

    """

    def __init__(self) -> None:
        self._position = _EPOCH_END
        self._epoch_start: dict[str, Any] = {}
        self._before_validation: dict[str, Any] = {}
        self._loaded: dict[str, Any] | None = None
        self._iterator_is_made = False
        self._cancel: Callable[[], None] = _nothing

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        saved = checkpoint.get("random_state", [])
        self._loaded = (
            saved[trainer.global_rank] if trainer.state.fn == "fit" and trainer.global_rank < len(saved) else None
        )
        if self._loaded is not None and self._loaded.get("module"):
            load_extras(pl_module, self._loaded["module"])

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._position, validates, loaded = _EPOCH_END, False, self._loaded
        if loaded is not None:
            self._position, validates = loaded["position"], loaded.get("validates", False)
            state = loaded["epoch_start" if self._position == _MID_EPOCH or validates else "now"]

        def begin() -> None:
            if loaded is not None:
                restore_random_states(state)
            self._epoch_start = random_states()

        self._cancel()
        self._cancel = before_first_iterator(trainer, begin)
        # True also if Lightning creates the iterator before the next ``on_train_epoch_start``.
        self._iterator_is_made = self._position == _EPOCH_END and not validates

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        settle_validation(trainer)
        loaded = self._loaded
        if loaded is None:
            return
        if loaded["position"] == _VALIDATION_END or loaded.get("validates"):
            restore_random_states(loaded["now"])
            self._before_validation = loaded["now"]
        if loaded["position"] != _MID_EPOCH or loaded.get("validates"):
            self._loaded = None

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not self._iterator_is_made:
            self._epoch_start = random_states()
        self._iterator_is_made = False

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        self._position = _MID_EPOCH
        if self._loaded is not None:
            restore_random_states(self._loaded["now"])
            self._loaded = None

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.is_last_batch:
            self._position = _EPOCH_END
        if validation_follows(trainer):
            self._before_validation = random_states()

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.sanity_checking and self._position == _EPOCH_END:
            self._position = _VALIDATION_END

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._position = _EPOCH_END

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._cancel()
        self._cancel = _nothing

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self.teardown(trainer, pl_module, "fit")

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        state: dict[str, Any] = {"now": random_states(), "epoch_start": self._epoch_start, "position": self._position}
        if keep_validation(trainer, checkpoint):
            state["validates"] = True
            state["position"] = _MID_EPOCH if self._position == _MID_EPOCH else _EPOCH_END
            if in_validation(trainer):
                state["now"] = self._before_validation
        if trainer.world_size > 1:
            state["module"] = apply_to_collection(save_extras(pl_module), torch.Tensor, torch.Tensor.cpu)
        checkpoint["random_state"] = gather(trainer, state)


def _nothing() -> None:
    """Cancel nothing; a function of the module, so that the callback can be pickled."""
