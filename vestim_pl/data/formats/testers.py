"""Recognise the tester that wrote a text by the names of its columns."""

from collections.abc import Iterable

__all__ = ["tester_of"]

_NAMES = {
    "Digatron": {"Prog Time", "Procedure"},
    "Arbin": {"Data_Point", "Step_Index"},
    "Maccor": {"Rec#", "ES"},
    "Neware": {"DataPoint"},
    "Novonix": {"Run Time (h)", "Potential (V)"},
    "BioLogic": {"Ns changes", "time/s"},
    "Basytec": {"DataSet", "Line", "Command"},
    "Battery Data Format": {"Test Time / s", "Voltage / V"},
    "VEstim": {"Timestamp", "Voltage", "Current", "Temp", "SOC"},
}


def tester_of(names: Iterable[str]) -> str:
    """Return the tester or convention by whose names all columns of a set are called; empty if there is none.

    Example::

        >>> tester_of(["Time Stamp", "Step", "Prog Time", "Procedure", "Voltage"]), tester_of(["Time", "Voltage"])
        ('Digatron', '')

    """
    found = set(names)
    return next((tester for tester, typical in _NAMES.items() if typical <= found), "")
