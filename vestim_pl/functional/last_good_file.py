"""The last good state on the disk: written on probation, renamed once it proved good."""

from pathlib import Path

from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from vestim_pl.functional.errors import ConfigurationError

__all__ = ["LastGoodFile"]


class LastGoodFile:
    """``last_good.ckpt``, which never holds a state that the next loss proved bad.

    The checkpoint is written under another name and takes the place of the one before it in a single rename.

    Args:
        every: Confirmed snapshots between two files; None writes none.
        dirpath: Folder; that of the first ModelCheckpoint, or ``checkpoints`` under the trainer's root, if None.

    Raises:
        ConfigurationError: If ``every`` is not positive.

    Example::

        >>> LastGoodFile(None, None).due
        False

    """

    def __init__(self, every: int | None, dirpath: str | None) -> None:
        if every is not None and every < 1:
            raise ConfigurationError(f"checkpoint_every: {every} is not positive; use 1 or more, or null for no file")
        self.every, self.dirpath = every, dirpath
        self.since = 0

    @property
    def due(self) -> bool:
        """Whether the next snapshot is to be written."""
        return self.every is not None and self.since + 1 >= self.every

    def path(self, trainer: Trainer) -> Path:
        """Where the file is."""
        if self.dirpath is not None:
            return Path(self.dirpath) / "last_good.ckpt"
        for callback in trainer.checkpoint_callbacks:
            if isinstance(callback, ModelCheckpoint) and callback.dirpath is not None:
                return Path(callback.dirpath) / "last_good.ckpt"
        return Path(trainer.default_root_dir) / "checkpoints" / "last_good.ckpt"

    def write(self, trainer: Trainer) -> None:
        """Write the present state on probation; on all ranks."""
        trainer.save_checkpoint(self._pending(trainer))

    def confirm(self, trainer: Trainer) -> None:
        """A snapshot proved good: so did the file that was written with it, if there is one."""
        self.since += 1
        if trainer.is_global_zero and self._pending(trainer).exists():
            self._pending(trainer).replace(self.path(trainer))
        if self.every is not None and self.since >= self.every:
            self.since = 0

    def discard(self, trainer: Trainer) -> None:
        """The state on probation proved bad."""
        if trainer.is_global_zero:
            self._pending(trainer).unlink(missing_ok=True)

    def _pending(self, trainer: Trainer) -> Path:
        return self.path(trainer).with_name("last_good.ckpt.pending")
