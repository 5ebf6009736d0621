"""Whether a callback may read, change or skip the gradients of a run, checked once before the first step."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor
from torch.optim import LBFGS, Optimizer
from torch.utils.hooks import RemovableHandle

from vestim_pl.errors import ConfigurationError
from vestim_pl.lightning_support.lightning_classes import is_sharded
from vestim_pl.lightning_support.precision import is_unscaled_in_step

__all__ = ["let_backward_pass", "refuse_raw_steps", "require_one_step", "require_plain_gradients"]


def let_backward_pass(loss: Tensor, parameters: Iterable[Tensor]) -> None:
    """Let the backward pass of a loss without a graph succeed, with gradients that are zero.

    Some losses replace a non-finite value by a constant. torch then ends the training with "element 0 of tensors does
    not require grad". The loss becomes a leaf, and the trained parameters get gradients of zero, because a gradient
    scaler refuses a step without gradients, and DistributedDataParallel waits for those of every rank. Tested with
    torch 2.13.0.

    Args:
        loss: The loss, before its backward pass; marked in place.
        parameters: Parameters of the module.

    """
    zeros = [parameter.sum() * 0 for parameter in parameters if parameter.requires_grad]
    if zeros:
        torch.autograd.backward(zeros)
    loss.requires_grad_()


def require_one_step(trainer: Trainer, pl_module: LightningModule, callback: str) -> None:
    """Refuse a run in which the losses between two batches are not those of one optimizer step.

    Raises:
        ConfigurationError: With manual optimization, and for LBFGS, which evaluates the loss several times a step.

    """
    if not pl_module.automatic_optimization:
        raise ConfigurationError(
            f"{callback}: {type(pl_module).__name__} optimizes manually, so one training_step is not one step to"
            " replay; use automatic optimization or leave the callback out"
        )
    if any(isinstance(optimizer, LBFGS) for optimizer in trainer.optimizers):
        raise ConfigurationError(
            f"{callback}: LBFGS evaluates several losses a step, so there is no one step to replay; use another"
            " optimizer or leave the callback out"
        )


def require_plain_gradients(trainer: Trainer, callback: str) -> None:
    """Refuse a run in which ``on_before_optimizer_step`` does not see the gradients of the loss.

    There are two cases. A fused optimizer under a gradient scaler unscales within its own step, so the hook sees
    gradients multiplied by the loss scale. Sharded strategies show each rank only its part of the gradients.

    Call it in ``on_fit_start``, because the optimizers do not exist in ``setup`` yet.

    Raises:
        ConfigurationError: In both cases, with the setting to change.

    """
    if is_sharded(trainer):
        raise ConfigurationError(
            f"{callback}: trainer.strategy {type(trainer.strategy).__name__} shards the gradients, so no rank sees"
            " their norm; use the strategy ddp or auto, or leave the callback out"
        )
    for optimizer in trainer.optimizers:
        if is_unscaled_in_step(trainer, optimizer):
            raise ConfigurationError(
                f"{callback}: {type(optimizer).__name__}(fused=True) with precision {trainer.precision} unscales the"
                " gradients inside its own step, so the callback would see them scaled; use fused=False"
            )


def refuse_raw_steps(
    trainer: Trainer, pl_module: LightningModule, callback: str, seen: Callable[[], bool]
) -> list[RemovableHandle]:
    """Refuse manual optimization that steps optimizers without Lightning, so that no callback sees the gradients.

    ``self.optimizers(use_pl_optimizer=False)`` returns such optimizers. The first of their steps raises.

    Args:
        trainer: Trainer that is about to fit.
        pl_module: Its module.
        callback: Name of the callback, for the messages.
        seen: Whether ``on_before_optimizer_step`` has run for the gradients of the latest backward pass.

    Returns:
        Handles of the hooks on the optimizers, to remove when the fit ends; none with automatic optimization.

    Raises:
        ConfigurationError: From a raw step, and here if no optimizer of the trainer holds a parameter of the module.

    """
    if pl_module.automatic_optimization:
        return []
    groups = [group for optimizer in trainer.optimizers for group in optimizer.param_groups]
    held = {id(parameter) for group in groups for parameter in group["params"]}
    if not any(id(parameter) in held for parameter in pl_module.parameters()):
        raise ConfigurationError(
            f"{callback}: configure_optimizers of {type(pl_module).__name__} returns no optimizer of its parameters,"
            " so there is no step to check; return the optimizers that the module steps, or leave the callback out"
        )

    def after_step(optimizer: Optimizer, *_: Any) -> None:
        if not seen():
            raise ConfigurationError(
                f"{callback}: {type(optimizer).__name__} was stepped without Lightning, so the step could not be"
                " checked; step the optimizers that self.optimizers() returns, without use_pl_optimizer=False"
            )

    return [optimizer.register_step_post_hook(after_step) for optimizer in trainer.optimizers]
