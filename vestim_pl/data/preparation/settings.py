"""All that turns a file into the rows of a network, as plain values that a checkpoint keeps."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cached_property
from typing import Any

from vestim_pl.data.columns import Columns
from vestim_pl.data.formats.raw_table import FileOptions
from vestim_pl.data.preparation.current_sign import SIGNS
from vestim_pl.data.preparation.derived import check_formulas, names_in
from vestim_pl.data.preparation.state_of_charge import SocSource
from vestim_pl.data.preparation.table import QUANTITIES
from vestim_pl.data.preparation.temperature import check_temperature
from vestim_pl.data.preparation.units import Units
from vestim_pl.errors import ConfigurationError, name_error, printable
from vestim_pl.settings.checks import check_choice

__all__ = ["DEFAULT_STEPS", "PreparationSettings"]

DEFAULT_STEPS = (
    "current_sign", "twin_times", "max_gap", "soc", "temperature", "trim_rest", "resample", "derived",
)  # fmt: skip
CHECKS = ("refuse", "warn", "off")


@dataclass(frozen=True)
class PreparationSettings:
    """Settings of the preparation, with what a training found.

    Attributes:
        features: Inputs of the network in order, each a name of ``columns``, of ``derived``, or of a file's column; by
            default state of charge, current, temperature. Derived ones are added.
        columns: Column of each quantity in the files.
        files: How the files are written, where their content does not show it.
        units: Unit of each quantity.
        current_sign: ``auto``, ``charge_positive`` or ``discharge_positive``.
        checks: ``refuse``, ``warn`` or ``off``: what happens where values mean something else than they should.
        cells_in_series: Cells of a pack whose voltage the files have; None for one cell. Only the checks use it.
        prepare: Names of the steps, in order.
        twin_times: Whether the last of rows with the same time is kept; else such files are refused.
        max_gap: Longest interval in seconds that is no gap; None for ten usual intervals.
        soc: How the state of charge is counted where a file has none.
        temperature: Temperature where a file has none: degC, ``name``, or a pattern.
        trim_rest: Seconds of rest that stay before the first load; None for all.
        resample: Seconds between rows; None leaves the rows as they are.
        derived: Formula by the name of the feature that it computes.
        trained_units: Units that a checkpoint's training set, for columns whose files do not say their unit.
        roles: Quantity behind each feature; None takes it from ``columns``. A checkpoint has it, so that a command may
            name other columns for its files.
        interval: Seconds between the rows of the training; None if unknown.

    Raises:
        ConfigurationError: If a setting is unknown or out of range.

    Example::

        >>> settings = PreparationSettings(resample=1.0, units=Units(current="mA"))
        >>> again = PreparationSettings.from_dict(settings.to_dict())
        >>> again.resample, again.units.current, again.feature_roles["Temp"]
        (1.0, 'mA', 'temperature')

    """

    features: tuple[str, ...] = ()
    columns: Columns = field(default_factory=Columns)
    files: FileOptions = field(default_factory=FileOptions)
    units: Units = field(default_factory=Units)
    current_sign: str = "auto"
    checks: str = "refuse"
    cells_in_series: int | None = None
    prepare: tuple[str, ...] = DEFAULT_STEPS
    twin_times: bool = True
    max_gap: float | None = None
    soc: SocSource = field(default_factory=SocSource)
    temperature: float | str | None = None
    trim_rest: float | None = None
    resample: float | None = None
    derived: dict[str, str] = field(default_factory=dict)
    trained_units: Units = field(default_factory=Units)
    roles: dict[str, str] | None = None
    interval: float | None = None

    def __post_init__(self) -> None:
        derived = {str(name): str(formula) for name, formula in self.derived.items()}
        features = tuple(self.features) or self.columns.features
        object.__setattr__(self, "derived", derived)
        object.__setattr__(self, "features", (*features, *(name for name in derived if name not in features)))
        object.__setattr__(self, "prepare", tuple(self.prepare))
        check_choice("data.current_sign", self.current_sign, SIGNS)
        check_choice("data.checks", str(self.checks), CHECKS)
        for step in self.prepare:
            check_choice("data.prepare", step, DEFAULT_STEPS)
        for name in ("max_gap", "resample", "interval"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ConfigurationError(f"data.{name}: {value} is not positive; set seconds, for example 1.0, or null")
        if self.trim_rest is not None and not self.trim_rest >= 0:
            raise ConfigurationError(
                f"data.trim_rest: {self.trim_rest} is negative; set seconds, for example 10, or null"
            )
        if self.cells_in_series is not None and self.cells_in_series < 1:
            raise ConfigurationError(
                f"data.cells_in_series: {self.cells_in_series} is not positive; set for example 96"
            )
        check_temperature(self.temperature)
        check_formulas(derived)

    @cached_property
    def feature_roles(self) -> dict[str, str]:
        """Quantity, derived column or column of the file behind each feature, in order."""
        by_name = {getattr(self.columns, quantity): quantity for quantity in QUANTITIES}
        known = self.roles or {}
        return {
            name: known.get(name, name if name in self.derived else by_name.get(name, name)) for name in self.features
        }

    @cached_property
    def needed(self) -> tuple[set[str], set[str]]:
        """Quantities and other columns that features and formulas need, besides time and current."""
        wanted = {role for role in self.feature_roles.values() if role not in self.derived} | names_in(self.derived)
        return wanted & set(QUANTITIES), wanted - set(QUANTITIES)

    def to_dict(self) -> dict[str, Any]:
        """Return plain dictionaries, lists, numbers and texts."""
        return _plain(asdict(replace(self, roles=self.feature_roles)))

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "PreparationSettings":
        """Build from what `to_dict` returned; values that this version does not know are left out."""
        known: dict[str, Any] = {item.name: values[item.name] for item in fields(cls) if item.name in values}
        kinds = {"columns": Columns, "files": FileOptions, "units": Units, "trained_units": Units, "soc": SocSource}
        for name, kind in kinds.items():
            if name in known:
                names = {item.name for item in fields(kind)}
                known[name] = kind(**{key: value for key, value in known[name].items() if key in names})
        return cls(**known)

    @classmethod
    def of_estimator(cls, hyperparameters: Mapping[str, Any]) -> "PreparationSettings":
        """Build from the hyperparameters of an estimator; those of an old checkpoint only name the features."""
        stored = hyperparameters.get("preparation") or {}
        try:
            settings = cls.from_dict({"features": tuple(hyperparameters["features"]), **stored})
        except (TypeError, AttributeError, ValueError) as error:  # settings in a file can be anything
            raise ConfigurationError(
                f"ckpt_path: the checkpoint's settings of the preparation cannot be used "
                f"({printable(name_error(error))}); "
                "give another checkpoint"
            ) from error
        return replace(settings, units=Units(), trained_units=settings.units)

    def overridden_by(self, own: "PreparationSettings") -> "PreparationSettings":
        """Return the settings of a checkpoint, except where a command sets something else than the default.

        Example::

            >>> trained = PreparationSettings(resample=1.0, current_sign="discharge_positive")
            >>> used = trained.overridden_by(PreparationSettings(current_sign="charge_positive"))
            >>> used.resample, used.current_sign
            (1.0, 'charge_positive')

        """
        fixed = ("features", "derived", "roles", "interval", "trained_units")
        kept = {name: getattr(self, name) for name in fixed} | {"roles": self.feature_roles}
        merged: dict[str, Any] = {}
        for item in fields(self):
            mine, theirs = getattr(self, item.name), getattr(own, item.name)
            if item.name in ("columns", "files", "units", "soc"):
                default = type(mine)()
                changed = {each.name: getattr(theirs, each.name) for each in fields(mine)}
                merged[item.name] = replace(
                    mine, **{name: value for name, value in changed.items() if value != getattr(default, name)}
                )
            else:
                merged[item.name] = mine if theirs == getattr(PreparationSettings(), item.name) else theirs
        return PreparationSettings(**(merged | kept))


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(item) for item in value]
    return value
