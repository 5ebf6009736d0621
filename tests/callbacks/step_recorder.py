"""Record the progress of a training that is about to be killed."""

from pathlib import Path
from typing import Any

from tests.which_lightning import Callback, LightningModule, Trainer


class StepRecorder(Callback):
    """Writes the number of optimizer steps into a file as soon as a step is done."""

    def __init__(self, path: str) -> None:
        self.path = Path(path)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.path.write_text(str(trainer.global_step))
