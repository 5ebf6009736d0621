"""A trainer that does nothing, for modules that ask theirs."""

import logging
import warnings

from lightning.pytorch import Trainer

__all__ = ["quiet_trainer"]


def quiet_trainer() -> Trainer:
    """Trainer on CPU without logger, checkpoints or bars, made without a line on the terminal.

    A ``training_step`` may look at ``self.trainer`` (its ``log_every_n_steps``, its ``global_step``); run outside of a
    fit it needs one to look at.

    Example::

        >>> quiet_trainer().global_step
        0

    """
    log = logging.getLogger("lightning.pytorch")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return Trainer(
                accelerator="cpu", devices=1, logger=False, enable_checkpointing=False, enable_progress_bar=False,
                enable_model_summary=False,
            )  # fmt: skip
    finally:
        log.setLevel(level)
