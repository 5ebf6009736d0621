"""Estimate a recording chunk by chunk, in the way in which the training evaluated its recordings."""

import torch
from torch import Tensor

from vestim_pl.data.training_data import Evaluation
from vestim_pl.estimator import VoltageEstimator
from vestim_pl.networks import State

__all__ = ["RunningEstimate"]

_STEPS = 16_384  # computed at once; cuDNN's recurrent kernels fail above 65,535
_WINDOW_STEPS = 65_536  # rows of all windows that are computed at once


class RunningEstimate:
    """Estimate one recording, in chunks of any size; the result does not depend on them.

    As a stream, the state is carried over the whole recording. In windows, every row is estimated from the
    ``lookback`` rows that end with it, from the zero state; the first rows of the recording from those that there are.
    Only the rows that later windows still need are kept.

    Args:
        estimator: The trained estimator, in evaluation mode.
        evaluation: Streams or windows, and the horizon.

    Example::

        >>> estimator = VoltageEstimator(["Current"], {"name": "LSTM", "hidden_sizes": [4]}).eval()
        >>> estimator.scaler.fit(torch.randn(100, 1), torch.randn(100))
        >>> inputs, running = torch.randn(50, 1), RunningEstimate(estimator, Evaluation())
        >>> chunks = [running.feed(inputs[:20]), running.feed(inputs[20:])]
        >>> torch.allclose(torch.cat(chunks), RunningEstimate(estimator, Evaluation()).feed(inputs), atol=1e-6)
        True

    """

    def __init__(self, estimator: VoltageEstimator, evaluation: Evaluation) -> None:
        self._estimator = estimator
        self._evaluation = evaluation
        self._state: State | None = None
        self._pairs: Tensor | None = None
        self._before: Tensor | None = None  # rows of unfinished windows
        self._early = torch.full((evaluation.horizon,), torch.nan)  # estimates of rows that have not come yet

    @torch.inference_mode()
    def feed(self, inputs: Tensor) -> Tensor:
        """Estimate the next rows.

        Args:
            inputs: ``[n, F]`` float32 features in physical units, on the CPU.

        Returns:
            ``[n]`` voltage in volts on the CPU; NaN in the first ``horizon`` rows, before which nothing was seen.

        """
        if not len(inputs):
            return torch.empty(0)
        device = self._estimator.scaler.input_mean.device
        estimate = self._as_stream if self._evaluation.mode == "streams" else self._as_windows
        parts = [estimate(part.to(device)).cpu() for part in inputs.split(_STEPS)]
        volts = torch.cat([self._early, *parts])
        self._early = volts[len(inputs) :]
        return volts[: len(inputs)]

    def _as_stream(self, rows: Tensor) -> Tensor:
        volts, self._state = self._estimator(rows.unsqueeze(0), self._state)
        return volts[0]

    def _as_windows(self, rows: Tensor) -> Tensor:
        lookback = self._evaluation.lookback
        rows = self._with_pairs(rows)
        before = rows[:0] if self._before is None else self._before
        # The first rows, at which no whole window ends, are a stream from the zero state.
        head, short = rows[:0, 0], min(len(rows), lookback - 1 - len(before))
        if short > 0:
            head = self._as_stream(rows[:short])
        known = torch.cat([before, rows])
        self._before = known[len(known) - min(len(known), lookback - 1) :].clone()
        if len(known) < lookback:
            return head
        windows = known.unfold(0, lookback, 1).transpose(1, 2)  # a view
        batch = max(1, _WINDOW_STEPS // lookback)
        return torch.cat([head, *(self._estimator(part)[0][:, -1] for part in windows.split(batch))])

    def _with_pairs(self, rows: Tensor) -> Tensor:
        """Add the voltages of the RC pairs, which know what came before the window."""
        pairs = self._estimator.rc_pairs
        if pairs is None:
            return rows
        state = pairs.zero_state(1, rows.device, rows.dtype) if self._pairs is None else self._pairs
        extended, self._pairs = pairs(rows.unsqueeze(0), state)
        return extended[0]
