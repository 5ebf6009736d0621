"""State of charge of files that have no column of it, by counting charge."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vestim_pl.data.preparation.table import Note, StandardTable
from vestim_pl.errors import ConfigurationError, DataError

__all__ = ["SocSource", "counted_charge", "with_soc"]

_INITIAL = ("rest_ocv", "column")
_HOUR = 3600.0
_ALIKE, _ALIKE_SPAN = 0.02, 0.1  # of the capacity and of what flows: the tester's counter and the counted current
_DRIFT_SAID = 0.005
_AT_REST = 0.02  # of the capacity an hour: C/50


@dataclass(frozen=True)
class SocSource:
    """Say how the state of charge is counted where a file has no column of it.

    Attributes:
        capacity_ah: Capacity in Ah; None counts nothing, so every file needs a column.
        initial: State of charge of the first row, 0 to 1; ``rest_ocv`` reads it from the voltage at rest by ``ocv``;
            ``column`` takes the first value of the file's own column and counts from there.
        ocv: Points of the open-circuit voltage, ``[[soc, volts], ...]``, for ``rest_ocv``.
        final: Known state of charge of the last row; the difference to the counted one is reported.

    Raises:
        ConfigurationError: If a value is out of range, or ``rest_ocv`` has no points.

    Example::

        >>> SocSource(capacity_ah=3.0).initial
        1.0

    """

    capacity_ah: float | None = None
    initial: float | str = 1.0
    ocv: Sequence[Sequence[float]] | None = None
    final: float | None = None

    def __post_init__(self) -> None:
        if self.capacity_ah is not None and not self.capacity_ah > 0:
            raise ConfigurationError(f"data.soc.capacity_ah: {self.capacity_ah} is not positive; set the cell's Ah")
        if isinstance(self.initial, str) and self.initial not in _INITIAL:
            raise ConfigurationError(
                f"data.soc.initial: {self.initial!r} is unknown; choose a number from 0 to 1, 'rest_ocv' or 'column'"
            )
        for name in ("initial", "final"):
            value = getattr(self, name)
            if isinstance(value, int | float) and not 0 <= value <= 1:
                raise ConfigurationError(f"data.soc.{name}: {value} is not between 0 and 1; 0.9 is 90 %")
        if self.initial == "rest_ocv":
            self._check_ocv()

    def _check_ocv(self) -> None:
        points = None if self.ocv is None else [list(point) for point in self.ocv]
        if (
            not points
            or len(points) < 2
            or any(len(point) != 2 for point in points)
            or np.any(np.diff(np.asarray(sorted(points), dtype=np.float64), axis=0) <= 0)
        ):
            raise ConfigurationError(
                "data.soc.ocv: data.soc.initial=rest_ocv needs points [soc, volts] that rise in both, for example "
                "'data.soc.ocv=[[0,2.9],[0.1,3.4],[0.5,3.7],[1,4.18]]'"
            )


def counted_charge(table: StandardTable) -> NDArray[np.float64]:
    """Integrate the current to Ah from the first row, by trapezoids; nothing flows between pieces.

    Example::

        >>> table = StandardTable({"time": np.array([0.0, 1800.0, 3600.0]), "current": np.array([-2.0, -2.0, -2.0])})
        >>> counted_charge(table)
        array([ 0., -1., -2.])

    """
    current = table["current"].astype(np.float64)
    steps = np.diff(table["time"])
    steps[[start - 1 for start in table.starts[1:]]] = 0.0
    steps *= current[1:] + current[:-1]
    charge = np.zeros(len(current))
    np.cumsum(steps, out=charge[1:])
    charge *= 0.5 / _HOUR
    return charge


def with_soc(table: StandardTable, source: SocSource, label: str = "") -> tuple[StandardTable, list[Note]]:
    """Add the state of charge where the file has none, or count it anew from its first value.

    The tester's counter ``ah`` is taken where it follows the current to 2 % of the capacity and a tenth of
    what flows; it knows what flowed
    between
    the rows. Else the current is counted.

    Args:
        table: The table, before resampling; its column ``ah`` has a net counter in Ah, if there is one.
        source: Capacity and initial state.
        label: Name of the file in messages.

    Raises:
        DataError: If the cell is not at rest where ``rest_ocv`` needs it.

    """
    has_column = "soc" in table
    if source.capacity_ah is None or (has_column and source.initial != "column"):
        return table, []
    if not has_column and source.initial == "column":
        raise DataError(
            f"{label}: has no column of SOC, which data.soc.initial=column needs; set the SOC of the first row, for "
            "example "
            "data.soc.initial=1.0"
        )
    charge, origin = _charge(table, source.capacity_ah)
    initial = _initial(table, source, label)
    soc = initial + (charge - charge[0]) / source.capacity_ah
    notes = [Note(f"SOC: no column, so it is counted from {origin} with {source.capacity_ah:g} Ah (data.soc)")]
    if has_column:
        notes = [
            Note(f"SOC: counted anew from the first value of its column, with {source.capacity_ah:g} Ah (data.soc)")
        ]
    known = float(table["soc"][-1]) if has_column else source.final
    if known is not None and abs(drift := float(soc[-1]) - known) > _DRIFT_SAID:
        notes.append(Note(f"SOC: {label} ends {100 * drift:+.1f} % off its known end of {known:.3f}"))
    return table.with_columns(soc=soc), notes


def _charge(table: StandardTable, capacity: float) -> tuple[NDArray[np.float64], str]:
    """Return the net charge in Ah, and where it comes from."""
    counted = counted_charge(table)
    if "ah" not in table:
        return counted, "the current"
    counter = table["ah"]
    steps = np.diff(counter)
    steps[[start - 1 for start in table.starts[1:]]] = 0.0  # what flowed in a gap is known to the counter alone
    inside = np.concatenate([[0.0], np.cumsum(steps)])
    limit = min(_ALIKE * capacity, _ALIKE_SPAN * float(np.ptp(counted)))
    for sign in (1.0, -1.0):  # some testers count discharge as positive
        if np.all(np.isfinite(counter)) and np.max(np.abs(sign * inside - counted)) <= limit:
            return sign * counter, "the tester's Ah counter"
    return counted, "the current (the Ah counter does not follow it)"


def _initial(table: StandardTable, source: SocSource, label: str) -> float:
    if source.initial == "column":
        return float(table["soc"][0])
    if source.initial != "rest_ocv":
        return float(source.initial)
    current, capacity = float(table["current"][0]), source.capacity_ah or 0.0
    if "voltage" not in table or abs(current) > _AT_REST * capacity:
        raise DataError(
            f"{label}: the cell is not at rest in its first row ({current:g} A), as data.soc.initial=rest_ocv needs; "
            "set "
            "the SOC of the first row, for example data.soc.initial=1.0"
        )
    points = np.asarray(sorted(map(list, source.ocv or [])), dtype=np.float64)
    return float(np.interp(float(table["voltage"][0]), points[:, 1], points[:, 0]))
