"""Measure the range of a tensor's values and find its first non-finite value."""

import math
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

__all__ = ["TensorRange", "measure_range"]


@dataclass(frozen=True)
class TensorRange:
    """Smallest and largest magnitude of a tensor's finite values, and its first non-finite value.

    Attributes:
        smallest: Smallest finite magnitude, NaN if there is none.
        largest: Largest finite magnitude, NaN if there is none.
        non_finite: Number of values that are NaN or infinite.
        index: Index of the first non-finite value, empty if there is none.
        value: First non-finite value, as ``nan``, ``inf`` or ``-inf``; empty if there is none.

    """

    smallest: float
    largest: float
    non_finite: int = 0
    index: tuple[int, ...] = ()
    value: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Convert for JSON, which has no NaN: missing magnitudes become None."""
        none = {"smallest": None, "largest": None} if math.isnan(self.largest) else {}
        return asdict(self) | {"index": list(self.index)} | none

    def __str__(self) -> str:
        span = f"{self.smallest:.3g} .. {self.largest:.3g}"
        if not self.non_finite:
            return span
        return f"{span}, {self.non_finite} non-finite, first {self.value} at {list(self.index)}"


@torch.no_grad()
def measure_range(tensor: Tensor) -> TensorRange:
    """Measure the range of a floating-point tensor, with a host sync.

    Example::

        >>> print(measure_range(torch.tensor([[1.0, -4.0], [0.5, float("nan")]])))
        0.5 .. 4, 1 non-finite, first nan at [1, 1]

    """
    values = tensor.detach()
    values = values.coalesce().values() if values.is_sparse else values
    finite = torch.isfinite(values)
    sizes = values[finite].abs()
    smallest, largest = (float(sizes.min()), float(sizes.max())) if sizes.numel() else (math.nan, math.nan)
    bad = int(values.numel() - finite.sum())
    if not bad:
        return TensorRange(smallest, largest)
    index = tuple((~finite).nonzero()[0].tolist())
    return TensorRange(smallest, largest, bad, index, str(float(values[index])))
