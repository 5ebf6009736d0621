"""Whether training diverged with a batch, judged by its loss and the norm of the parameters."""

import math
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor

from vestim_pl.callbacks.recovery.loss_watch import LossWatch
from vestim_pl.functional.finiteness import find_nonfinite, total_norm
from vestim_pl.lightning_support.protocols import SkipsSteps, callbacks_with
from vestim_pl.lightning_support.training_snapshot import trained_parameters, updated_parameters

__all__ = ["judge_batch", "loss_of_batch"]


def loss_of_batch(trainer: Trainer, outputs: Any) -> Tensor | None:
    """Recover the loss that ``training_step`` returned, which Lightning divides by ``accumulate_grad_batches``.

    Args:
        trainer: The trainer.
        outputs: The outputs that ``on_train_batch_end`` receives.

    Returns:
        Tensor of one number; None if the module returned no loss, as with manual optimization.

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
) -> tuple[str, bool, bool]:
    """Judge parameters and loss at the end of a batch, with one read from the device and alike on all ranks.

    Args:
        trainer: The trainer.
        pl_module: The module in training.
        outputs: The outputs that ``on_train_batch_end`` receives.
        watch: Detectors of the loss. A non-finite loss is left to a step guard and its budget, if there is one.
        measured: Norm of the parameters, if another callback has just measured it.

    Returns:
        The reason if training has diverged, else empty; whether loss and parameters were good; and whether one of
        them was non-finite.

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
            bad = find_nonfinite(trained_parameters(pl_module).items(), limit=3)
            names = ", ".join(tensor.name for tensor in bad) or "as a whole, by their norm,"
            return f"parameters {names} are not finite", False, True
        value = losses[0] if losses else None
    if value is None:
        return "", True, False
    if not math.isfinite(value) and callbacks_with(trainer, SkipsSteps):
        return "", False, True
    suspect, reason = watch.observe(value)
    return reason, not suspect, not math.isfinite(value)
