"""Checkpoint files: each is complete or absent."""

import io
import os
import traceback
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch import Trainer

from vestim_pl.files import whole_file, writing
from vestim_pl.lightning_support.lightning_classes import checkpoint_callbacks, lightning_classes

__all__ = [
    "WholeCheckpointIO",
    "failed_while_restoring",
    "keep_checkpoints_whole",
    "remove_partial_checkpoints",
    "write_whole",
]

_PARTIAL = ".partial"


class WholeCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint beside the target and renames it; reads and removes as Lightning does.

    Lightning's own class writes to the temporary folder and moves the file from there. Between different file systems,
    moving copies over the target. If the process is killed meanwhile or the disk fills up, neither the old nor the new
    checkpoint is left, and a stray copy stays in the temporary folder.

    Remote paths (``s3://...``) are left to Lightning.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        if "://" in str(path) or storage_options is not None:
            super().save_checkpoint(checkpoint, path, storage_options)
            return
        content = io.BytesIO()
        torch.save(checkpoint, content)  # to memory, because torch's own writer does not report a full disk as such
        write_whole(Path(path), content.getbuffer())


def write_whole(path: Path, content: bytes | memoryview) -> None:
    """Write a file, and missing folders, so that ``path`` always holds either all of the old or all of the new content.

    The content is written to ``<path>.partial`` and flushed to the disk, and one rename replaces the target. Without
    the first ``fsync`` a power failure could leave an empty file, without the second one the old file.

    Raises:
        FileError: If it cannot be written; the old file is unchanged and the partial file removed.

    """
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as partial, partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        _sync_folder(path.parent)


def keep_checkpoints_whole(trainer: Trainer) -> None:
    """Make a trainer write its checkpoints with `WholeCheckpointIO`, unless it has a custom ``CheckpointIO``.

    Removes partial files of a killed run from the folders of the checkpoints. Call it in ``setup``, when the folders
    are known.
    """
    if type(trainer.strategy.checkpoint_io) in lightning_classes("plugins.TorchCheckpointIO"):
        trainer.strategy.checkpoint_io = WholeCheckpointIO()
    if trainer.is_global_zero:
        folders = {getattr(callback, "dirpath", None) for callback in checkpoint_callbacks(trainer)}
        remove_partial_checkpoints(Path(folder) for folder in folders if folder and "://" not in str(folder))


def remove_partial_checkpoints(folders: Iterable[Path]) -> None:
    """Remove the files of runs that were killed while writing."""
    for folder in folders:
        for partial in folder.glob(f"*.ckpt*{_PARTIAL}"):
            partial.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Flush the rename to the disk; Windows has no such call and does not need it."""
    if hasattr(os, "O_DIRECTORY"):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


_RESTORING = ("resume_start", "resume_end", "restore")  # functions of Lightning's checkpoint_connector


def failed_while_restoring(error: BaseException) -> bool:
    """Whether ``trainer.fit(ckpt_path=...)`` failed while a checkpoint was loaded into trainer, module or optimizers.

    Lightning does not check the content of a checkpoint, so damage can raise any error. The functions in the traceback
    distinguish it from a bug in a callback or in ``setup`` of a module. Tested with lightning 2.6.6.
    """
    return any(
        frame.f_code.co_filename.endswith("checkpoint_connector.py")
        and frame.f_code.co_name.lstrip("_").startswith(_RESTORING)
        for frame, _ in traceback.walk_tb(error.__traceback__)
    )
