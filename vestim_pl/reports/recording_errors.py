"""Collect the estimated and measured voltage of every scored step."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from vestim_pl.data import RecordingTable
from vestim_pl.functional.sequence_batch import SequenceBatch
from vestim_pl.lightning_support.rank_agreement import gather

__all__ = ["RecordingErrors", "error_table"]


def error_table(steps: pd.DataFrame) -> pd.DataFrame:
    """Compute RMSE, MAE and largest error in mV for every recording, and over all in the last row.

    Args:
        steps: Columns ``recording``, ``measured`` [V] and ``estimated`` [V], one row per scored step. With a column
            ``checkpoint``, the table has it too, and the recordings and an ``overall`` row for each.

    Example::

        >>> steps = pd.DataFrame({"recording": ["a", "a"], "measured": [3.7, 3.7], "estimated": [3.703, 3.696]})
        >>> error_table(steps).round(2).to_dict("records")[0]
        {'recording': 'a', 'steps': 2, 'rmse_mv': 3.54, 'mae_mv': 3.5, 'max_error_mv': 4.0}

    """
    if "checkpoint" in steps:
        parts = steps.groupby("checkpoint", sort=False, observed=True)
        tables = {str(name): error_table(part.drop(columns="checkpoint")) for name, part in parts}
        return pd.concat(tables, names=["checkpoint"]).reset_index("checkpoint").reset_index(drop=True)
    error = ((steps["estimated"] - steps["measured"]) * 1000.0).astype("float64")
    frame = pd.DataFrame({"recording": steps["recording"].astype("object"), "error": error})
    rows = [_errors(str(name), group["error"].to_numpy()) for name, group in frame.groupby("recording", sort=True)]
    return pd.DataFrame([*rows, _errors("overall", frame["error"].to_numpy())])


def _errors(name: str, error: "np.ndarray[Any, np.dtype[np.float64]]") -> dict[str, object]:
    return {
        "recording": name,
        "steps": len(error),
        "rmse_mv": float(np.sqrt(np.mean(error**2))),
        "mae_mv": float(np.mean(np.abs(error))),
        "max_error_mv": float(np.max(np.abs(error), initial=0.0)),
    }


class RecordingErrors(Callback):
    """Collect the estimated voltage of every scored step of a test, or of a prediction, which logs nothing.

    With several processes each estimates its share; at the end every process has all steps.

    Args:
        table: The rows of the test split.
        horizon: Samples from a sequence's input to the estimated one, as in the sampling.
        features: Names of features that the table of steps keeps, with their index.

    """

    def __init__(self, table: RecordingTable, horizon: int = 0, features: Mapping[str, int] | None = None) -> None:
        self.table = table
        self.horizon = horizon
        self.features = dict(features or {})
        self._rows: list[Tensor] = []
        self._estimated: list[Tensor] = []

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._rows.clear()
        self._estimated.clear()

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: SequenceBatch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        skipped = batch.inputs.shape[1] - batch.target.shape[1]  # steps that are read but not estimated
        steps = torch.arange(batch.target.shape[1], device=batch.target.device) + skipped + self.horizon
        rows = batch.first_row[:, None] + steps
        scored = batch.weight > 0
        self._rows.append(rows[scored].cpu())
        self._estimated.append(outputs[scored].cpu())

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.on_test_start(trainer, pl_module)

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: SequenceBatch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        self.on_test_batch_end(trainer, pl_module, outputs[:, -batch.target.shape[1] :], batch, batch_idx)

    def on_predict_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.on_test_epoch_end(trainer, pl_module)

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        own = torch.cat([torch.empty(0, dtype=torch.int64), *self._rows]), torch.cat([torch.empty(0), *self._estimated])
        rows, estimated = zip(*gather(trainer, own), strict=True)
        self._rows, self._estimated = list(rows), list(estimated)

    def rows(self) -> Tensor:
        """Row in the table of every scored step, in order."""
        return torch.cat(self._rows).sort().values

    def steps(self) -> pd.DataFrame:
        """Table of scored steps: ``recording``, ``time`` [s], ``measured`` [V], ``estimated`` [V] and the features."""
        rows = torch.cat(self._rows)
        order = torch.argsort(rows)
        rows, estimated = rows[order], torch.cat(self._estimated)[order]
        return pd.DataFrame(
            {
                "recording": np.asarray(self.table.names)[self.table.recording_of(rows)],
                "time": np.asarray(self.table.time)[rows],
                "measured": self.table.target.cpu()[rows].numpy(),
                "estimated": estimated.numpy(),
                **{name: self.table.inputs[:, place].cpu()[rows].numpy() for name, place in self.features.items()},
            }
        )
