"""Convert measurements of one or several cells to one tensor and back."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vestim_pl.errors import DataError

__all__ = ["CellValues", "same_kind", "stack_cells"]

CellValues = float | Sequence[float] | NDArray[Any] | Tensor
"""One number for all cells, or one a cell: ``[C]``."""

_LARGEST = torch.finfo(torch.float32).max


def stack_cells(values: Mapping[str, CellValues], cells: int, device: torch.device | None = None) -> Tensor:
    """Stack measurements into one row per cell.

    Args:
        values: Measurement of every feature, in column order: one number, or ``[C]``.
        cells: Number of cells C.
        device: Device of the result.

    Returns:
        ``[C, F]`` float32.

    Raises:
        DataError: If a measurement has another shape, or is non-finite in single precision.

    Example::

        >>> stack_cells({"Current": [-1.0, -2.0], "Temp": 25.0}, cells=2)
        tensor([[-1., 25.],
                [-2., 25.]])

    """
    if _all_numbers(values):  # fast path for numbers
        numbers: list[float] = list(values.values())  # type: ignore[arg-type]
        if all(abs(number) <= _LARGEST for number in numbers):  # false for NaN too
            return torch.tensor([numbers], dtype=torch.float32, device=device).expand(cells, -1)
    rows = torch.stack([_column(name, value, cells, device) for name, value in values.items()], dim=-1)
    if not bool(torch.isfinite(rows).all()):
        cell, feature = (~torch.isfinite(rows)).nonzero()[0].tolist()
        whose = f" of cell {cell}" if cells > 1 else ""
        raise DataError(
            f"{list(values)[feature]}{whose}: {float(rows[cell, feature])} is non-finite and would never leave the "
            "state; nothing was changed: pass the last good value, or leave the step out"
        )
    return rows


def same_kind(result: Tensor, given: Mapping[str, CellValues]) -> float | NDArray[np.float32] | Tensor:
    """Return ``[C]`` results in the type of the measurements: a tensor if one was given, else an array.

    One cell measured by numbers gets a number.

    Example::

        >>> same_kind(torch.tensor([3.5]), {"Current": -1.0}), same_kind(torch.tensor([3.5]), {"Current": [-1.0]})
        (3.5, array([3.5], dtype=float32))

    """
    if len(result) == 1 and _all_numbers(given):
        return result.item()
    one_number = len(result) == 1 and all(np.ndim(value) == 0 for value in given.values())
    if any(isinstance(value, Tensor) for value in given.values()):
        return result[0].clone() if one_number else result.clone()
    return result.item() if one_number else result.cpu().numpy()


def _all_numbers(values: Mapping[str, CellValues]) -> bool:
    return all(isinstance(value, (float, int)) for value in values.values())


def _column(name: str, value: CellValues, cells: int, device: torch.device | None) -> Tensor:
    try:
        column = torch.as_tensor(value, dtype=torch.float32, device=device)
    except (TypeError, ValueError, RuntimeError):
        raise DataError(f"{name}: {value!r} is not a number; pass a number, or one for each of {cells} cells") from None
    if column.shape not in ((), (cells,)):
        raise DataError(
            f"{name}: values of shape {list(column.shape)} for {cells} cells; pass one number for all, or [{cells}]"
        )
    return column.expand(cells)
