"""Is this optimizer step fit to be applied? Measured on the device, decided on the host."""

import math
from collections.abc import Iterable, Sequence
from enum import StrEnum

import torch
from lightning.pytorch import Trainer
from torch import Tensor
from torch._utils import _flatten_dense_tensors
from torch.optim import Optimizer

__all__ = [
    "StepVerdict",
    "gradient_tensors",
    "judge_step",
    "nonfinite_names",
    "read_signals",
    "step_signals",
    "total_norm",
]

_HALF = (torch.float16, torch.bfloat16)
_SMALL = 100_000  # so many numbers are copied together in less time than a kernel for each tensor takes to start


class StepVerdict(StrEnum):
    """What is to be done with an optimizer step."""

    APPLY = "apply"
    SKIP = "skip"
    OVERFLOW = "overflow"


def gradient_tensors(optimizer: Optimizer) -> list[Tensor]:
    """Gradients of the parameters that the optimizer owns, those that have one.

    Example::

        >>> weight = torch.zeros(2, requires_grad=True)
        >>> gradient_tensors(torch.optim.SGD([weight], lr=0.1))
        []

    """
    return [
        grad.coalesce().values() if grad.is_sparse else grad
        for group in optimizer.param_groups
        for p in group["params"]
        if (grad := p.grad) is not None
    ]


@torch.no_grad()
def total_norm(tensors: Sequence[Tensor]) -> Tensor:
    """Euclidean norm over all tensors as one number on the device, without reading it.

    Half precision is summed in float32, so a norm above 65504 is not taken for an overflow. In float32 the norm
    overflows where an entry exceeds 1.8e19. Such a gradient is rightly called non-finite: clipping by its norm is a
    division by infinity, and Adam squares it.

    Args:
        tensors: Tensors of any shape and floating dtype; may be empty.

    Returns:
        Scalar tensor; NaN or infinite if any entry is.

    Example::

        >>> total_norm([torch.tensor([3.0]), torch.tensor([4.0])]).item()
        5.0

    """
    if not tensors:
        return torch.zeros(())
    kinds = {(tensor.dtype, tensor.device) for tensor in tensors}
    if len(kinds) > 1:  # seldom; to bring each norm to one device and type would cost as much as the norms
        order = dict.fromkeys((tensor.dtype, tensor.device) for tensor in tensors)
        norms = [
            total_norm([t for t in tensors if (t.dtype, t.device) == kind]).to(tensors[0].device) for kind in order
        ]
    else:
        small = tensors[0].device.type == "cpu" and sum(map(Tensor.numel, tensors)) <= _SMALL
        dtype = torch.float32 if tensors[0].dtype in _HALF else None
        norms = list(torch._foreach_norm([_flatten_dense_tensors(tensors)] if small else list(tensors), 2, dtype=dtype))
    norm = norms[0] if len(norms) == 1 else torch.linalg.vector_norm(torch.stack(norms))
    return norm if norm.dtype == torch.float32 else norm.to(torch.float32)


def step_signals(losses: Sequence[Tensor], norm: Tensor) -> Tensor:
    """Sum of the losses of an accumulation window and norm of its gradient, together on the device: one read for both.

    Args:
        losses: Losses of the window's micro-batches; may be empty.
        norm: Norm of the gradient before clipping.

    Returns:
        ``[2]``: a sum that is finite if and only if every loss is (short of float32 overflow), and the norm.

    Example::

        >>> step_signals([torch.tensor(1.0), torch.tensor(2.0)], torch.tensor(5.0)).tolist()
        [3.0, 5.0]

    """
    terms = [term.detach().to(norm.device, torch.float32).abs().sum() for term in losses]
    return torch.stack([sum(terms, start=torch.zeros_like(norm)), norm])


def read_signals(trainer: Trainer, losses: Sequence[Tensor], norm: Tensor) -> tuple[float, float]:
    """:func:`step_signals` summed over all ranks, on the host.

    One number that is finite only if all are is read first, and nearly always that is all: both are then that number.

    Example::

        >>> trainer = Trainer(logger=False, enable_checkpointing=False)
        >>> read_signals(trainer, [torch.tensor(float("inf"))], torch.tensor(5.0))
        (inf, 5.0)

    """

    def summed(values: Tensor) -> Tensor:
        if trainer.world_size == 1:
            return values
        return trainer.strategy.reduce(values.to(trainer.strategy.root_device), reduce_op="sum")

    probe = norm
    for loss in losses:
        probe = probe + (loss.detach().sum() if loss.ndim else loss.detach()).to(norm.device)
    all_of_it = summed(probe).item()
    if math.isfinite(all_of_it):
        return all_of_it, all_of_it
    total, size = summed(step_signals(losses, norm)).tolist()
    return total, size


def judge_step(loss: float, norm: float, loss_scale: float | None) -> tuple[StepVerdict, str]:
    """Decide about a step from its loss and the norm of its gradient before clipping.

    Under a gradient scaler a non-finite gradient of a finite loss is first of all a loss scale that was too large:
    the scaler leaves out the update itself and halves the scale, and must be let do so. Once the scale is at or
    below one that explanation is used up, and the gradient itself is bad.

    Args:
        loss: Anything finite if all losses are finite.
        norm: Anything finite if the gradient is finite.
        loss_scale: Scale of the gradient scaler, None without one.

    Returns:
        Verdict and its reason.

    Example::

        >>> judge_step(0.1, float("inf"), loss_scale=None)
        (<StepVerdict.SKIP: 'skip'>, 'the gradient norm is inf')
        >>> judge_step(0.1, float("inf"), loss_scale=65536.0)[0]
        <StepVerdict.OVERFLOW: 'overflow'>

    """
    if not math.isfinite(loss):
        return StepVerdict.SKIP, f"the loss is {loss}"
    if math.isfinite(norm):
        return StepVerdict.APPLY, ""
    if loss_scale is not None and loss_scale > 1:
        return StepVerdict.OVERFLOW, f"the gradient overflowed at loss scale {loss_scale:g}"
    return StepVerdict.SKIP, f"the gradient norm is {norm}"


def nonfinite_names(named: Iterable[tuple[str, Tensor | None]], limit: int = 3) -> list[str]:
    """Names of the tensors that hold a NaN or an infinity, the first few of them; reads the device for each.

    Args:
        named: Names and tensors; None is left out.
        limit: Most names to return.

    Example::

        >>> nonfinite_names([("a", torch.ones(2)), ("b", torch.tensor([float("nan")])), ("c", None)])
        ['b']

    """
    names: list[str] = []
    for name, tensor in named:
        if len(names) == limit:
            break
        if tensor is not None and not bool(
            torch.isfinite(tensor.coalesce().values() if tensor.is_sparse else tensor).all()
        ):
            names.append(name)
    return names
