"""How many of the last steps of a window decide its loss and gradient."""

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
    """What a training step would learn from.

    Attributes:
        loss: The loss, a scalar.
        gradient: ``[P]`` its gradient by all trainable parameters.

    """

    loss: Tensor
    gradient: Tensor


def lookback_sizes(full: int, multiple: int, largest_share: float = 0.6) -> list[int]:
    """Lengths to which a window may be cut, ascending: multiples of ``multiple``, an eighth apart or more.

    Few lengths keep what a kernel prepares for a shape in its cache.

    Args:
        full: Steps of the whole window.
        multiple: What every length is a multiple of.
        largest_share: Largest length over ``full``. Where more is needed the influence falls so slowly from step to
            step, and differs so much from batch to batch, that a measurement on one batch does not hold for others.

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
    """Index of the smallest size that suffices, by bisection around a guess; ``len(sizes)`` if none does.

    Two calls where the guess is right. Takes for granted that what is larger than a sufficient size suffices.

    Args:
        sizes: Ascending sizes.
        sufficient: Whether a size suffices.
        guess: Index to try first.

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
    """Length to train with, after measurements of the length that was needed.

    The longest of the measurements, as batches differ; plus what the last one was longer than the one before, as
    memory that grows will have grown as much by the next; and the next longer size, as a margin.

    Args:
        needed: Length that each measurement found to suffice, oldest first.
        sizes: Lengths to choose from, ascending.
        full: Length of the whole window, for when none is long enough.

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
    """Loss of ``training_step`` and its gradient; the parameters' own ``grad`` is not touched.

    Args:
        module: Module to run; its state changes as in training, so hand in a copy.
        batch: The batch.
        batch_idx: Its index in the epoch.

    Returns:
        None where the step returns no loss that depends on a parameter.

    """
    parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
    with torch.enable_grad():
        loss = loss_of_step(module, batch, batch_idx)
        if loss is None or not loss.requires_grad:
            return None
        gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
    flat = [
        torch.zeros_like(parameter).flatten() if gradient is None else gradient.flatten()
        for parameter, gradient in zip(parameters, gradients, strict=True)
    ]
    return StepGradient(loss.detach(), torch.cat(flat))


def relative_difference(other: StepGradient | None, whole: StepGradient | None) -> float:
    """Larger of the relative differences of loss and gradient (of its norm); NaN where one is not finite, zero or None.

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
    """Batch of the first ``count`` windows, where it can be told which axis counts windows; else the batch itself.

    It is the first axis if all tensors agree in it and a crop to one step leaves it alone.

    Args:
        batch: Nested tuples, lists and dictionaries of tensors.
        count: Windows to keep.
        crop: Cuts a batch to a number of last steps.

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
    """Set the probability of every dropout layer, and of dropout within torch's recurrent layers, to zero."""
    for part in module.modules():
        if isinstance(part, nn.modules.dropout._DropoutNd):
            part.p = 0.0
        elif isinstance(part, nn.RNNBase):
            part.dropout = 0.0
