"""A ``CheckpointIO`` that can refuse to write a checkpoint."""

from collections.abc import Callable
from typing import Any

from lightning.fabric.plugins import CheckpointIO

__all__ = ["CheckpointGate"]


class CheckpointGate(CheckpointIO):
    """Passes all calls on to another ``CheckpointIO``, but asks before a checkpoint is written.

    Everything in Lightning that saves uses it: ``ModelCheckpoint`` of any kind, weights only, on exception, and
    ``Trainer.save_checkpoint``. If a checkpoint is not written, the earlier file in its place stays.

    Args:
        inner: Writes, loads and removes the files.
        admit: Called with checkpoint and path before each write; False skips the write.

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
