"""Check for weight decay."""

import inspect
from collections.abc import Mapping
from typing import Any

import torch

from vestim_pl.diagnosis.finding import Finding, Severity
from vestim_pl.settings.override import Override

__all__ = ["check_weight_decay"]

CHECK = "weight decay"


def check_weight_decay(optimizer: Mapping[str, Any], parameters: int, rows: int) -> Finding:
    """Report an optimizer without weight decay.

    Without it recurrent weights, and with them the gradient, can grow throughout a long training. The presets of the
    guide that work have 1e-4 or more.

    Args:
        optimizer: ``name`` and options, as configured.
        parameters: Trainable parameters.
        rows: Rows of the training split.

    Example::

        >>> finding = check_weight_decay({"name": "Adam", "lr": 1e-4, "weight_decay": 0.0}, 571, 57_100)
        >>> finding.severity.value, finding.evidence
        ('warning', 'optimizer.weight_decay is 0: nothing keeps the weights small (571 parameters, 100 rows for each)')

    """
    decay = float(optimizer.get("weight_decay") or (1e-2 if _decays_anyway(optimizer) else 0.0))
    if decay > 0:
        return Finding(CHECK, Severity.OK, f"optimizer.weight_decay is {decay:g}")
    name = str(optimizer.get("name"))
    if "weight_decay" not in inspect.signature(getattr(torch.optim, name)).parameters:
        return Finding(
            CHECK, Severity.NOTE, f"optimizer.name {name} has no weight decay", (Override("optimizer.name", "AdamW"),)
        )
    return Finding(
        CHECK,
        Severity.WARNING,
        "optimizer.weight_decay is 0: nothing keeps the weights small"
        f" ({parameters:,} parameters, {_rows(rows / parameters)} for each)",
        (Override("optimizer.weight_decay", 1e-4, added="weight_decay" not in optimizer),),
    )


def _rows(number: float) -> str:
    """Write the number of rows for a parameter; two digits if below one.

    Example::

        >>> _rows(100.0), _rows(1.2), _rows(0.034)
        ('100 rows', '1 row', '0.034 rows')

    """
    text = f"{number:,.0f}" if number >= 1 else f"{number:.2g}"
    return f"{text} row{'' if text == '1' else 's'}"


def _decays_anyway(optimizer: Mapping[str, Any]) -> bool:
    return optimizer.get("name") == "AdamW" and "weight_decay" not in optimizer
