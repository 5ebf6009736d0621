"""Norms of tensors and the check that all their values are finite, in one fused reduction and one host sync."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = [
    "NonFiniteTensor",
    "all_finite",
    "find_nonfinite",
    "joint_norm",
    "nonfinite_rows",
    "read_scalars",
    "tensor_norms",
    "total_norm",
]

_HALF = (torch.float16, torch.bfloat16)


@dataclass(frozen=True)
class NonFiniteTensor:
    """A named tensor with its numbers of NaN, of infinities, and of all values."""

    name: str
    nan: int
    inf: int
    size: int

    def __str__(self) -> str:
        counts = [f"{count} {kind}" for count, kind in ((self.nan, "NaN"), (self.inf, "Inf")) if count]
        return f"{self.name} ({' and '.join(counts)} of {self.size})"


def all_finite(tensors: Iterable[Tensor]) -> bool:
    """Whether no tensor holds a NaN or an infinity; integer and empty tensors do not.

    The Euclidean norm over all tensors is computed first, because it takes one fused kernel and one host sync. NaN and
    infinity survive squaring and summing, so a finite norm means that all values are finite. A non-finite norm may be
    an overflow of the sum of squares (in float32 from values of 1.8e19). Only then are the values themselves checked.

    Example::

        >>> all_finite([torch.full((4,), 1e30)]), all_finite([torch.tensor([1.0, float("nan")])])
        (True, False)

    """
    tensors = list(tensors)
    if math.isfinite(joint_norm(tensors)):
        return True
    checks = [torch.isfinite(tensor).all() for tensor in tensors]
    return bool(torch.stack([check.to(checks[0].device) for check in checks]).all())


def find_nonfinite(named: Iterable[tuple[str, Tensor | None]], limit: int | None = None) -> list[NonFiniteTensor]:
    """Find the tensors with non-finite values, in order and up to a limit, and count those values; None is skipped.

    Reads the device once for each tensor, so call it for the message after `all_finite` has failed.

    Example::

        >>> str(find_nonfinite([("a", torch.ones(2)), ("b", torch.tensor([float("nan"), 1.0])), ("c", None)])[0])
        'b (1 NaN of 2)'

    """
    found: list[NonFiniteTensor] = []
    for name, tensor in named:
        if limit is not None and len(found) == limit:
            break
        if tensor is None:
            continue
        values = tensor.detach()
        values = values.coalesce().values() if values.is_sparse else values
        if not all_finite([values]):
            found.append(NonFiniteTensor(name, int(values.isnan().sum()), int(values.isinf().sum()), values.numel()))
    return found


def nonfinite_rows(tensor: Tensor) -> Tensor:
    """Mark the rows of the first axis that hold a non-finite value.

    Shape:
        ``[B, ...]`` to ``[B]`` booleans; a single number to one boolean without an axis.

    Example::

        >>> nonfinite_rows(torch.tensor([[1.0, 2.0], [float("nan"), 3.0]]))
        tensor([False,  True])

    """
    bad = ~torch.isfinite(tensor)
    return bad.flatten(1).any(1) if bad.ndim > 1 else bad


def tensor_norms(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Compute the Euclidean norm of each tensor on its device, without reading it; integers are skipped.

    Half precision is summed in float32, so a norm above 65504 does not overflow. In float32 the norm overflows where an
    entry exceeds 1.8e19. Such a gradient counts as non-finite on purpose: clipping by its norm would divide by
    infinity, and Adam squares it.

    Returns:
        Scalar tensors, non-finite where an entry is; in the order of the tensors if all have one dtype.

    Example::

        >>> tensor_norms([torch.tensor([3.0, 4.0]), torch.tensor([1.0])])
        [tensor(5.), tensor(1.)]

    """
    norms: list[Tensor] = []
    for dtype in dict.fromkeys([tensor.dtype for tensor in tensors]):
        if dtype.is_floating_point or dtype.is_complex:
            same = [tensor for tensor in tensors if tensor.dtype is dtype]
            # Private in torch, and what torch.nn.utils.get_total_norm calls, which takes no dtype. Torch 2.13.0.
            norms += torch._foreach_norm(same, 2, dtype=torch.float32 if dtype in _HALF else None)
    return norms


def total_norm(tensors: Sequence[Tensor]) -> Tensor:
    """Compute the Euclidean norm over all tensors on the device, without reading it; see `tensor_norms`.

    Example::

        >>> total_norm([torch.tensor([3.0]), torch.tensor([4.0])]).item()
        5.0

    """
    with torch.set_grad_enabled(False):  # the same as ``no_grad`` in half the time
        norms = tensor_norms(tensors)
        return torch.linalg.vector_norm(_stacked(norms)).float() if norms else torch.zeros(())


def joint_norm(tensors: Sequence[Tensor]) -> float:
    """Compute the Euclidean norm over all tensors and bring it to the host in one read; see `tensor_norms`.

    Example::

        >>> joint_norm([torch.tensor([3.0]), torch.tensor([4.0]), torch.tensor([7])])
        5.0

    """
    with torch.set_grad_enabled(False):
        return math.hypot(*read_scalars(tensor_norms(tensors)))


def read_scalars(scalars: Sequence[Tensor]) -> list[float]:
    """Bring scalar tensors to the host: one by one from the CPU, where that is cheap, else all in one read.

    Example::

        >>> read_scalars([torch.tensor(1.0), torch.tensor(2.0)])
        [1.0, 2.0]

    """
    if all(scalar.is_cpu for scalar in scalars):
        return [scalar.item() for scalar in scalars]
    numbers: list[float] = _stacked(scalars).tolist()
    return numbers


def _stacked(scalars: Sequence[Tensor]) -> Tensor:
    """Stack scalars on the device of the last one."""
    device = scalars[-1].device
    return torch.stack([scalar.detach().to(device) for scalar in scalars])
