"""The last good state on the disk: written on probation, renamed once it proved good."""

from pathlib import Path

from lightning.pytorch import Trainer

from vestim_pl.errors import ConfigurationError
from vestim_pl.lightning_support.lightning_classes import model_checkpoints

__all__ = ["LastGoodFile"]


class LastGoodFile:
    """``last_good.ckpt``, which never holds a state that the next loss proved bad.

    The checkpoint is written under another name and takes the place of the one before it in a single rename. Only what
    this training wrote does so: a file on probation of a killed run is removed, as nobody knows what became of it.

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
        self._on_probation = False

    @property
    def due(self) -> bool:
        """Whether the next snapshot is to be written."""
        return self.every is not None and self.since + 1 >= self.every

    def path(self, trainer: Trainer) -> Path:
        """Where the file is."""
        if self.dirpath is not None:
            return Path(self.dirpath) / "last_good.ckpt"
        for callback in model_checkpoints(trainer):
            if callback.dirpath is not None:
                return Path(callback.dirpath) / "last_good.ckpt"
        return Path(trainer.default_root_dir) / "checkpoints" / "last_good.ckpt"

    def start(self, trainer: Trainer) -> None:
        """Begin a training: remove what an earlier one left on probation."""
        self._on_probation = self.every is not None
        self.discard(trainer)

    def write(self, trainer: Trainer) -> None:
        """Write the present state on probation; on all ranks. A ``fast_dev_run`` writes none."""
        if trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        try:
            trainer.save_checkpoint(self._pending(trainer))
        finally:  # saving may recover, and so discard the file before it is there
            self._on_probation = True

    def confirm(self, trainer: Trainer) -> None:
        """A snapshot proved good: so did the file that was written with it, if there is one."""
        self.since += 1
        if self._on_probation and trainer.is_global_zero and self._pending(trainer).exists():
            self._pending(trainer).replace(self.path(trainer))
        self._on_probation = False
        if self.every is not None and self.since >= self.every:
            self.since = 0

    def discard(self, trainer: Trainer) -> None:
        """The state on probation proved bad, or the training ends before it could prove good."""
        if self._on_probation and trainer.is_global_zero:
            self._pending(trainer).unlink(missing_ok=True)
        self._on_probation = False

    def _pending(self, trainer: Trainer) -> Path:
        return self.path(trainer).with_name("last_good.ckpt.pending")
