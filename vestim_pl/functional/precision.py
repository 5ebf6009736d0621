"""The precision that a machine can do well, for the setting that a person writes."""

import logging

import torch

__all__ = ["resolve_precision"]

_log = logging.getLogger("vestim_pl")


def resolve_precision(setting: str | int | None, accelerator: str = "auto") -> str | int | None:
    """Lightning's precision for a setting: ``mixed`` is chosen by the machine, the rest is passed on.

    ``mixed`` means fp16 with a gradient scaler on CUDA and bf16, which needs none, elsewhere. What was chosen is said
    in the log.

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
    chosen, why = (
        ("16-mixed", "fp16 with a gradient scaler on CUDA") if on_cuda else ("bf16-mixed", "bf16, as there is no CUDA")
    )
    _log.info("trainer.precision: mixed is %s here: %s", chosen, why)
    return chosen
