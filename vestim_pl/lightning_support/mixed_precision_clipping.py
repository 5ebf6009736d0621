"""Clip gradients of a fused optimizer under mixed precision, which Lightning refuses."""

from lightning.pytorch import Trainer
from lightning.pytorch.plugins import Precision
from lightning.pytorch.utilities import GradClipAlgorithmType
from torch.optim import Optimizer

from vestim_pl.lightning_support.lightning_classes import lightning_classes

__all__ = ["clip_under_mixed_precision"]


def clip_under_mixed_precision(trainer: Trainer, optimizer: Optimizer, threshold: float, algorithm: str | None) -> bool:
    """Clip the gradients if the trainer uses mixed precision, and return whether it does.

    Lightning refuses to clip for a fused optimizer under any mixed precision. It is right only with a gradient scaler,
    whose gradients are still scaled; bf16 scales nothing. This calls the method of the base class instead. Call it only
    if the gradients are not scaled. Tested with lightning 2.6.6.
    """
    plugin = trainer.precision_plugin
    if not isinstance(plugin, lightning_classes("plugins.MixedPrecision")):
        return False
    Precision.clip_gradients(plugin, optimizer, threshold, GradClipAlgorithmType(algorithm or "norm"))
    return True
