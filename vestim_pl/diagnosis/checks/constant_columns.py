"""Check for columns that never change."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from vestim_pl.data import RecordingTable
from vestim_pl.diagnosis.finding import Finding, Severity
from vestim_pl.settings.override import Override

__all__ = ["check_constant_columns"]

CHECK = "constant columns"
CONSTANT = 1e-6  # of the largest value; rounding of float32


def check_constant_columns(table: RecordingTable, features: Sequence[str], voltage: str) -> Finding:
    """Find training columns without information, because every row has the same value.

    Args:
        table: Rows of the training split.
        features: Names of the feature columns.
        voltage: Name of the voltage column.

    Example::

        >>> import torch
        >>> table = RecordingTable.of(["a"], [torch.tensor([[1.0, 25.0], [2.0, 25.0]])], [torch.tensor([3.7, 3.6])])
        >>> finding = check_constant_columns(table, ["Current", "Temp"], "Voltage")
        >>> finding.evidence, finding.override
        ('Temp is 25 in all 2 rows of the training split: no information', "'data.features=[Current]'")

    """
    values = {name: table.inputs[:, index].cpu().numpy() for index, name in enumerate(features)}
    target = table.target.cpu().numpy()
    if _is_constant(target):
        evidence = f"{voltage} is {target[0]:g} V in all {table.rows:,} rows of the training split: nothing to learn"
        return Finding(CHECK, Severity.ERROR, evidence)
    constant = [name for name, column in values.items() if _is_constant(column)]
    if not constant:
        return Finding(CHECK, Severity.OK, f"all of {', '.join([*features, voltage])} vary")
    values_found = ", ".join(f"{name} is {values[name][0]:g}" for name in constant)
    rest = [name for name in features if name not in constant]
    return Finding(
        CHECK,
        Severity.WARNING,
        f"{values_found} in all {table.rows:,} rows of the training split: no information",
        (Override("data.features", rest),) if rest else (),
    )


def _is_constant(column: NDArray[np.float32]) -> bool:
    return bool(np.ptp(column) <= CONSTANT * max(float(np.abs(column).max()), 1e-12))
