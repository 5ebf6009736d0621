"""Loss and size of the weights after a batch, the signs of a healthy training."""

import math
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor

from vestim_pl.callbacks.recovery.loss_watch import LossWatch
from vestim_pl.lightning_support.protocols import SkipsSteps, callbacks_with
from vestim_pl.lightning_support.step_finiteness import nonfinite_names, total_norm
from vestim_pl.lightning_support.training_snapshot import trained_parameters, updated_parameters

__all__ = ["judge_batch", "loss_of_batch"]


def loss_of_batch(trainer: Trainer, outputs: Any) -> Tensor | None:
    """Loss as ``training_step`` returned it; Lightning divides it by the length of the accumulation window.

    Args:
        trainer: The trainer.
        outputs: What ``on_train_batch_end`` is given.

    Returns:
        Tensor of one number, or None where the module returned none, as it may with manual optimization.

    Example::

        >>> trainer = Trainer(accumulate_grad_batches=2, logger=False, enable_checkpointing=False)
        >>> loss_of_batch(trainer, {"loss": torch.tensor(0.5)}).item()
        1.0

    """
    loss = outputs.get("loss") if isinstance(outputs, dict) else outputs
    if not isinstance(loss, Tensor) or loss.numel() != 1:
        return None
    loss, batches = loss.detach(), trainer.accumulate_grad_batches
    if batches == 1:
        return loss
    automatic = trainer.lightning_module is None or trainer.lightning_module.automatic_optimization
    return loss * batches if automatic else loss


def judge_batch(
    trainer: Trainer, pl_module: LightningModule, outputs: Any, watch: LossWatch, measured: float | None = None
) -> tuple[str, bool]:
    """Look at parameters and loss at the end of a batch; one read from the device, the same verdict on all ranks.

    Args:
        trainer: The trainer.
        pl_module: The module in training.
        outputs: What ``on_train_batch_end`` is given.
        watch: What follows the loss. A non-finite loss is left to a step guard, where there is one, and its budget.
        measured: Norm of the parameters as they are, where somebody has just measured it.

    Returns:
        Reason why training has diverged, or empty; and whether loss and parameters were good.

    """
    loss = loss_of_batch(trainer, outputs)
    if measured is not None and math.isfinite(measured) and trainer.world_size == 1:
        value = None if loss is None else loss.item()
    else:
        norm = total_norm(updated_parameters(trainer)).reshape(1)
        together = norm if loss is None else torch.cat([norm, loss.reshape(1).to(norm)])
        if trainer.world_size > 1:
            together = trainer.strategy.reduce(together.to(trainer.strategy.root_device), reduce_op="mean")
        size, *losses = together.tolist()
        if not math.isfinite(size):
            names = ", ".join(nonfinite_names(trained_parameters(pl_module).items())) or "as a whole, by their norm,"
            return f"parameters {names} are not finite", False
        value = losses[0] if losses else None
    if value is None:
        return "", True
    if not math.isfinite(value) and callbacks_with(trainer, SkipsSteps):
        return "", False
    suspect, reason = watch.observe(value)
    return reason, not suspect
