"""Keep the memory of one step for the next one, on the CPU."""

from lightning.pytorch import Callback, LightningModule, Trainer

from vestim_pl.callbacks.runtime.glibc_malloc import keep_freed_memory

__all__ = ["KeepFreedMemory"]


class KeepFreedMemory(Callback):
    """Keep freed memory for the next step during a run on the CPU, instead of requesting it from the system again.

    Backpropagation through a long window allocates and frees the same tens of megabytes every step. glibc, the C
    library of most Linux systems, returns large blocks at once, and the system creates new pages for the next step. On
    two cores this took a third to half of a step's time with windows of 200 to 400 steps; see ``docs/research_log.md``.

    In return, the process keeps its peak memory and the gaps between blocks until the end of the run. The callback does
    nothing on other devices, with other C libraries, or if the environment already configures malloc
    (``MALLOC_TRIM_THRESHOLD_`` and the like).

    Example::

        >>> from lightning.pytorch import Trainer
        >>> trainer = Trainer(callbacks=[KeepFreedMemory()], logger=False, accelerator="cpu")

    """

    def __init__(self) -> None:
        self._keeping = False

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if trainer.strategy.root_device.type == "cpu":
            self._keeping = keep_freed_memory()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._give_back()

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._give_back()

    def _give_back(self) -> None:
        if self._keeping:
            keep_freed_memory(False)
            self._keeping = False
