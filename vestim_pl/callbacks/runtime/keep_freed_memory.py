"""Memory of one step kept for the next, on the CPU."""

from lightning.pytorch import Callback, LightningModule, Trainer

from vestim_pl.callbacks.runtime.glibc_malloc import keep_freed_memory

__all__ = ["KeepFreedMemory"]


class KeepFreedMemory(Callback):
    """Keeps freed memory for the next step during a run on the CPU, instead of asking the system for it every step.

    Backpropagation through a long window allocates and frees the same tens of megabytes every step. glibc, the C
    library of most Linux systems, gives large blocks back at once, and the system makes new pages for the next step. On
    two cores that took a third to half of a step's time with windows of 200 to 400 steps; see ``docs/research_log.md``.

    The price: during the run the process holds the most memory that it ever used at once, and gaps between blocks.
    What is unused goes back after it. On other devices, with other C libraries, and where the environment has settings
    of its own (``MALLOC_TRIM_THRESHOLD_`` and the like) nothing is done.

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
