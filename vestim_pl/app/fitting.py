"""Lightning's ``fit``, with its errors of the user and the machine in one line."""

import re
from pathlib import Path
from pickle import UnpicklingError

import lightning.pytorch as pl
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from vestim_pl.app.interruption import now
from vestim_pl.app.processes import OtherProcesses
from vestim_pl.callbacks import GracefulInterrupt
from vestim_pl.errors import ConfigurationError, ProcessError, VestimError, name_error, printable
from vestim_pl.lightning_support.checkpoint_files import failed_while_restoring

__all__ = ["explain_missing_metric", "fit"]

_INTERVAL = "val_check_interval"  # Lightning compares it with the batches of an epoch when it has the data
_NO_METRIC = re.compile(r"metric `|monitored key")  # Lightning's words for a metric that nothing logs


def fit(
    trainer: pl.Trainer, estimator: pl.LightningModule, datamodule: pl.LightningDataModule, ckpt_path: str | None
) -> None:
    """Train, resuming from a checkpoint if there is one.

    Raises:
        ConfigurationError: If the checkpoint cannot be restored, or a callback monitors a metric that nothing logs.
        ProcessError: If another process of the training failed.

    """
    if any(isinstance(callback, GracefulInterrupt) for callback in trainer.callbacks):  # type: ignore[attr-defined]
        now("starting the training", "nothing was trained; the same command starts again")
    else:
        now("training", "nothing was saved at the stop, because callbacks has no interrupt")
    others = OtherProcesses(Path(trainer.default_root_dir))
    try:
        trainer.fit(estimator, datamodule=datamodule, ckpt_path=ckpt_path, weights_only=True if ckpt_path else None)
    except VestimError:
        raise
    except Exception as error:
        if trainer.world_size > 1 and trainer.is_global_zero and (reason := others.error()):
            raise ProcessError(reason) from error  # this process only sees a broken connection
        if failed_while_restoring(error):
            found = type(error).__name__ if isinstance(error, UnpicklingError) else printable(name_error(error))
            raise ConfigurationError(
                f"ckpt_path: {ckpt_path} cannot be resumed from ({found}): it is damaged or of a"
                " run with other settings; give another checkpoint"
            ) from error
        if reason := explain_missing_metric(error):
            raise ConfigurationError(reason) from error
        if isinstance(error, ValueError | MisconfigurationException) and _INTERVAL in str(error):
            raise ConfigurationError(f"trainer.{_INTERVAL}: {str(error).strip().partition('. ')[0]}") from error
        raise


def explain_missing_metric(error: Exception) -> str | None:
    """Explain an error of Lightning about a monitored metric that nothing logs; None for any other error.

    Example::

        >>> explain_missing_metric(RuntimeError("conditioned on metric `val/rmse` which is not available"))
        'callbacks: conditioned on metric `val/rmse` which is not available; correct its monitor'

    """
    reason = (str(error).splitlines() or [""])[0].partition(". HINT")[0]
    if isinstance(error, MisconfigurationException | RuntimeError) and _NO_METRIC.search(str(error)):
        return f"callbacks: {reason}; correct its monitor"
    return None
