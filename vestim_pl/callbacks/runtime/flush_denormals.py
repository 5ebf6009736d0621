"""Subnormal numbers to zero on the CPU, with a check that every worker does it."""

import logging

from lightning.pytorch import Callback, LightningModule, Trainer

from vestim_pl.callbacks.runtime.denormals import flush_denormals, is_flushing, workers_not_flushing
from vestim_pl.lightning_support.events import publish

__all__ = ["FlushDenormals"]


class FlushDenormals(Callback):
    """Treats subnormal numbers as zero on the CPU during a run, and checks that every worker thread does.

    Gradients far back in a long window fade into the subnormal range (below 1.2e-38), where a CPU is many times slower;
    as zeros they change nothing that could be seen. The mode is a thread's own and is only inherited: a worker that was
    started before it was set computes on with subnormal numbers, and then there is no gain at all. A callback comes
    late in somebody's program, so this one looks, by a parallel operation over subnormal numbers, which workers flush,
    and where it came too late it says so, with the line to put at the top of the program::

        import torch; torch.set_flush_denormal(True)

    After the run the calling thread gets its mode back; workers that were started meanwhile keep theirs. On any device
    but the CPU nothing is done.

    Event: ``flush_denormals`` where workers do not flush, or the processor cannot.

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
                f"FlushDenormals comes too late for {late} of {workers} threads: they were started before it and go on "
                "computing with subnormal numbers, many times slower; put this line at the top of the program, before "
                "the first tensor operation: import torch; torch.set_flush_denormal(True)"
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
