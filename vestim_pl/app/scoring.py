"""Test a checkpoint, the best one after a training: tables of errors and all estimates; and its intervals."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import lightning.pytorch as pl
import pandas as pd
from lightning.pytorch.callbacks import ModelCheckpoint
from omegaconf import DictConfig

from vestim_pl.app.interruption import finish_first
from vestim_pl.data import VoltageDataModule
from vestim_pl.data.training_data import TrainingData, rows_outside
from vestim_pl.deploy.intervals import PredictionIntervals, calibrate
from vestim_pl.estimator import VoltageEstimator
from vestim_pl.files import whole_file
from vestim_pl.lightning_support.lightning_classes import model_checkpoints
from vestim_pl.reports.csv_cells import safe_table
from vestim_pl.reports.errors_by import errors_by, interval_coverage
from vestim_pl.reports.recording_errors import RecordingErrors, error_table
from vestim_pl.reports.terminal import print_checkpoints, print_errors

__all__ = [
    "best_checkpoint", "calibrated_intervals", "limits_of", "score_checkpoint", "scored_steps",
    "why_no_best", "write_scores",
]  # fmt: skip


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
    intervals: PredictionIntervals | None = None,
) -> pd.DataFrame:
    """Test a checkpoint on the test split; see `scored_steps` and `write_scores`."""
    steps = scored_steps(trainer, estimator, datamodule, checkpoint, intervals)
    return write_scores(trainer, steps, folder, datamodule.sampling.evaluation)


def scored_steps(
    trainer: pl.Trainer,
    estimator: VoltageEstimator,
    datamodule: VoltageDataModule,
    checkpoint: str | None = None,
    intervals: PredictionIntervals | None = None,
) -> pd.DataFrame:
    """Estimate every step of the test split that is scored.

    With several processes each estimates a share of the recordings, and all return the steps of the whole split.

    Args:
        trainer: Lightning's trainer.
        estimator: Gets the weights of the checkpoint.
        datamodule: The recordings, and how they are estimated.
        checkpoint: File that a training wrote; None where the estimator has its weights already.
        intervals: Prediction intervals of these weights.

    Returns:
        Columns ``recording``, ``time`` [s], ``measured`` and ``estimated`` [V]; ``soc``, ``current``, ``temperature``
        where they are features; ``lower_v`` and ``upper_v`` [V] with intervals; ``outside`` where the range of the
        training is known: whether the row is outside it in any feature.

    """
    collected = RecordingErrors(datamodule.table("test"), datamodule.sampling.horizon, _places(datamodule))
    with _collecting(trainer, collected):
        weights_only = True if checkpoint else None
        trainer.test(estimator, datamodule=datamodule, ckpt_path=checkpoint, verbose=False, weights_only=weights_only)
    steps, features = collected.steps(), tuple(datamodule.features)
    inputs = datamodule.table("test").inputs[:, : len(features)].cpu()[collected.rows()].numpy()
    if intervals is not None:
        half = intervals.half_widths(inputs)
        steps = steps.assign(lower_v=steps["estimated"] - half, upper_v=steps["estimated"] + half)
    if ranges := TrainingData.of(estimator.hparams.get("data")).ranges:
        outside = rows_outside(inputs, features, ranges)
        steps = steps.assign(outside=pd.Series(outside.any(axis=1), steps.index))
    return steps


def write_scores(trainer: pl.Trainer, steps: pd.DataFrame, folder: Path, evaluation: str) -> pd.DataFrame:
    """Write errors by recording and by condition and all steps, and print a table.

    The files are ``test_errors.csv``, ``test_errors_by.csv`` and ``test_steps.parquet``. Only the process of rank zero
    writes and prints.

    Args:
        trainer: Lightning's trainer.
        steps: From `scored_steps`; of several checkpoints one after the other, with a column ``checkpoint``.
        folder: Where the files go.
        evaluation: ``windows`` or ``streams``, for the title of the table.

    Returns:
        RMSE, MAE and largest error in mV by recording and overall.

    Raises:
        FileError: If a file cannot be written; the table is printed nevertheless.

    """
    with finish_first("writing the test errors"):
        errors = error_table(steps)
        if trainer.is_global_zero:
            _write(errors, steps, folder, evaluation)
    return errors


def limits_of(steps: pd.DataFrame) -> list[str]:
    """Say how far the test was from the training: rows outside its range, and the coverage of the intervals.

    Args:
        steps: From `scored_steps`.

    Example::

        >>> steps = pd.DataFrame({"measured": [3.7, 3.8], "lower_v": 3.65, "upper_v": 3.75, "outside": [False, True]})
        >>> limits_of(steps)
        ['50.0 % of the measured voltages are within the interval', '1 of 2 rows (50 %) is outside the training range']

    """
    lines = [
        f"{share:.1%} of the measured voltages are within the interval" for share in interval_coverage(steps).values()
    ]
    outside = int(steps["outside"].sum()) if "outside" in steps else 0
    if outside:
        verb = "is" if outside == 1 else "are"
        lines.append(
            f"{outside:,} of {len(steps):,} rows ({100 * outside / len(steps):.2g}%) {verb} outside the training range"
        )
    return [line.replace("%", " %") for line in lines]


def calibrated_intervals(
    trainer: pl.Trainer, estimator: VoltageEstimator, datamodule: VoltageDataModule, checkpoint: str, coverage: float
) -> PredictionIntervals | None:
    """Compute the prediction intervals of a checkpoint from its errors on the validation split.

    Nothing is logged to metrics, and nothing about the training changes.

    Args:
        trainer: Lightning's trainer.
        estimator: Gets the weights of the checkpoint.
        datamodule: The recordings, and how they are estimated.
        checkpoint: File that a training wrote.
        coverage: Share of rows that the intervals are to contain.

    Returns:
        None where the validation rows are too few.

    """
    collected = RecordingErrors(datamodule.table("val"), datamodule.sampling.horizon, _places(datamodule))
    with _collecting(trainer, collected):
        trainer.predict(
            estimator,
            dataloaders=datamodule.evaluation_dataloader("val"),
            ckpt_path=checkpoint,
            return_predictions=False,
            weights_only=True,
        )
    return calibrate(collected.steps(), coverage, collected.features.get("temperature", -1))


def _places(datamodule: VoltageDataModule) -> dict[str, int]:
    """Return the index of each quantity that is a feature."""
    columns = {name: getattr(datamodule.columns, name) for name in ("soc", "current", "temperature")}
    return {name: datamodule.features.index(c) for name, c in columns.items() if c in datamodule.features}


@contextmanager
def _collecting(trainer: pl.Trainer, callback: pl.Callback) -> Iterator[None]:
    trainer.callbacks.append(callback)  # type: ignore[attr-defined]
    try:
        yield
    finally:
        trainer.callbacks.remove(callback)  # type: ignore[attr-defined]


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
        (print_checkpoints if "checkpoint" in errors else print_errors)(errors, evaluation=evaluation)
