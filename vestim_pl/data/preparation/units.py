"""Convert columns to standard units."""

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vestim_pl.errors import ConfigurationError
from vestim_pl.settings.checks import check_choice

__all__ = ["UNITS", "Units", "converted"]

# unit -> (factor, offset): standard = value * factor + offset
UNITS: dict[str, dict[str, tuple[float, float]]] = {
    "time": {
        "s": (1.0, 0.0),
        "ms": (1e-3, 0.0),
        "us": (1e-6, 0.0),
        "ns": (1e-9, 0.0),
        "min": (60.0, 0.0),
        "h": (3600.0, 0.0),
        "d": (86_400.0, 0.0),
    },
    "current": {"A": (1.0, 0.0), "mA": (1e-3, 0.0), "uA": (1e-6, 0.0)},
    "voltage": {"V": (1.0, 0.0), "mV": (1e-3, 0.0)},
    "temperature": {"degC": (1.0, 0.0), "K": (1.0, -273.15), "degF": (5 / 9, -160 / 9)},
    "soc": {"1": (1.0, 0.0), "%": (0.01, 0.0), "DOD": (-1.0, 1.0), "DOD%": (-0.01, 1.0)},
    "ah": {"Ah": (1.0, 0.0), "mAh": (1e-3, 0.0)},
}


@dataclass(frozen=True)
class Units:
    """Unit of each quantity in the files; ``auto`` is the unit in the column's name, else the standard one.

    Attributes:
        time: ``s``, ``ms``, ``us``, ``ns``, ``min``, ``h`` or ``d``.
        current: ``A``, ``mA`` or ``uA``.
        voltage: ``V`` or ``mV``.
        temperature: ``degC``, ``K`` or ``degF``.
        soc: ``1`` for 0 to 1, or ``%``; ``DOD`` or ``DOD%`` for a depth of discharge.

    Raises:
        ConfigurationError: If a unit is unknown.

    Example::

        >>> Units(temperature="K").temperature
        'K'

    """

    time: str = "auto"
    current: str = "auto"
    voltage: str = "auto"
    temperature: str = "auto"
    soc: str | int = "auto"

    def __post_init__(self) -> None:
        if isinstance(self.soc, bool) or self.soc not in ("auto", 1, *UNITS["soc"]):
            raise ConfigurationError(f"data.units.soc: {self.soc!r} is unknown; choose auto, {', '.join(UNITS['soc'])}")
        object.__setattr__(self, "soc", str(self.soc))  # Hydra reads 1 as a number
        for item in fields(self):
            check_choice(f"data.units.{item.name}", getattr(self, item.name), ("auto", *UNITS[item.name]))

    def of(self, quantity: str) -> str:
        """Return the unit that is set for a quantity, or ``auto``."""
        return str(getattr(self, quantity, "auto"))


def converted(values: NDArray[Any], quantity: str, unit: str) -> NDArray[Any]:
    """Convert values to the standard unit of their quantity; standard values are returned as they are.

    Example::

        >>> converted(np.array([293.15, 273.15]), "temperature", "K")
        array([20.,  0.])

    """
    factor, offset = UNITS[quantity][unit]
    if (factor, offset) == (1.0, 0.0):
        return values
    return np.asarray(values, dtype=np.float64) * factor + offset
