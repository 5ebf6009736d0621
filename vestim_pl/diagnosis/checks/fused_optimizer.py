"""Check for a fused optimizer with the gradient scaler of fp16."""

from collections.abc import Mapping
from typing import Any

from vestim_pl.diagnosis.finding import Finding, Severity
from vestim_pl.settings.override import Override

__all__ = ["check_fused_optimizer"]

CHECK = "fused optimizer"


def check_fused_optimizer(optimizer: Mapping[str, Any], precision: str) -> Finding:
    """Report a combination that cannot train: the fused optimizer unscales the gradients itself, after clipping.

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
        evidence = f"optimizer.fused is true with {precision}: gradients are clipped before they are unscaled"
        return Finding(CHECK, Severity.ERROR, evidence, (Override("optimizer.fused", False),))
    return Finding(CHECK, Severity.OK, f"optimizer.fused is {str(fused).lower()}, precision {precision}")
