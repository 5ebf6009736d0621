"""Figures of a recording that show what its values mean."""

from dataclasses import dataclass

import numpy as np

from vestim_pl.data.preparation.state_of_charge import counted_charge
from vestim_pl.data.preparation.table import StandardTable

__all__ = ["Evidence", "SignEvidence", "implied_capacity", "sign_evidence"]

LARGEST = 0.02  # of the current steps
ENOUGH = 15  # of them
_STEP = 0.05  # of the largest current: smaller changes are noise
_SPAN = 0.02  # of SOC, to see a capacity in it
_POINTS = 500
_IRREGULAR = 3  # intervals; fewer are rows that were lost
_FOLLOWS, _TREND_FOLLOWS = 0.9, 0.7  # correlation squared of charge and SOC, of charge and voltage
_VOLTS_SPAN = 0.2  # to see the trend of the voltage
_LOST, _THERE = 0.1, 0.5  # of the median voltage


@dataclass(frozen=True)
class SignEvidence:
    """Response of the voltage to steps of the current.

    Attributes:
        share: Share of the steps at which voltage and current change in the same direction.
        steps: Number of steps.
        ohms: Median of the change of voltage over the change of current.

    """

    share: float
    steps: int
    ohms: float


@dataclass(frozen=True)
class Evidence:
    """What one recording shows.

    Attributes:
        interval: Usual seconds between rows; None with one row.
        irregular: Share of the intervals that are far from the usual one; 0 for fewer than three.
        intervals: Smallest and largest interval within a piece, in seconds.
        sign: Response of the voltage to the current; None with too few steps.
        capacity_ah: Capacity that current and SOC imply, negative if SOC falls while the current charges; None if the
            SOC spans too little or does not follow the current.
        ranges: Lowest and highest value by quantity.
        start: Time of the first row in seconds.
        dropouts: How often the voltage drops below a tenth of its median from one row to the next.
        trend: Slope of the charge over the voltage in Ah/V, where both change much and together and there is no
            ``sign``; else None. A cell's voltage falls while it is discharged for long, whatever its steps.

    """

    interval: float | None
    irregular: float
    intervals: tuple[float, float]
    sign: SignEvidence | None
    capacity_ah: float | None
    ranges: dict[str, tuple[float, float]]
    start: float = 0.0
    dropouts: int = 0
    trend: float | None = None

    @classmethod
    def of(cls, table: StandardTable) -> "Evidence":
        """Measure a table in standard units, before it is resampled."""
        intervals, usual, odd = table.intervals, table.usual_interval, 0.0
        spread = table.interval_range
        if usual is not None and not (spread[0] >= 0.5 * usual and spread[1] <= 1.5 * usual):
            count = int(np.count_nonzero(np.abs(intervals - usual) > 0.5 * usual))
            odd = count / len(intervals) if count >= _IRREGULAR else 0.0
        sign = sign_evidence(table)
        names = [name for name in ("current", "voltage", "temperature", "soc") if name in table]
        return cls(
            usual,
            odd,
            spread,
            sign,
            implied_capacity(table),
            {name: (float(table[name].min()), float(table[name].max())) for name in names if len(table)},
            float(table["time"][0]) if len(table) else 0.0,
            _dropouts(table) if "voltage" in table and len(table) else 0,
            _charge_over(table, "voltage", _VOLTS_SPAN, _TREND_FOLLOWS) if sign is None else None,
        )


def _dropouts(table: StandardTable) -> int:
    """Count how often the voltage is lost or comes back from one row to the next."""
    voltage = table["voltage"]
    if voltage.min() >= _LOST * voltage.max():  # mostly; the median takes longer
        return 0
    usual = np.median(voltage)
    lost, there = voltage < _LOST * usual, voltage > _THERE * usual
    return max(int(np.count_nonzero(there[:-1] & lost[1:])), int(np.count_nonzero(lost[:-1] & there[1:])))


def sign_evidence(table: StandardTable) -> SignEvidence | None:
    """Look at the voltage at the largest steps of the current: 2 % of all, and at least 15.

    A cell's resistance is positive, so the voltage rises where a current that is positive in charge rises. The largest
    steps are where the resistance shows most; a change below 5 % of the largest current is no step.

    Returns:
        None with fewer than 15 steps.

    """
    if "current" not in table or "voltage" not in table:
        return None
    current, voltage = (np.diff(table[name]) for name in ("current", "voltage"))
    size = np.abs(current)
    size[[start - 1 for start in table.starts[1:]]] = 0.0  # no step, but another piece
    count = max(ENOUGH, int(np.ceil(LARGEST * len(size))))
    largest = np.argpartition(size, -count)[-count:] if len(size) > count else np.arange(len(size))
    largest = largest[size[largest] > _STEP * np.abs(table["current"]).max(initial=0.0)]
    if len(largest) < ENOUGH:
        return None
    ohms = voltage[largest].astype(np.float64) / current[largest]
    moved = ohms[ohms != 0]
    if len(moved) < ENOUGH:
        return None
    return SignEvidence(float(np.mean(moved > 0)), len(moved), float(np.median(ohms)))


def implied_capacity(table: StandardTable) -> float | None:
    """Compute the capacity in Ah as the slope of the counted charge over SOC, within each piece.

    Example::

        >>> columns = {"time": [0.0, 1800.0, 3600.0], "current": [-1.5, -1.5, -1.5], "soc": [1.0, 0.75, 0.5]}
        >>> implied_capacity(StandardTable({name: np.array(values) for name, values in columns.items()}))
        3.0

    """
    return _charge_over(table, "soc", _SPAN, _FOLLOWS)


def _charge_over(table: StandardTable, name: str, span_of_column: float, follows: float) -> float | None:
    """Slope of the counted charge over a column; None if the column spans too little or they are not correlated."""
    if "current" not in table or name not in table or len(table) < 2 or np.ptp(table[name]) < span_of_column:
        return None
    column, charge = table[name], counted_charge(table)
    products, squares, charges = 0.0, 0.0, 0.0
    for span in table.spans():
        few = slice(span.start, span.stop, 1 + (span.stop - span.start) // _POINTS)  # they lie on a line
        x, y = (values[few].astype(np.float64) for values in (column, charge))
        x, y = x - x.mean(), y - y.mean()
        products, squares, charges = products + float(x @ y), squares + float(x @ x), charges + float(y @ y)
    if squares * charges == 0.0 or products**2 < follows * squares * charges:
        return None
    return products / squares
