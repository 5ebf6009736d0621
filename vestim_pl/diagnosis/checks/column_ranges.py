"""Check for test rows outside the range of the training data."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from vestim_pl.data import RecordingTable
from vestim_pl.diagnosis.finding import Finding, Severity

__all__ = ["check_column_ranges"]

CHECK = "test range"
MUCH = 0.01  # fraction of the rows


def check_column_ranges(train: RecordingTable, test: RecordingTable, features: Sequence[str], voltage: str) -> Finding:
    """Count the test rows outside the training range, column by column.

    The network extrapolates there, and its error says little about the range it was trained for. No setting fixes this;
    it takes training recordings that cover the range.

    Args:
        train: Rows of the training split.
        test: Rows of the test split.
        features: Names of the feature columns.
        voltage: Name of the voltage column.

    Example::

        >>> import torch
        >>> def table(*temperatures):
        ...     column = torch.tensor(temperatures)
        ...     return RecordingTable.of(["a"], [column[:, None]], [torch.full_like(column, 3.7)])
        >>> print(check_column_ranges(table(0.0, 40.0), table(-20.0, 10.0), ["Temp"], "Voltage").evidence)
        50 % of the test rows lie outside the training range in Temp (test -20 to 10, training 0 to 40): add training
        recordings that cover it

    """
    parts, largest = [], 0.0
    for name, seen, asked in _columns(train, test, [*features, voltage]):
        low, high = float(seen.min()), float(seen.max())
        outside = float(np.mean((asked < low) | (asked > high)))
        if outside:
            spans = _spans((float(asked.min()), float(asked.max())), (low, high))
            parts.append(f"{_percent(outside)} of the test rows lie outside the training range in {name} ({spans})")
            largest = max(largest, outside)
    if not parts:
        return Finding(CHECK, Severity.OK, f"all {test.rows:,} test rows lie within the training range of every column")
    severity = Severity.WARNING if largest > MUCH else Severity.NOTE
    suggestion = ": add training recordings that cover it" if severity is Severity.WARNING else ""
    return Finding(CHECK, severity, "; ".join(parts) + suggestion)


def _spans(test: tuple[float, float], train: tuple[float, float]) -> str:
    """Write both ranges with enough digits to show where they differ.

    Example::

        >>> _spans((2.5, 4.20001), (2.5, 4.2))
        'test 2.5 to 4.20001, training 2.5 to 4.2'

    """
    for digits in range(4, 10):
        asked, seen = ([f"{value:.{digits}g}" for value in span] for span in (test, train))
        shown = [left != right for left, right in zip(asked, seen, strict=True)]
        if shown == [left != right for left, right in zip(test, train, strict=True)]:
            break
    return f"test {' to '.join(asked)}, training {' to '.join(seen)}"


def _columns(
    train: RecordingTable, test: RecordingTable, names: Sequence[str]
) -> list[tuple[str, NDArray[np.float32], NDArray[np.float32]]]:
    pairs = [(train.inputs[:, index], test.inputs[:, index]) for index in range(len(names) - 1)]
    pairs.append((train.target, test.target))
    return [(name, left.cpu().numpy(), right.cpu().numpy()) for name, (left, right) in zip(names, pairs, strict=True)]


def _percent(part: float) -> str:
    return f"{100 * part:.0f} %" if part >= 0.01 else f"{100 * part:.2g} %"
