"""Lightning's ``metrics.csv``, on a disk that may be full."""

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
    """Lightning's ``CSVLogger``, which keeps the rows that it has written and reports in one line why it cannot write.

    A new metric makes Lightning write the whole file again, from nothing: on a full disk the rows of hours were lost.
    Here the new file takes the place of the old one when it is complete. Where rows cannot be written the run stops,
    and the file ends with the last whole row.

    Args:
        save_dir: Folder of the file.
        options: Further arguments of ``CSVLogger``.

    Raises:
        FileError: From the step in which rows cannot be written.

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
            writer: Any = self.experiment  # made with the first call, with its folder
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
            writer.metrics_keys = known  # these rows may yet be written
            raise
        finally:
            writer.metrics_file_path = str(path)

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Write the last rows; a run that is stopping for a reason of its own keeps that reason."""
        try:
            super().finalize(status)
        except FileError as error:
            if status == "success":
                raise
            _log.warning("the last %d rows of metrics are lost: %s", len(self.experiment.metrics), error)
