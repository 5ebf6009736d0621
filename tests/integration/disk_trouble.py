"""A callback that makes the run folder unusable in the middle of a training."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer


class DiskTrouble(Callback):
    """Removes the folder of the run, or makes it read-only, before a step.

    Args:
        kind: ``gone`` or ``read-only``.
        step: ``global_step`` at which it happens.
        folder: The folder; for ``read-only`` in a mount namespace of its own.

    """

    def __init__(self, kind: str, step: int, folder: str) -> None:
        self.kind, self.step, self.folder = kind, step, Path(folder).absolute()

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, *batch: Any) -> None:
        if trainer.global_step != self.step:
            return
        if self.kind == "gone":
            shutil.rmtree(self.folder)
        else:
            subprocess.run(["mount", "--bind", self.folder, self.folder], check=True)
            subprocess.run(["mount", "-o", "remount,bind,ro", self.folder], check=True)
