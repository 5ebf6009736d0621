"""Names of the columns that hold each quantity."""

from dataclasses import dataclass, fields

from vestim_pl.errors import ConfigurationError

__all__ = ["Columns"]


@dataclass(frozen=True)
class Columns:
    """Map each quantity to a column, so files work without renaming their columns.

    Attributes:
        time: Time in seconds from any start, or dates; must increase from row to row.
        current: Current in amperes, discharge negative.
        voltage: Terminal voltage in volts, the target.
        temperature: Temperature in degC.
        soc: State of charge, 0 to 1.

    Raises:
        ConfigurationError: If a name is empty, or two quantities have the same column.

    Example::

        >>> Columns(voltage="U [V]").features
        ('SOC', 'Current', 'Temp')

    """

    time: str = "Time"
    current: str = "Current"
    voltage: str = "Voltage"
    temperature: str = "Temp"
    soc: str = "SOC"

    def __post_init__(self) -> None:
        roles: dict[str, str] = {}
        for item in fields(self):
            column = getattr(self, item.name)
            if not isinstance(column, str) or not column.strip():
                raise ConfigurationError(f"data.columns.{item.name}: {column!r} is not a column name; name the column")
            if column in roles:
                raise ConfigurationError(
                    f"data.columns.{item.name}: {column!r} is already data.columns.{roles[column]}; "
                    "each quantity needs its own column"
                )
            roles[column] = item.name

    @property
    def features(self) -> tuple[str, str, str]:
        """Default inputs of a network: state of charge, current, temperature."""
        return (self.soc, self.current, self.temperature)

    def setting_of(self, column: str) -> str:
        """Return the name of the setting that asks for a column, for error messages."""
        for item in fields(self):
            if getattr(self, item.name) == column:
                return f"data.columns.{item.name}"
        return "data.features"
