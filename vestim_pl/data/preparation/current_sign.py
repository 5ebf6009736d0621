"""Give the current its sign: discharge negative."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from vestim_pl.data.fixes import FixableError
from vestim_pl.data.preparation.table import Note, StandardTable
from vestim_pl.settings.override import Override

__all__ = ["SIGNS", "signed_by_states", "with_sign"]

SIGNS = ("auto", "charge_positive", "discharge_positive")
_DISCHARGE = r"^d$|^dis|dch|disch|entlad"
_CHARGE = r"^c$|^cha|chg|charge|laden"
_SMALL = 0.01  # of the largest current: at rest


def with_sign(table: StandardTable, sign: str, label: str = "") -> tuple[StandardTable, list[Note]]:
    """Make discharge currents negative.

    Args:
        table: The table; a column ``state`` has the tester's state of each row.
        sign: ``charge_positive`` takes the current as it is, ``discharge_positive`` turns it. ``auto`` takes it as it
            is too, but signs a current that is never negative by the tester's states, if there are any.
        label: Name of the file in messages.

    Raises:
        DataError: If the current has no sign and the states do not say which rows discharge.

    Example::

        >>> table = StandardTable({"current": np.array([0.0, 2.0, 1.0]), "state": np.array(["R", "D", "C"])})
        >>> with_sign(table, "auto")[0]["current"].tolist()
        [0.0, -2.0, 1.0]

    """
    if "current" not in table:
        return table, []
    current = table["current"]
    if sign == "discharge_positive":
        note = Note("current: discharge is positive in the files (data.current_sign), so its sign is turned")
        return table.with_columns(current=-current), [note]
    unsigned = sign == "auto" and "state" in table and len(current) and current.min() >= 0 < current.max()
    if not unsigned:
        return table, []
    signs = signed_by_states(pd.Series(table["state"]), current > _SMALL * current.max(), label)
    if signs is None:
        return table, []
    return table.with_columns(current=current * signs), [Note("current: has no sign, so the column of states signs it")]


def signed_by_states(states: pd.Series, loaded: NDArray[np.bool_], label: str = "") -> NDArray[np.float64] | None:
    """Return -1 where a tester's state is a discharge, and 1 elsewhere; None if no state is known.

    Args:
        states: State of each row, such as ``D``, ``CC DChg``, ``Discharge``, ``C``, ``CHA``, ``R``.
        loaded: Rows whose current is not zero, which need a known state.
        label: Name of the file in messages.

    Raises:
        DataError: If such a row is neither a charge nor a discharge by its state.

    """
    text = states.astype(str).str.strip().str.lower()
    kinds = pd.Series(text.unique())
    discharge = text.isin(kinds[kinds.str.contains(_DISCHARGE)]).to_numpy()
    charge = text.isin(kinds[kinds.str.contains(_CHARGE)]).to_numpy() & ~discharge
    if not discharge.any() and not charge.any():
        return None
    unknown = np.flatnonzero(loaded & ~discharge & ~charge)
    if unknown.size:
        way = Override("data.current_sign", "discharge_positive")
        raise FixableError(
            f"{label}: the current is never negative, and state {str(states.iloc[int(unknown[0])])!r} is neither a "
            "charge "
            f"nor a discharge, so its sign is unknown; set {way} if the cell is only discharged, "
            f"{Override('data.current_sign', 'charge_positive')} if it is only charged, or name a signed column by "
            "data.columns.current",
            guesses=[way],
        )
    return np.where(discharge, -1.0, 1.0)
