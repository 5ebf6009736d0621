"""Whether an optimizer step may be applied: measured on the device, decided on the host."""

import math
from collections.abc import Sequence
from enum import StrEnum

import torch
from lightning.pytorch import Trainer
from torch import Tensor
from torch.optim import Optimizer

from vestim_pl.functional.finiteness import read_scalars, tensor_norms, total_norm

__all__ = ["StepVerdict", "gradient_tensors", "gradient_values", "judge_step", "read_signals", "step_signals"]


class StepVerdict(StrEnum):
    """What to do with an optimizer step."""

    APPLY = "apply"
    SKIP = "skip"
    OVERFLOW = "overflow"


def gradient_tensors(optimizer: Optimizer) -> list[Tensor]:
    """List the gradients of the optimizer's parameters, to be read or changed in place, without those that are None."""
    return [
        gradient_values(parameter)
        for group in optimizer.param_groups
        for parameter in group["params"]
        if parameter.grad is not None
    ]


def gradient_values(parameter: Tensor) -> Tensor:
    """Return a gradient as a dense tensor: of a sparse one the values, which share its memory, so of the rows in use.

    Example::

        >>> table = torch.nn.Embedding(5, 1, sparse=True)
        >>> table(torch.tensor([2, 2])).sum().backward()
        >>> gradient_values(table.weight).mul_(0.5), table.weight.grad.to_dense().flatten()
        (tensor([[1.]]), tensor([0., 0., 1., 0., 0.]))

    """
    gradient = parameter.grad
    if gradient is None or not gradient.is_sparse:
        return gradient  # type: ignore[return-value]
    if not gradient.is_coalesced():
        gradient = parameter.grad = gradient.coalesce()
    return gradient.values()


def step_signals(losses: Sequence[Tensor], norm: Tensor) -> Tensor:
    """Stack the sum of the losses of an accumulation window and the norm of its gradient, to be read at once.

    Returns:
        ``[2]``: a sum that is finite only if every loss is (short of float32 overflow), and the norm.

    Example::

        >>> step_signals([torch.tensor(1.0), torch.tensor(2.0)], torch.tensor(5.0)).tolist()
        [3.0, 5.0]

    """
    terms = [term.detach().to(norm.device, torch.float32).abs().sum() for term in losses]
    return torch.stack([sum(terms, start=torch.zeros_like(norm)), norm])


def read_signals(trainer: Trainer, losses: Sequence[Tensor], gradients: Sequence[Tensor]) -> tuple[float, float]:
    """Measure losses and gradients of a step and read both at once, as means over all ranks.

    Returns:
        A sum that is finite only if every loss is, and the norm of the gradients before clipping.

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
    """Decide about a step from its loss and the norm of its gradient before clipping; returns verdict and reason.

    Under a gradient scaler, a non-finite gradient of a finite loss most likely means that the loss scale was too large.
    The scaler then leaves out the update by itself and halves the scale. At a scale of one or less the scale cannot be
    the cause, so the gradient itself is bad.

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
