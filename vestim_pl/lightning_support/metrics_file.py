"""Lightning's ``metrics.csv``, written so that a full disk loses no rows."""

import logging
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.utilities import rank_zero_only

from vestim_pl.errors import FileError
from vestim_pl.files import appending, whole_file, writing

__all__ = ["MetricsFile"]

_log = logging.getLogger("vestim_pl")


class MetricsFile(CSVLogger):
    """Lightning's ``CSVLogger``, which keeps the written rows and reports in one line why it cannot write.

    When a new metric appears, Lightning writes the whole file again, which on a full disk loses all earlier rows. This
    class replaces the old file only when the new one is complete. If rows cannot be written, the run stops and the file
    ends with the last whole row. Uses internals of ``CSVLogger``; tested with lightning 2.6.6.

    Args:
        save_dir: Folder of the file.
        options: Further arguments of ``CSVLogger``.

    Raises:
        FileError: In the step whose rows cannot be written.

    Example::

        >>> logger = MetricsFile(".", name="", version="")
        >>> logger.log_metrics({"train/loss": 0.5}, step=0)
        >>> logger.save()
        >>> Path("metrics.csv").read_text().split()
        ['step,train/loss', '0,0.5']

    """

    def __init__(self, save_dir: str, **options: Any) -> None:
        super().__init__(save_dir, **options)

    @rank_zero_only
    def log_hyperparams(self, *arguments: Any, **options: Any) -> None:
        with writing(Path(self.log_dir) / "hparams.yaml"):
            super().log_hyperparams(*arguments, **options)

    @rank_zero_only
    def save(self) -> None:
        path = Path(self.log_dir) / "metrics.csv"
        with writing(path):
            writer: Any = self.experiment  # created by the first call, together with its folder
        known = list(writer.metrics_keys)
        try:
            if path.is_file() and not set().union(*writer.metrics) <= set(known):
                with whole_file(path) as writer.metrics_file_path:
                    writer.metrics_file_path.write_bytes(path.read_bytes())
                    super().save()
            else:
                with appending(path):
                    super().save()
        except BaseException:
            writer.metrics_keys = known  # these rows may still be written
            raise
        finally:
            writer.metrics_file_path = str(path)

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Write the last rows; if that fails after another error, only log it, so that the first error is reported."""
        try:
            super().finalize(status)
        except FileError as error:
            if status == "success":
                raise
            _log.warning("the last %d rows of metrics are lost: %s", len(self.experiment.metrics), error)
