"""Kill a run: no exception, no hook, no time to save."""

import os
import signal
from typing import Any

from tests.which_lightning import Callback, LightningModule, Trainer


class KillAt(Callback):
    """Kills its own process before the batch that follows optimizer step ``step``."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if trainer.global_step >= self.step:
            os.kill(os.getpid(), signal.SIGKILL)
