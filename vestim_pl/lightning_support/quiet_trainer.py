"""A trainer that fits nothing and writes nothing, for modules that read from their trainer."""

import logging
import math
import warnings
from typing import Any

from lightning.pytorch import Trainer

from vestim_pl.lightning_support.loop_progress import set_progress

__all__ = ["quiet_trainer"]


def quiet_trainer(epoch: int = 0, step: int = 0, batches: float = math.inf, **options: Any) -> Trainer:
    """Build a CPU trainer without logger, checkpoints or progress bar, and without printing anything.

    A ``training_step`` may read ``self.trainer`` (``log_every_n_steps``, ``global_step``), so it needs one outside
    ``fit`` too.

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
    logs = [logging.getLogger(name) for name in ("lightning.pytorch", "pytorch_lightning")]  # which imported last logs
    levels = [log.level for log in logs]
    for log in logs:
        log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            trainer = Trainer(
                accelerator="cpu", devices=1, logger=False, enable_checkpointing=False, enable_progress_bar=False,
                enable_model_summary=False, **options,
            )  # fmt: skip
    finally:
        for log, level in zip(logs, levels, strict=True):
            log.setLevel(level)
    trainer.training = True
    set_progress(trainer, epoch, step, batches)
    return trainer
