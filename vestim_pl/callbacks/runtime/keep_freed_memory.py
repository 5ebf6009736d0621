"""Keep the memory of one step for the next one, on the CPU, by settings of glibc's malloc."""

import ctypes
import os
import platform

from lightning.pytorch import Callback, LightningModule, Trainer

__all__ = ["KeepFreedMemory", "keep_freed_memory"]

# Parameters of glibc's mallopt, from malloc.h.
_M_TRIM_THRESHOLD = -1
_M_MMAP_MAX = -4

_NEVER_TRIM = -1
_DEFAULT_MMAP_MAX = 65_536
_DEFAULT_MAX_TRIM_THRESHOLD = 64 * 2**20  # upper limit of glibc's automatic adjustment
_MALLOC_VARIABLES = ("MALLOC_MMAP_MAX_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "MALLOC_TOP_PAD_")


class KeepFreedMemory(Callback):
    """Keep freed memory for the next step during a run on the CPU, instead of requesting it from the system again.

    Backpropagation through a long window allocates and frees the same tens of megabytes every step (the values that the
    backward pass needs). glibc, the C library of most Linux systems, returns a large block at once, and requests a new
    one for the next step. The system creates the pages of a new block when they are first written, at the cost of an
    interrupt and of zeroing each page. On two cores this took a third to half of a step's time with windows of 200 to
    400 steps; see ``docs/research_log.md``. It depends on the sizes and the order of earlier allocations, so the same
    step may be fast in one program and slow in another.

    In return, the process keeps its peak memory until the end of the run and, because blocks of all sizes share one
    heap, the gaps between them. The callback does nothing on other devices, with other C libraries, or if the
    environment already configures malloc (``MALLOC_TRIM_THRESHOLD_`` and the like).

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


def keep_freed_memory(enabled: bool = True) -> bool:
    """Keep freed memory for the next allocation, or return what is free now and restore glibc's defaults.

    Source: ``mallopt(3)``, ``M_MMAP_MAX`` and ``M_TRIM_THRESHOLD``. glibc cannot report the current values, and the
    first call ends its automatic adjustment of the threshold.

    Returns:
        Whether anything was set. False with another C library, or if the environment already configures malloc
        (``MALLOC_TRIM_THRESHOLD_`` and the like, or ``glibc.malloc`` in ``GLIBC_TUNABLES``); that setting stays.

    Example::

        >>> kept = keep_freed_memory()
        >>> keep_freed_memory(False) == kept
        True

    """
    if platform.libc_ver()[0] != "glibc" or _set_by_environment():
        return False
    libc = ctypes.CDLL(None)
    libc.mallopt(_M_MMAP_MAX, 0 if enabled else _DEFAULT_MMAP_MAX)
    libc.mallopt(_M_TRIM_THRESHOLD, _NEVER_TRIM if enabled else _DEFAULT_MAX_TRIM_THRESHOLD)
    if not enabled:
        libc.malloc_trim(ctypes.c_size_t(0))
    return True


def _set_by_environment() -> bool:
    tunables = os.environ.get("GLIBC_TUNABLES", "")
    return "glibc.malloc" in tunables or any(name in os.environ for name in _MALLOC_VARIABLES)
