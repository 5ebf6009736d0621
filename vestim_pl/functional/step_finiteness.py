"""Is this optimizer step fit to be applied? Measured on the device, decided on the host."""

import math
from collections.abc import Iterable, Sequence
from enum import StrEnum

import torch
from torch import Tensor
from torch.optim import Optimizer

__all__ = [
    "StepVerdict",
    "gradient_tensors",
    "judge_step",
    "nonfinite_names",
    "step_signals",
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
        p.grad.coalesce().values() if p.grad.is_sparse else p.grad
        for group in optimizer.param_groups
        for p in group["params"]
        if p.grad is not None
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
    if (
        len(kinds) == 1
    ):  # nearly always; a call to bring each norm to one device and type would cost as much as the norms
        return torch.linalg.vector_norm(torch.stack(_norms(list(tensors))).to(torch.float32))
    norms: list[Tensor] = []
    for dtype in {dtype for dtype, _ in kinds}:
        norms += _norms([tensor for tensor in tensors if tensor.dtype == dtype])
    return torch.linalg.vector_norm(torch.stack([norm.to(tensors[0].device, torch.float32) for norm in norms]))


def _norms(tensors: list[Tensor]) -> list[Tensor]:
    """Norm of each tensor, all of one dtype, half precision in float32."""
    dtype = torch.float32 if tensors[0].dtype in _HALF else None
    return list(torch._foreach_norm(tensors, 2, dtype=dtype))


def step_signals(losses: Sequence[Tensor], gradients: Sequence[Tensor]) -> Tensor:
    """Sum of the losses of an accumulation window and norm of its gradient, together on the device: one read for both.

    Args:
        losses: Scalar losses of the window's micro-batches; may be empty.
        gradients: Gradients before clipping.

    Returns:
        ``[2]``: a sum that is finite if and only if every loss is (short of float32 overflow), and the norm.

    Example::

        >>> step_signals([torch.tensor(1.0), torch.tensor(2.0)], [torch.tensor([3.0, 4.0])]).tolist()
        [3.0, 5.0]

    """
    norm = total_norm(gradients)
    terms = [term.detach().to(norm.device, torch.float32).abs() for term in losses]
    terms = [term.sum() if term.ndim else term for term in terms]
    loss = sum(terms[1:], start=terms[0]) if terms else torch.zeros_like(norm)
    return torch.stack([loss, norm])


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
