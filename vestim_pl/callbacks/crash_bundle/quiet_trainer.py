"""A trainer that does nothing, for modules that ask theirs."""

import logging
import math
import warnings
from typing import Any

from lightning.pytorch import Trainer

__all__ = ["quiet_trainer"]


def quiet_trainer(epoch: int = 0, step: int = 0, batches: float = math.inf, **options: Any) -> Trainer:
    """Trainer on CPU without logger, checkpoints or bars, made without a line on the terminal.

    A ``training_step`` may look at ``self.trainer`` (its ``log_every_n_steps``, its ``global_step``); run outside of a
    fit it needs one to look at.

    Args:
        epoch: Its ``current_epoch``.
        step: Its ``global_step``.
        batches: Its ``num_training_batches``.
        options: Further arguments of the trainer, such as ``max_epochs``.

    Example::

        >>> trainer = quiet_trainer(epoch=2, step=70)
        >>> trainer.current_epoch, trainer.global_step, trainer.training
        (2, 70, True)

    """
    log = logging.getLogger("lightning.pytorch")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            trainer = Trainer(
                accelerator="cpu", devices=1, logger=False, enable_checkpointing=False, enable_progress_bar=False,
                enable_model_summary=False, **options,
            )  # fmt: skip
    finally:
        log.setLevel(level)
    trainer.training = True
    loop = trainer.fit_loop
    loop.epoch_progress.current.completed = epoch
    loop.epoch_loop.automatic_optimization.optim_progress.optimizer.step.total.completed = step
    loop.max_batches = batches
    return trainer
