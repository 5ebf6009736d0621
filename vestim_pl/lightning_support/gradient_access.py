"""May a callback read and change the gradients of this run? Checked once, before the first step."""

from lightning.pytorch import LightningModule, Trainer
from torch.optim import LBFGS, Optimizer

from vestim_pl.errors import ConfigurationError
from vestim_pl.lightning_support.lightning_classes import is_sharded

__all__ = ["is_unscaled_in_step", "require_one_step", "require_plain_gradients"]


def is_unscaled_in_step(trainer: Trainer, optimizer: Optimizer) -> bool:
    """Whether gradients are multiplied by a loss scale until the optimizer divides by it within its own step.

    Example::

        >>> import torch
        >>> optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.1, fused=True)
        >>> is_unscaled_in_step(Trainer(logger=False, enable_checkpointing=False), optimizer)
        False

    """
    scaled = getattr(trainer.precision_plugin, "scaler", None) is not None
    return scaled and bool(getattr(optimizer, "_step_supports_amp_scaling", False))


def require_one_step(trainer: Trainer, pl_module: LightningModule, callback: str) -> None:
    """Refuse a run in which the losses between two batches are not those of one optimizer step.

    Args:
        trainer: Trainer that is about to fit.
        pl_module: The module in training.
        callback: Name of the caller, for the message.

    Raises:
        ConfigurationError: With manual optimization, and for LBFGS, which calls for a loss as often as it likes.

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
    """Refuse a run in whose ``on_before_optimizer_step`` a parameter's ``grad`` is not the gradient of the loss.

    Two cases: a fused optimizer under a gradient scaler unscales inside its own step, so the hook sees gradients
    multiplied by the loss scale; and sharded strategies show each rank only its part, so a norm is not the norm.
    Call it in ``on_fit_start``: the optimizers do not exist in ``setup`` yet.

    Args:
        trainer: Trainer that is about to fit.
        callback: Name of the caller, for the message.

    Raises:
        ConfigurationError: In either case, with the way out.

    """
    if is_sharded(trainer):
        raise ConfigurationError(
            f"{callback}: trainer.strategy {type(trainer.strategy).__name__} shards the gradients, so no rank sees"
            " their norm; use trainer.strategy=ddp or auto, or leave the callback out"
        )
    for optimizer in trainer.optimizers:
        if is_unscaled_in_step(trainer, optimizer):
            raise ConfigurationError(
                f"{callback}: {type(optimizer).__name__}(fused=True) with precision {trainer.precision} unscales the"
                " gradients inside its own step, so the callback would see them scaled; use fused=False"
            )
