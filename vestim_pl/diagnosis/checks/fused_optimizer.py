"""A fused optimizer under an fp16 gradient scaler."""

from collections.abc import Mapping
from typing import Any

from vestim_pl.diagnosis.finding import Finding, Severity

__all__ = ["check_fused_optimizer"]

CHECK = "fused optimizer"


def check_fused_optimizer(optimizer: Mapping[str, Any], precision: str) -> Finding:
    """Refuse the one combination that does not train: the optimizer unscales the gradients itself, too late to clip.

    Args:
        optimizer: ``name`` and options, as configured.
        precision: ``trainer.precision`` as resolved for this machine.

    Example::

        >>> check_fused_optimizer({"name": "Adam", "fused": True}, "16-mixed").severity.value
        'error'
        >>> check_fused_optimizer({"name": "Adam", "fused": True}, "bf16-mixed").severity.value
        'ok'

    """
    fused = bool(optimizer.get("fused"))
    if fused and precision in ("16-mixed", "16"):
        evidence = f"optimizer.fused is true with {precision}: gradients are still scaled where they would be clipped"
        return Finding(CHECK, Severity.ERROR, evidence, "optimizer.fused=false")
    return Finding(CHECK, Severity.OK, f"optimizer.fused is {str(fused).lower()}, precision {precision}")
