"""Test a checkpoint: a table of errors, and a file of every estimate."""

from pathlib import Path

import lightning.pytorch as pl
import pandas as pd

from vestim_pl.app.interruption import finish_first
from vestim_pl.data import VoltageDataModule
from vestim_pl.estimator import VoltageEstimator
from vestim_pl.files import whole_file
from vestim_pl.reports.csv_cells import safe_table
from vestim_pl.reports.errors_by import errors_by
from vestim_pl.reports.recording_errors import RecordingErrors, error_table
from vestim_pl.reports.terminal import print_errors

__all__ = ["score_checkpoint"]


def score_checkpoint(
    trainer: pl.Trainer,
    estimator: VoltageEstimator,
    datamodule: VoltageDataModule,
    checkpoint: str | None,
    folder: Path,
) -> pd.DataFrame:
    """Test a checkpoint on the test split; writes errors by recording and by condition and all steps, prints a table.

    The files are ``test_errors.csv``, ``test_errors_by.csv`` and ``test_steps.parquet``.

    With several processes each tests a share of the recordings. All return the errors of the whole split; only the
    process of rank zero writes and prints.

    Args:
        trainer: Lightning's trainer.
        estimator: Gets the weights of the checkpoint.
        datamodule: The recordings, and how they are estimated.
        checkpoint: File that a training wrote; None where the estimator has its weights already.
        folder: Where the files go.

    Returns:
        RMSE, MAE and largest error in mV by recording and overall.

    Raises:
        FileError: If a file cannot be written; the table is printed nevertheless.

    """
    places = {
        name: datamodule.features.index(getattr(datamodule.columns, name))
        for name in ("soc", "current", "temperature")
        if getattr(datamodule.columns, name) in datamodule.features
    }
    collected = RecordingErrors(datamodule.table("test"), datamodule.sampling.horizon, places)
    trainer.callbacks.append(collected)  # type: ignore[attr-defined]
    try:
        trainer.test(
            estimator,
            datamodule=datamodule,
            ckpt_path=checkpoint,
            verbose=False,
            weights_only=True if checkpoint else None,
        )
    finally:
        trainer.callbacks.remove(collected)  # type: ignore[attr-defined]
    with finish_first("writing the test errors"):
        steps = collected.steps()
        errors = error_table(steps)
        if trainer.is_global_zero:
            _write(errors, steps, folder, datamodule.sampling.evaluation)
    return errors


def _write(errors: pd.DataFrame, steps: pd.DataFrame, folder: Path, evaluation: str) -> None:
    """Write the files, and print the table even on a full disk."""
    try:
        with whole_file(folder / "test_errors.csv") as partial:
            safe_table(errors).to_csv(partial, index=False)
        with whole_file(folder / "test_steps.parquet") as partial:
            steps.to_parquet(partial, index=False)
        with whole_file(folder / "test_errors_by.csv") as partial:
            safe_table(errors_by(steps)).to_csv(partial, index=False)
    finally:
        print_errors(errors, evaluation=evaluation)
