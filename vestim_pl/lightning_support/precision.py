"""Lightning's precision for the setting ``mixed``."""

import torch

__all__ = ["resolve_precision"]


def resolve_precision(setting: str | int | None, accelerator: str = "auto") -> str | int | None:
    """Replace ``mixed`` by the precision that suits the machine, and return other settings unchanged.

    ``mixed`` is fp16 with a gradient scaler on CUDA, and elsewhere bf16, which needs no scaler.

    Args:
        setting: ``mixed`` or any precision that Lightning's Trainer takes.
        accelerator: Lightning's accelerator setting.

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
