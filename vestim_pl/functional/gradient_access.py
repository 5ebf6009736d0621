"""May a callback read and change the gradients of this run? Checked once, before the first step."""

from lightning.pytorch import Trainer
from lightning.pytorch.strategies import DeepSpeedStrategy, FSDPStrategy, ModelParallelStrategy

from vestim_pl.functional.errors import ConfigurationError

__all__ = ["require_plain_gradients"]


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
    if isinstance(trainer.strategy, DeepSpeedStrategy | FSDPStrategy | ModelParallelStrategy):
        raise ConfigurationError(
            f"{callback}: trainer.strategy {type(trainer.strategy).__name__} shards the gradients, so no rank sees"
            " their norm; use trainer.strategy=ddp or auto, or leave the callback out"
        )
    if getattr(trainer.precision_plugin, "scaler", None) is None:
        return
    for optimizer in trainer.optimizers:
        if getattr(optimizer, "_step_supports_amp_scaling", False):
            raise ConfigurationError(
                f"{callback}: {type(optimizer).__name__}(fused=True) with precision {trainer.precision} unscales the"
                " gradients inside its own step, so the callback would see them scaled; use fused=False"
            )
