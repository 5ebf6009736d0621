"""Machines for the Quick Test: one that slows down during a training, and one with a simulated clock."""

import time
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer


class SlowFrom(Callback):
    """Sleeps in every batch from an epoch on.

    Args:
        epoch: First slow epoch.
        seconds: Time to sleep in each of its batches.

    """

    def __init__(self, epoch: int, seconds: float) -> None:
        self.epoch, self.seconds = epoch, seconds

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if trainer.current_epoch >= self.epoch:
            time.sleep(self.seconds)


class SimulatedClock:
    """Replaces the module ``time``: a batch takes 0.1 s, however busy the machine is."""

    def __init__(self) -> None:
        self.wall = self.cpu = 0.0

    def perf_counter(self) -> float:
        return self.wall

    def process_time(self) -> float:
        return self.cpu


CLOCK = SimulatedClock()


class Pace(Callback):
    """Advances the simulated clock with every batch.

    Args:
        slow_from: First slow epoch.
        factor: Times the usual wall time that a batch takes from then on; the processor time stays.

    """

    def __init__(self, slow_from: int = 10_000, factor: float = 1.0) -> None:
        self.slow_from, self.factor = slow_from, factor

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        CLOCK.wall += 0.1 * (self.factor if trainer.current_epoch >= self.slow_from else 1.0)
        CLOCK.cpu += 0.1
