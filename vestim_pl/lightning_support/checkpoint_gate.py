"""A door in front of a trainer's checkpoint files that a poisoned checkpoint does not pass."""

from collections.abc import Callable
from typing import Any

from lightning.fabric.plugins import CheckpointIO

__all__ = ["CheckpointGate"]


class CheckpointGate(CheckpointIO):
    """Passes everything on to another ``CheckpointIO``, but asks before a checkpoint is written.

    All of Lightning's ways to save end here: ``ModelCheckpoint`` of any kind, weights only, on exception, and
    ``Trainer.save_checkpoint``. A file that is not written cannot be poisoned, and the good one it would have replaced
    stays.

    Args:
        inner: What writes, loads and removes the files.
        admit: Called with checkpoint and path before each write; False leaves it out, an exception stops the caller.

    Example::

        >>> from lightning.fabric.plugins import TorchCheckpointIO
        >>> gate = CheckpointGate(TorchCheckpointIO(), admit=lambda checkpoint, path: False)
        >>> gate.save_checkpoint({}, "never_written.ckpt")

    """

    def __init__(self, inner: CheckpointIO, admit: Callable[[dict[str, Any], Any], bool]) -> None:
        self.inner = inner
        self.admit = admit

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        if self.admit(checkpoint, path):
            self.inner.save_checkpoint(checkpoint, path, storage_options)

    def load_checkpoint(self, *args: Any, **options: Any) -> dict[str, Any]:
        return self.inner.load_checkpoint(*args, **options)

    def remove_checkpoint(self, path: Any) -> None:
        self.inner.remove_checkpoint(path)

    def teardown(self) -> None:
        self.inner.teardown()
