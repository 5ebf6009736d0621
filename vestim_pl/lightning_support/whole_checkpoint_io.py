"""A checkpoint file is whole or absent, whatever happens while it is written."""

import io
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch import Trainer

from vestim_pl.files import whole_file, writing
from vestim_pl.lightning_support.lightning_classes import checkpoint_callbacks

__all__ = ["WholeCheckpointIO", "keep_checkpoints_whole", "remove_partial_checkpoints", "write_whole"]

_PARTIAL = ".partial"


class WholeCheckpointIO(TorchCheckpointIO):
    """Writes beside the target and takes its place in one step; reads and removes as Lightning does.

    Lightning's own class writes to the temporary folder and moves the file from there. Where the two folders lie on
    different file systems, moving means copying over the target: a process killed meanwhile, or a disk that fills up,
    leaves neither the old checkpoint nor the new one, and a stray copy in the temporary folder.

    Remote paths (``s3://...``) are left to Lightning.

    Example::

        >>> from lightning.pytorch import Trainer
        >>> trainer = Trainer(plugins=[WholeCheckpointIO()], logger=False, enable_checkpointing=False)

    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        if "://" in str(path) or storage_options is not None:
            super().save_checkpoint(checkpoint, path, storage_options)
            return
        content = io.BytesIO()
        torch.save(
            checkpoint, content
        )  # to memory: on a full disk, torch's own writer reports its state and not the disk
        write_whole(Path(path), content.getbuffer())


def write_whole(path: Path, content: bytes | memoryview) -> None:
    """Write a file so that, at any moment, ``path`` holds all of the old content or all of the new.

    The content goes to ``<path>.partial`` and from the cache to the disk; then one rename replaces the target. Without
    the first ``fsync`` a power failure could leave a renamed but empty file, without the second one the old name.

    Args:
        path: Where the file is to be; missing folders are made.
        content: Its bytes.

    Raises:
        FileError: With the old file as it was, and the partial one removed.

    """
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as partial, partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        _sync_folder(path.parent)


def keep_checkpoints_whole(trainer: Trainer) -> None:
    """Have a trainer write its checkpoints by `WholeCheckpointIO`, unless it has a class of its own for that.

    Partial files that a killed run left in the folders of its checkpoints are removed. Call it from ``setup``, when
    those folders are known.

    Example::

        >>> trainer = Trainer(logger=False, enable_checkpointing=False)
        >>> keep_checkpoints_whole(trainer)
        >>> type(trainer.strategy.checkpoint_io).__name__
        'WholeCheckpointIO'

    """
    # By name, because ``lightning`` and ``pytorch_lightning`` each have this class.
    if type(trainer.strategy.checkpoint_io).__name__ == "TorchCheckpointIO":
        trainer.strategy.checkpoint_io = WholeCheckpointIO()
    if trainer.is_global_zero:
        folders = {getattr(callback, "dirpath", None) for callback in checkpoint_callbacks(trainer)}
        remove_partial_checkpoints(Path(folder) for folder in folders if folder and "://" not in str(folder))


def remove_partial_checkpoints(folders: Iterable[Path]) -> None:
    """Remove what runs killed in the middle of a write have left."""
    for folder in folders:
        for partial in folder.glob(f"*.ckpt*{_PARTIAL}"):
            partial.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Make the rename itself permanent; Windows has no such call and needs none."""
    if hasattr(os, "O_DIRECTORY"):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
