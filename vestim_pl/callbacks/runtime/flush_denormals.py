"""Flush subnormal numbers to zero on the CPU during a run, and check that every worker does so."""

import logging

from lightning.pytorch import Callback, LightningModule, Trainer

from vestim_pl.callbacks.runtime.denormals import flush_denormals, is_flushing, workers_not_flushing
from vestim_pl.lightning_support.events import publish

__all__ = ["FlushDenormals"]


class FlushDenormals(Callback):
    """Treat subnormal numbers as zero on the CPU during a run, and check that every worker thread does so.

    Gradients far back in a long window fade into the subnormal range (below 1.2e-38), where a CPU is many times slower.
    Setting them to zero has no visible effect. Each thread has its own mode, inherited when it starts: a worker that
    started before the mode was set keeps computing with subnormal numbers, and then nothing is gained. A callback may
    run too late in a program. It therefore finds out, by a parallel operation over subnormal numbers, which workers
    flush. If some do not, the event names the line to put at the top of the program::

        import torch; torch.set_flush_denormal(True)

    After the run, the calling thread returns to its previous mode; workers that started during the run keep theirs.
    The callback does nothing on other devices.

    Event: ``flush_denormals`` if some workers do not flush, or if the processor cannot.

    Example::

        >>> from lightning.pytorch import Trainer
        >>> trainer = Trainer(callbacks=[FlushDenormals()], logger=False, accelerator="cpu")

    """

    def __init__(self) -> None:
        self._before: bool | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if trainer.strategy.root_device.type != "cpu":
            return
        if self._before is None:
            self._before = is_flushing()
        if not flush_denormals(True):
            publish(trainer, "flush_denormals", "this processor cannot flush subnormal numbers", level=logging.INFO)
            return
        late, workers = workers_not_flushing()
        if late:
            reason = (
                f"FlushDenormals was set after {late} of {workers} threads had started; those threads do not flush "
                "denormals and can be many times slower; put this line at the top of the program, before the first "
                "tensor operation: import torch; torch.set_flush_denormal(True)"
            )
            publish(trainer, "flush_denormals", reason, late=late, workers=workers)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._give_back()

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._give_back()

    def _give_back(self) -> None:
        if self._before is not None:
            flush_denormals(self._before)
            self._before = None
