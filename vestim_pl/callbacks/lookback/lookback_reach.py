"""Measure how many of the last steps of a window determine its loss and gradient."""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from vestim_pl.lightning_support.step_rerun import loss_of_step

__all__ = [
    "StepGradient",
    "disable_dropout",
    "first_windows",
    "gradient_of_step",
    "lookback_for",
    "lookback_sizes",
    "relative_difference",
    "smallest_sufficient",
]


class StepGradient(NamedTuple):
    """Loss ``[]`` of one training step, and its gradient ``[P]`` with respect to all trainable parameters."""

    loss: Tensor
    gradient: Tensor


def lookback_sizes(full: int, multiple: int, largest_share: float = 0.6) -> list[int]:
    """List the lengths to which a window may be cut, ascending multiples of ``multiple``.

    Each is at least an eighth longer than the previous one: with few lengths, kernels can cache what they prepare for
    each shape. The largest is a share of ``full``. If more is needed, the influence of a step falls so slowly, and
    varies so much between batches, that a measurement on one batch does not hold for others.

    Example::

        >>> lookback_sizes(200, 16)
        [16, 32, 48, 64, 80, 96, 112]

    """
    sizes, size = [], multiple
    while size <= largest_share * full:
        sizes.append(size)
        size = max(size + multiple, math.ceil(size * 1.125 / multiple) * multiple)
    return sizes


def smallest_sufficient(sizes: Sequence[int], sufficient: Callable[[int], bool], guess: int) -> int:
    """Find the index of the smallest sufficient size by bisection around a guess; ``len(sizes)`` if no size suffices.

    A correct guess takes two calls. Every size above a sufficient one is assumed to suffice.

    Example::

        >>> smallest_sufficient([8, 16, 24, 32], lambda size: size >= 20, guess=0)
        2

    """
    insufficient, enough = -1, len(sizes)
    index = min(guess, len(sizes) - 1)
    first = True
    while enough - insufficient > 1:
        if sufficient(sizes[index]):
            enough = index
            index = index - 1 if first else (insufficient + enough) // 2
        else:
            insufficient = index
            index = index + 1 if first else (insufficient + enough) // 2
        first = False
    return enough


def lookback_for(needed: Sequence[int], sizes: Sequence[int], full: int) -> int:
    """Choose the training length from measurements of the length that was needed, oldest first.

    The choice starts from the longest measurement, because batches differ. It adds the growth since the previous
    measurement, because memory that grows may grow as much again. The next longer size then gives a margin; ``full`` is
    used if no size is long enough.

    Example::

        >>> sizes = [8, 16, 24, 32, 40, 48]
        >>> [lookback_for(needed, sizes, full=100) for needed in ([16], [16, 24], [24, 16], [16, 40], [24, 48])]
        [24, 40, 32, 48, 100]

    """
    growth = max(0, needed[-1] - needed[-2]) if len(needed) > 1 else 0
    longer = [size for size in sizes if size > max(needed)]
    if not longer:
        return full
    return next((size for size in longer if size > max(needed) + growth), longer[-1])


def gradient_of_step(module: LightningModule, batch: Any, batch_idx: int) -> StepGradient | None:
    """Compute the loss of ``training_step`` and its gradient without touching the parameters' ``grad``.

    Pass a copy of the module, because its state changes as in training. Returns None if the step returns no loss that
    depends on a parameter.
    """
    parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
    with torch.enable_grad():
        loss = loss_of_step(module, batch, batch_idx)
        if loss is None or not loss.requires_grad:
            return None
        gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
    flat = [
        torch.zeros_like(parameter).flatten() if gradient is None else gradient.to_dense().flatten()
        for parameter, gradient in zip(parameters, gradients, strict=True)
    ]
    return StepGradient(loss.detach(), torch.cat(flat))


def relative_difference(other: StepGradient | None, whole: StepGradient | None) -> float:
    """Return the larger relative difference of loss and gradient; NaN if either is non-finite, zero or None.

    Example::

        >>> whole = StepGradient(torch.tensor(2.0), torch.tensor([3.0, 4.0]))
        >>> round(relative_difference(StepGradient(torch.tensor(2.0), torch.tensor([3.0, 4.5])), whole), 6)
        0.1

    """
    if other is None or whole is None:
        return math.nan
    gradient = (other.gradient - whole.gradient).norm() / whole.gradient.norm()
    loss = (other.loss - whole.loss).abs() / whole.loss.abs()
    both = torch.stack([gradient, loss])  # one transfer to the host
    return float(both.max()) if bool(torch.isfinite(both).all()) else math.nan


def first_windows(batch: Any, count: int, crop: Callable[[Any, int], Any]) -> Any:
    """Return a batch of the first ``count`` windows, or the batch itself if the window axis is unknown.

    The window axis is the first one if all tensors have the same length there and a crop to one step keeps it.

    Example::

        >>> first_windows(torch.zeros(8, 5), 3, lambda batch, n: batch[:, -n:]).shape
        torch.Size([3, 5])
        >>> first_windows(torch.zeros(5, 8), 3, lambda batch, n: batch[-n:]).shape
        torch.Size([5, 8])

    """
    tensors = [leaf for leaf in tree_leaves(batch) if isinstance(leaf, Tensor)]
    cropped = [leaf for leaf in tree_leaves(crop(batch, 1)) if isinstance(leaf, Tensor)]
    lengths = {tensor.shape[0] if tensor.ndim else -1 for tensor in (*tensors, *cropped)}
    if len(lengths) != 1 or lengths == {-1}:
        return batch
    return tree_map(lambda leaf: leaf[:count] if isinstance(leaf, Tensor) else leaf, batch)


def disable_dropout(module: nn.Module) -> None:
    """Set the probability of every dropout layer, and of the dropout within torch's recurrent layers, to zero."""
    dropout = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout)
    for part in module.modules():
        if isinstance(part, dropout):
            part.p = 0.0
        elif isinstance(part, nn.RNNBase):
            part.dropout = 0.0
