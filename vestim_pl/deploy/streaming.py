"""Estimate voltages one sample at a time."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vestim_pl.data.preparation.meaning.agreement import ALIKE_INTERVAL
from vestim_pl.deploy.checkpoint import copy_estimator, load_estimator
from vestim_pl.deploy.measurements import CellValues, same_kind, stack_cells
from vestim_pl.errors import ConfigurationError, DataError
from vestim_pl.estimator import VoltageEstimator
from vestim_pl.networks import State
from vestim_pl.settings.names import nearest

__all__ = ["StreamingEstimator"]

_MOST_STEPS = 65_535  # limit of a cuDNN recurrent kernel


class StreamingEstimator:
    """Estimate the voltage of one cell, or of several at once, sample by sample, as a battery management system does.

    The result equals that of the whole recording offline. Samples must come at the rate of the training data, which is
    the attribute ``interval``. The estimator is copied, so training it further has no effect here.

    A non-finite measurement is refused before it reaches the state, which it would never leave.

    Args:
        estimator: The trained estimator.
        cells: Number of cells C, estimated in parallel.
        device: Device of the computation; that of the estimator by default.
        current: Feature that ``step`` takes as ``current``, in amperes.
        temperature: Feature for ``temperature``, in degC.
        soc: Feature for ``soc``, 0..1.
        interval: Seconds between your samples, to be compared with those of the training; None compares nothing.

    Attributes:
        interval: Seconds between samples; None if neither the checkpoint nor the caller knows them.
        features: Names of the features, in the order of the last axis of `run`.
        cells: Number of cells C.
        device: Device of the computation.

    Raises:
        ConfigurationError: If ``cells`` is below 1, or ``interval`` is not that of the training.

    Example::

        >>> estimator = VoltageEstimator(["SOC", "Current", "Temp"], {"name": "LSTM", "hidden_sizes": [8]})
        >>> estimator.scaler.fit(torch.randn(100, 3), 3.7 + 0.1 * torch.randn(100))
        >>> stream = StreamingEstimator(estimator)
        >>> volts = stream.step(current=-1.5, temperature=25.0, soc=0.8)
        >>> type(volts).__name__
        'float'
        >>> pack = StreamingEstimator(estimator, cells=3)
        >>> pack.step(current=-1.5, temperature=[24.0, 25.0, 26.0], soc=[0.8, 0.81, 0.79]).shape
        (3,)

    """

    def __init__(
        self,
        estimator: VoltageEstimator,
        cells: int = 1,
        device: str | torch.device | None = None,
        *,
        current: str = "Current",
        temperature: str = "Temp",
        soc: str = "SOC",
        interval: float | None = None,
    ) -> None:
        if cells < 1:
            raise ConfigurationError(f"cells: {cells} is not positive; choose at least 1")
        trained = estimator.interval
        if interval is not None and trained is not None and abs(interval - trained) > ALIKE_INTERVAL * trained:
            raise ConfigurationError(
                f"interval: samples every {interval:g} s, but the estimator was trained with rows {trained:g} s apart; "
                "feed it at that rate, or train with data.resample"
            )
        self.interval = interval if trained is None else trained
        self.cells = cells
        self.features: tuple[str, ...] = tuple(estimator.hparams["features"])
        self._names = {"current": current, "temperature": temperature, "soc": soc}
        self._estimator = copy_estimator(estimator, device)
        self.device = self._estimator.scaler.input_mean.device
        self._state: State = ()
        self.reset()

    @classmethod
    def from_checkpoint(
        cls, path: str | Path, cells: int = 1, device: str | torch.device = "cpu", **options: Any
    ) -> "StreamingEstimator":
        """Build from a checkpoint.

        Args:
            path: Checkpoint of a training.
            cells: Number of cells C, estimated in parallel.
            device: Device of the computation.
            options: ``current``, ``temperature``, ``soc``, ``interval`` of the constructor.

        Raises:
            ConfigurationError: If the file is missing, damaged, or no checkpoint of a voltage estimator.

        """
        return cls(load_estimator(path, device), cells, device, **options)

    def step(
        self,
        current: CellValues | None = None,
        temperature: CellValues | None = None,
        soc: CellValues | None = None,
        **others: CellValues,
    ) -> float | NDArray[np.float32] | Tensor:
        """Take one sample of every cell and estimate its terminal voltage.

        Args:
            current: Current in amperes, discharge negative: one number for all cells, or ``[C]``.
            temperature: Temperature in degC, in the same form.
            soc: State of charge, 0..1, in the same form.
            others: Other features by name, in the same form.

        Returns:
            Terminal voltage in volts: a float for one cell measured by numbers, else ``[C]``, as a tensor if one was
            given and as an array otherwise.

        Raises:
            ConfigurationError: If a feature is missing or unknown.
            DataError: If a measurement has the wrong shape or is non-finite; the state stays unchanged.

        """
        values = self._in_order({"current": current, "temperature": temperature, "soc": soc}, others)
        with torch.inference_mode():
            row = stack_cells(values, self.cells, self.device)
            volts, self._state = self._estimator(row.unsqueeze(1), self._state)
        return same_kind(volts[:, 0], values)

    def run(self, inputs: NDArray[Any] | Tensor, chunk: int = 16_384) -> NDArray[np.float32] | Tensor:
        """Take many samples at once, as fast as offline.

        Starts from the present state, as `step` does: call `reset` before another recording. Long recordings are
        computed in chunks, because cuDNN's recurrent kernels fail above 65,535 steps; the result is the same.

        Args:
            inputs: ``[C, L, F]`` features in physical units, in the order of ``features``; ``[L, F]`` for one cell.
            chunk: Steps computed at once, at most 65,535.

        Returns:
            Terminal voltage ``[C, L]`` or ``[L]`` in volts, in the type of ``inputs``.

        Raises:
            ConfigurationError: If ``chunk`` is out of range.
            DataError: If the inputs have the wrong shape or are non-finite; the state stays unchanged.

        """
        if not 1 <= chunk <= _MOST_STEPS:
            raise ConfigurationError(
                f"chunk: {chunk} is not between 1 and {_MOST_STEPS:,}; leave it out for the default"
            )
        if isinstance(inputs, Tensor):
            rows = inputs.to(torch.float32)
        else:  # copies a read-only array, as pandas returns it, because torch would warn
            rows = torch.from_numpy(np.require(inputs, np.float32, ["C", "W"]))
        alone = rows.ndim == 2 and self.cells == 1
        rows = rows.unsqueeze(0) if alone else rows
        if rows.ndim != 3 or (rows.shape[0], rows.shape[2]) != (self.cells, len(self.features)):
            raise DataError(
                f"inputs: shape {list(np.shape(inputs))} is not [{self.cells}, L, {len(self.features)}]: cells, steps "
                f"and the features {', '.join(self.features)}"
            )
        if not bool(torch.isfinite(rows).all()):
            cell, step, feature = (~torch.isfinite(rows)).nonzero()[0].tolist()
            raise DataError(
                f"inputs: {self.features[feature]} of cell {cell} at step {step} is "
                f"{float(rows[cell, step, feature])}; correct or remove such steps"
            )
        volts = torch.empty(rows.shape[:2], device=rows.device)
        state = self._state
        with torch.inference_mode():
            for start in range(0, rows.shape[1], chunk):
                part, state = self._estimator(rows[:, start : start + chunk].to(self.device), state)
                volts[:, start : start + chunk] = part
        self._state = state
        result = volts[0] if alone else volts
        return result if isinstance(inputs, Tensor) else result.numpy()

    def reset(self, cells: int | Sequence[int] | NDArray[Any] | Tensor | None = None) -> None:
        """Reset cells to the state before their first sample.

        Args:
            cells: Numbers from 0, or a bool mask ``[C]``; all by default.

        Raises:
            DataError: If there is no such cell.

        """
        if cells is None:
            self._state = self._estimator.zero_state(self.cells, self.device, torch.float32)
            return
        chosen = torch.as_tensor(cells, device=self.device)
        if chosen.dtype != torch.bool:
            outside = chosen[(chosen < 0) | (chosen >= self.cells)]
            if outside.numel():
                raise DataError(f"reset: cell {int(outside.flatten()[0])} is not between 0 and {self.cells - 1}")
            chosen = torch.zeros(self.cells, dtype=torch.bool, device=self.device).index_fill(0, chosen.long(), True)
        elif chosen.shape != (self.cells,):
            raise DataError(f"reset: a mask of shape {list(chosen.shape)} for {self.cells} cells; pass [{self.cells}]")
        self._state = tuple(t.masked_fill(chosen.view(-1, *(1,) * (t.ndim - 1)), 0.0) for t in self._state)

    def state_dict(self) -> dict[str, Tensor]:
        """Copy the state of all cells to the CPU, to be saved with ``torch.save``."""
        return {f"state_{index}": tensor.cpu().clone() for index, tensor in enumerate(self._state)}

    def load_state_dict(self, state_dict: Mapping[str, Tensor]) -> None:
        """Resume from a saved state.

        Raises:
            DataError: If the state is of another network or another number of cells.

        """
        own = self._estimator.zero_state(self.cells)
        expected = {f"state_{index}": list(tensor.shape) for index, tensor in enumerate(own)}
        found = {name: list(tensor.shape) for name, tensor in state_dict.items()}
        if found != expected:
            raise DataError(
                f"state: tensors {found} do not fit {expected}; load it with the same network and number of cells"
            )
        # a copy, so that the saved state stays unchanged
        self._state = tuple(state_dict[name].to(self.device, torch.float32, copy=True) for name in expected)

    def _in_order(
        self, roles: Mapping[str, CellValues | None], others: Mapping[str, CellValues]
    ) -> dict[str, CellValues]:
        """Order the measurements as the features."""
        given = {self._names[role]: value for role, value in roles.items() if value is not None}
        if given.keys() & others.keys():
            raise ConfigurationError(
                f"step: feature {min(given.keys() & others.keys())!r} is given twice; give it once"
            )
        given.update(others)
        if given.keys() != set(self.features):
            raise ConfigurationError(self._explain(given))
        return {name: given[name] for name in self.features}

    def _explain(self, given: Mapping[str, CellValues]) -> str:
        """Say in one line which measurement is missing or unknown."""
        known = ", ".join(self.features)
        argument_of = {name: argument for argument, name in self._names.items()}
        unknown = [name for name in given if name not in self.features]
        if unknown:
            name = unknown[0]
            suggestion = nearest(name, self.features)
            if name in argument_of:
                suggestion = (
                    f"leave {argument_of[name]} out, or construct with {argument_of[name]}= one of its features"
                )
            return f"step: the estimator has no feature {name!r}, it has {known}; {suggestion}"
        name = next(name for name in self.features if name not in given)
        return f"step: feature {name!r} is missing, the estimator has {known}; pass {argument_of.get(name, name)}=..."
