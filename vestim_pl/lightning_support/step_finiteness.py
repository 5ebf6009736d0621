"""Is this optimizer step fit to be applied? Measured on the device, decided on the host."""

import math
from collections.abc import Iterable, Sequence
from enum import StrEnum

import torch
from lightning.pytorch import Trainer
from torch import Tensor
from torch.optim import Optimizer

__all__ = [
    "StepVerdict",
    "gradient_tensors",
    "joint_norm",
    "judge_step",
    "nonfinite_names",
    "read_scalars",
    "read_signals",
    "step_signals",
    "tensor_norms",
    "total_norm",
]

_HALF = (torch.float16, torch.bfloat16)


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


def tensor_norms(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Euclidean norm of each tensor on its device, without reading it; integers have none.

    Half precision is summed in float32, so a norm above 65504 is not taken for an overflow. In float32 the norm
    overflows where an entry exceeds 1.8e19. Such a gradient is rightly called non-finite: clipping by its norm is a
    division by infinity, and Adam squares it.

    Args:
        tensors: Tensors of any shape and dtype; may be empty.

    Returns:
        Scalar tensors, NaN or infinite where an entry is; in the order of the tensors where those have one dtype.

    Example::

        >>> tensor_norms([torch.tensor([3.0, 4.0]), torch.tensor([1.0])])
        [tensor(5.), tensor(1.)]

    """
    norms: list[Tensor] = []
    for dtype in dict.fromkeys([tensor.dtype for tensor in tensors]):
        if dtype.is_floating_point or dtype.is_complex:
            same = [tensor for tensor in tensors if tensor.dtype is dtype]
            norms += torch._foreach_norm(same, 2, dtype=torch.float32 if dtype in _HALF else None)
    return norms


def total_norm(tensors: Sequence[Tensor]) -> Tensor:
    """Euclidean norm over all tensors as one number on the device, without reading it; see `tensor_norms`.

    Args:
        tensors: Tensors of any shape and dtype; may be empty.

    Returns:
        Scalar tensor; NaN or infinite if any entry is.

    Example::

        >>> total_norm([torch.tensor([3.0]), torch.tensor([4.0])]).item()
        5.0

    """
    with torch.set_grad_enabled(False):  # which does what ``no_grad`` does in half the time
        norms = tensor_norms(tensors)
        return torch.linalg.vector_norm(_together(norms)).float() if norms else torch.zeros(())


def joint_norm(tensors: Sequence[Tensor]) -> float:
    """Euclidean norm over all tensors, brought to the host in one read; see `tensor_norms`.

    Example::

        >>> joint_norm([torch.tensor([3.0]), torch.tensor([4.0]), torch.tensor([7])])
        5.0

    """
    with torch.set_grad_enabled(False):
        return math.hypot(*read_scalars(tensor_norms(tensors)))


def read_scalars(scalars: Sequence[Tensor]) -> list[float]:
    """Scalar tensors on the host: on the CPU each by itself, which costs next to nothing, from a device in one read.

    Example::

        >>> read_scalars([torch.tensor(1.0), torch.tensor(2.0)])
        [1.0, 2.0]

    """
    if all(scalar.is_cpu for scalar in scalars):
        return [scalar.item() for scalar in scalars]
    numbers: list[float] = _together(scalars).tolist()
    return numbers


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


def read_signals(trainer: Trainer, losses: Sequence[Tensor], gradients: Sequence[Tensor]) -> tuple[float, float]:
    """Losses and gradients of a step measured, on the host, the mean over all ranks; one read.

    Args:
        trainer: The trainer.
        losses: Losses of the window's micro-batches, detached; may be empty.
        gradients: Gradients before clipping; may be empty.

    Returns:
        A sum that is finite if and only if every loss is, and the norm of the gradients.

    Example::

        >>> trainer = Trainer(logger=False, enable_checkpointing=False)
        >>> read_signals(trainer, [torch.tensor(float("inf"))], [torch.tensor([3.0]), torch.tensor([4.0])])
        (inf, 5.0)

    """
    if trainer.world_size > 1:
        signals = step_signals(losses, total_norm(gradients)).to(trainer.strategy.root_device)
        loss, norm = trainer.strategy.reduce(signals, reduce_op="mean").tolist()
        return loss, norm
    terms = [loss.sum() if loss.ndim else loss for loss in losses]
    read = read_scalars([*terms, *tensor_norms(gradients)])
    return sum(map(abs, read[: len(terms)])), math.hypot(*read[len(terms) :])


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


def _together(scalars: Sequence[Tensor]) -> Tensor:
    """Scalars in one tensor, on the device of the last."""
    device = scalars[-1].device
    return torch.stack([scalar.detach().to(device) for scalar in scalars])
