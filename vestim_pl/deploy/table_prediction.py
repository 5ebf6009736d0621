"""Predict the rows of a table, prepared as the training prepared its files."""

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from vestim_pl.data.formats.raw_table import RawTable
from vestim_pl.data.preparation import PreparationSettings, PreparedRecording, prepare_recording
from vestim_pl.deploy.prediction import ADDED, RunningPrediction
from vestim_pl.errors import DataError

__all__ = ["TablePrediction"]

_ROWS = 65_536  # between two reports of progress


class TablePrediction:
    """Predict one file, whole or in pieces.

    A gap in time cuts the file into recordings, each of which starts from the zero state.

    Args:
        running: Predicts the prepared rows.
        settings: How the rows are prepared.
        label: Name of the file in messages.
        progress: Called with the number of rows that are done.

    Attributes:
        figures: Errors and counts of the rows so far.

    """

    def __init__(
        self,
        running: RunningPrediction,
        settings: PreparationSettings,
        label: str,
        progress: Callable[[int], object] = lambda rows: None,
    ) -> None:
        self._running = running
        self._settings = settings
        self._label = label
        self._progress = progress
        self.figures = running.figures

    def feed(self, table: pd.DataFrame | RawTable, carried: bool = False) -> pd.DataFrame:
        """Predict the next rows.

        Args:
            table: Rows of the file.
            carried: Whether the first of them is the last one of the piece before, which shows whether there is a gap
                between the pieces. It is not predicted again. Should both have the same time, both are taken.

        Returns:
            The columns of `ADDED` that apply, one row for each new row of the table, empty in rows that the preparation
            leaves out. With ``resample`` the prepared columns and those of `ADDED`, one row for each prepared row.

        Raises:
            DataError: If the rows cannot be used.

        """
        names = [str(name) for name in table.columns] if isinstance(table, pd.DataFrame) else table.names
        self._refuse_added(names)
        recordings = prepare_recording(table, self._settings, self._label)
        predicted = []
        for number, recording in enumerate(recordings):
            if number or not carried:
                self._running.restart()
            predicted.append(self._recording(recording, skipped=int(carried and _begins_table(recording))))
        self.figures.notes.update(dict.fromkeys(recordings[0].notes))
        if self._settings.resample is not None:
            return pd.concat(predicted, ignore_index=True)
        rows = len(table) if isinstance(table, pd.DataFrame) else len(table.frame)
        return _aligned(predicted, rows).iloc[int(carried) :].reset_index(drop=True)

    def _recording(self, recording: PreparedRecording, skipped: int) -> pd.DataFrame:
        parts = []
        for first in range(0, len(recording.time), _ROWS):
            span = slice(max(first, skipped), first + _ROWS)
            target = None if recording.target is None else recording.target[span]
            parts.append(self._running.feed(recording.inputs[span], target))
            self._progress(len(parts[-1]))
        added = pd.concat(parts, ignore_index=True)
        if self._settings.resample is not None:
            return pd.concat([recording.frame.reset_index(drop=True), added], axis=1)
        places = np.arange(len(added)) + skipped if recording.source_rows is None else recording.source_rows[skipped:]
        return added.set_axis(places)

    def _refuse_added(self, names: Sequence[str]) -> None:
        if taken := [name for name in names if name in ADDED]:
            raise DataError(
                f"{self._label}: has a column {taken[0]!r} already, from an earlier prediction; give the original table"
            )


def _begins_table(recording: PreparedRecording) -> bool:
    return recording.source_rows is not None and bool(recording.source_rows[0] == 0)


def _aligned(predicted: Sequence[pd.DataFrame], rows: int) -> pd.DataFrame:
    """Put the rows of all recordings back where they are in the table."""
    joined = predicted[0] if len(predicted) == 1 else pd.concat(predicted)
    if len(joined) < rows:
        joined = joined.reindex(np.arange(rows))
        if ADDED[-1] in joined:
            joined[ADDED[-1]] = joined[ADDED[-1]].fillna("")
    return joined
