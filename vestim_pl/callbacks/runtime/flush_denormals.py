"""Flush subnormal numbers to zero on the CPU, which is up to ten times slower with them."""

import logging

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from vestim_pl.lightning_support.events import publish

__all__ = ["FlushDenormals", "is_flushing", "workers_not_flushing"]

_GRAIN = 32768  # fewest elements of an elementwise operation that torch gives to a worker
_TINY = 1  # bit pattern of the smallest positive float32, which is subnormal


class FlushDenormals(Callback):
    """Treat subnormal numbers as zero on the CPU during a run, and check that every worker thread does so.

    Gradients far back in a long window are subnormal (below 1.2e-38). CPUs compute with such numbers in microcode,
    which makes a whole training step two to ten times slower. Setting them to zero has no visible effect.

    Each thread has its own mode and passes it on to the threads that it starts. Torch's workers start with the first
    parallel operation and live as long as the program, so a mode set after that never reaches them, and then nothing is
    gained. A callback may run too late in a program. It therefore finds out, by a parallel operation over subnormal
    numbers, which workers flush. If some do not, the event names the line to put at the top of the program::

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
        if not torch.set_flush_denormal(True):
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
            torch.set_flush_denormal(self._before)
            self._before = None


def is_flushing() -> bool:
    """Whether the calling thread flushes; torch cannot report it, so this computes with a subnormal number."""
    return _survivors(1)[0] == 0


def workers_not_flushing() -> tuple[int, int]:
    """Count torch's workers that still compute with subnormal numbers, and all workers with the calling thread.

    Torch splits the multiplication of a tensor by one into one part per worker. If the subnormal numbers in a part
    survive, its worker does not flush. This starts the workers if they are not running yet.
    """
    workers = torch.get_num_threads()
    kept = _survivors(workers)
    return sum(count > 0 for count in kept), workers


def _survivors(parts: int) -> list[int]:
    """Count the subnormal numbers that survive a multiplication by one, in each of the equal parts of a tensor."""
    size = 2 * _GRAIN if parts > 1 else 1
    # Built and read as bits, because a conversion or a comparison would itself flush the numbers.
    tiny = torch.full((parts * size,), _TINY, dtype=torch.int32).view(torch.float32)
    bits = (tiny * 1.0).view(torch.int32)
    return [int((part != 0).sum()) for part in bits.view(parts, size)]
