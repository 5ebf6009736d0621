"""Test a checkpoint, the best one after a training: a table of errors, and a file of every estimate."""

from pathlib import Path

import lightning.pytorch as pl
import pandas as pd
from lightning.pytorch.callbacks import ModelCheckpoint
from omegaconf import DictConfig

from vestim_pl.app.interruption import finish_first
from vestim_pl.data import VoltageDataModule
from vestim_pl.estimator import VoltageEstimator
from vestim_pl.files import whole_file
from vestim_pl.lightning_support.lightning_classes import model_checkpoints
from vestim_pl.reports.csv_cells import safe_table
from vestim_pl.reports.recording_errors import RecordingErrors, error_table
from vestim_pl.reports.terminal import print_errors

__all__ = ["best_checkpoint", "score_checkpoint", "why_no_best"]


def best_checkpoint(trainer: pl.Trainer) -> ModelCheckpoint | None:
    """Find the callback that kept a best checkpoint; None if no callback did."""
    kept = [callback for callback in model_checkpoints(trainer) if callback.best_model_path]
    return kept[0] if kept else None


def why_no_best(config: DictConfig) -> str:
    """Explain why a complete training has no best checkpoint."""
    if config.callbacks.get("checkpoint") is None:
        return "callbacks has no checkpoint; write callbacks=[default,...] to add to the default ones"
    return "no validation ended; check trainer.check_val_every_n_epoch and trainer.limit_val_batches"


def score_checkpoint(
    trainer: pl.Trainer,
    estimator: VoltageEstimator,
    datamodule: VoltageDataModule,
    checkpoint: str | None,
    folder: Path,
) -> pd.DataFrame:
    """Test a checkpoint on the test split; writes ``test_errors.csv`` and ``test_steps.parquet``, prints the table.

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
    soc = datamodule.columns.soc
    collected = RecordingErrors(
        datamodule.table("test"),
        horizon=datamodule.sampling.horizon,
        soc=datamodule.features.index(soc) if soc in datamodule.features else None,
    )
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
    """Write both files, and print the table even on a full disk."""
    try:
        with whole_file(folder / "test_errors.csv") as partial:
            safe_table(errors).to_csv(partial, index=False)
        with whole_file(folder / "test_steps.parquet") as partial:
            steps.to_parquet(partial, index=False)
    finally:
        print_errors(errors, evaluation=evaluation)
