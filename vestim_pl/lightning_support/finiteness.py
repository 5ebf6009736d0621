"""Are all numbers of a model finite? Answered with one fused reduction and one host sync."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from vestim_pl.lightning_support.step_finiteness import joint_norm

__all__ = ["NonFiniteTensor", "all_finite", "find_nonfinite"]


@dataclass(frozen=True)
class NonFiniteTensor:
    """A tensor with values that are not finite.

    Attributes:
        name: Its name in the model.
        nan: How many values are NaN.
        inf: How many are infinite.
        size: How many there are.

    """

    name: str
    nan: int
    inf: int
    size: int

    def __str__(self) -> str:
        """Name and counts for a message."""
        counts = [f"{count} {kind}" for count, kind in ((self.nan, "NaN"), (self.inf, "Inf")) if count]
        return f"{self.name} ({' and '.join(counts)} of {self.size})"


def all_finite(tensors: Iterable[Tensor]) -> bool:
    """Whether no tensor holds a NaN or an infinity.

    The Euclidean norm over all of them is the sieve: one fused kernel and one number brought to the host. If it is
    finite, so is every value, because NaN and infinity survive squaring and summing. If not, the sum of squares may
    only have overflowed (in float32 from values of 1.8e19), so the values themselves are looked at: no false alarm, and
    the price of the second look is paid only then.

    Args:
        tensors: Of any shape, dtype and device; integer ones are finite by nature, empty ones too.

    Example::

        >>> all_finite([torch.full((4,), 1e30)]), all_finite([torch.tensor([1.0, float("nan")])])
        (True, False)

    """
    tensors = list(tensors)
    if math.isfinite(joint_norm(tensors)):
        return True
    checks = [torch.isfinite(tensor).all() for tensor in tensors]
    return bool(torch.stack([check.to(checks[0].device) for check in checks]).all())


def find_nonfinite(named: Iterable[tuple[str, Tensor]], limit: int | None = None) -> Sequence[NonFiniteTensor]:
    """The tensors with values that are not finite, in order, with counts; for the message after `all_finite`.

    Args:
        named: Names and tensors.
        limit: Most to return; None for all.

    Example::

        >>> str(find_nonfinite([("a", torch.ones(2)), ("b", torch.tensor([float("nan"), 1.0]))])[0])
        'b (1 NaN of 2)'

    """
    found: list[NonFiniteTensor] = []
    for name, tensor in named:
        if limit is not None and len(found) == limit:
            break
        if not all_finite([tensor]):
            values = tensor.detach()
            nan, inf = int(values.isnan().sum()), int(values.isinf().sum())
            found.append(NonFiniteTensor(name, nan, inf, values.numel()))
    return found
