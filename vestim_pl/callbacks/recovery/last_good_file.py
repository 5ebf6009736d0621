"""A checkpoint of the last good state, renamed into place once the next loss has confirmed it."""

from pathlib import Path

from lightning.pytorch import Trainer

from vestim_pl.errors import ConfigurationError
from vestim_pl.lightning_support.lightning_classes import model_checkpoints

__all__ = ["LastGoodFile"]


class LastGoodFile:
    """Writes ``last_good.ckpt``, which never holds a state with a bad next loss.

    The checkpoint is written under another name and replaces the one before in a single rename. A pending file of a
    killed run is removed, because it is not known whether its state was good.

    Args:
        every: Confirmed snapshots between two files; None writes none.
        dirpath: Folder; None for that of the first ModelCheckpoint, or ``checkpoints`` under the trainer's root.

    Raises:
        ConfigurationError: If ``every`` is not positive.

    """

    def __init__(self, every: int | None, dirpath: str | None) -> None:
        if every is not None and every < 1:
            raise ConfigurationError(f"checkpoint_every: {every} is not positive; use 1 or more, or null for no file")
        self.every, self.dirpath = every, dirpath
        self.since = 0
        self._is_pending = False

    @property
    def due(self) -> bool:
        return self.every is not None and self.since + 1 >= self.every

    def path(self, trainer: Trainer) -> Path:
        if self.dirpath is not None:
            return Path(self.dirpath) / "last_good.ckpt"
        for callback in model_checkpoints(trainer):
            if callback.dirpath is not None:
                return Path(callback.dirpath) / "last_good.ckpt"
        return Path(trainer.default_root_dir) / "checkpoints" / "last_good.ckpt"

    def start(self, trainer: Trainer) -> None:
        """Start a training and remove the pending file of an earlier one."""
        self._is_pending = self.every is not None
        self.discard(trainer)

    def write(self, trainer: Trainer) -> None:
        """Write the present state as the pending file; call it on all ranks. A ``fast_dev_run`` writes none."""
        if trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        try:
            trainer.save_checkpoint(self._pending(trainer))
        finally:  # saving may trigger a recovery, which discards the file before it exists
            self._is_pending = True

    def confirm(self, trainer: Trainer) -> None:
        """Rename the pending file, if there is one, as the snapshot taken with it was confirmed."""
        self.since += 1
        if self._is_pending and trainer.is_global_zero and self._pending(trainer).exists():
            self._pending(trainer).replace(self.path(trainer))
        self._is_pending = False
        if self.every is not None and self.since >= self.every:
            self.since = 0

    def discard(self, trainer: Trainer) -> None:
        """Remove the pending file, as its state was bad or the training ends before it was confirmed."""
        if self._is_pending and trainer.is_global_zero:
            self._pending(trainer).unlink(missing_ok=True)
        self._is_pending = False

    def _pending(self, trainer: Trainer) -> Path:
        return self.path(trainer).with_name("last_good.ckpt.pending")
