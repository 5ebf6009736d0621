"""Lightning's precisions: resolve the setting, reproduce one, read its loss scale, clip under it."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.plugins import Precision
from lightning.pytorch.plugins.precision import DoublePrecision, HalfPrecision
from lightning.pytorch.utilities import GradClipAlgorithmType
from torch.optim import Optimizer

from vestim_pl.lightning_support.lightning_classes import lightning_classes

__all__ = [
    "clip_under_mixed_precision",
    "gradient_scaler",
    "is_unscaled_in_step",
    "loss_scale",
    "precision_context",
    "resolve_precision",
]


def resolve_precision(setting: str | int | None, accelerator: str = "auto") -> str | int | None:
    """Replace ``mixed`` by the precision that suits the machine, and return other settings unchanged.

    ``mixed`` is fp16 with a gradient scaler on CUDA, and elsewhere bf16, which needs no scaler.

    Example::

        >>> resolve_precision("32-true")
        '32-true'
        >>> resolve_precision("mixed", accelerator="cpu")
        'bf16-mixed'

    """
    if setting != "mixed":
        return setting
    on_cuda = accelerator in ("cuda", "gpu") or (accelerator == "auto" and torch.cuda.is_available())
    return "16-mixed" if on_cuda else "bf16-mixed"


def precision_context(precision: str, device_type: str) -> AbstractContextManager[Any]:
    """Autocast or default dtype around ``training_step``, as Lightning's precision of that name sets it."""
    if precision in ("bf16-mixed", "16-mixed"):
        dtype = torch.bfloat16 if precision == "bf16-mixed" else torch.float16
        return torch.autocast(device_type, dtype=dtype, cache_enabled=False)
    if precision == "64-true":
        return DoublePrecision().train_step_context()
    if precision in ("bf16-true", "16-true"):
        return HalfPrecision(precision).train_step_context()  # type: ignore[arg-type]
    return nullcontext()


def gradient_scaler(trainer: Trainer) -> torch.amp.GradScaler | None:
    """The trainer's gradient scaler; None without one.

    Only Lightning's ``MixedPrecision`` has the attribute, and a project's own precision plugin may have it too. Tested
    with lightning 2.6.6.
    """
    return getattr(trainer.precision_plugin, "scaler", None)


def loss_scale(trainer: Trainer, lowered: bool = False) -> float | None:
    """Factor of the gradient scaler, None without one; reads the device.

    Args:
        trainer: The trainer.
        lowered: Whether the scaler has already lowered the factor for this step; returns the one before.

    """
    scaler = gradient_scaler(trainer)
    if scaler is None:
        return None
    return float(scaler.get_scale() / (scaler.get_backoff_factor() if lowered else 1.0))


def is_unscaled_in_step(trainer: Trainer, optimizer: Optimizer) -> bool:
    """Whether gradients stay multiplied by a loss scale until the optimizer divides by it within its own step.

    Reads torch's private mark of a fused optimizer, which Lightning reads too. Tested with torch 2.13.0.
    """
    return gradient_scaler(trainer) is not None and bool(getattr(optimizer, "_step_supports_amp_scaling", False))


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
