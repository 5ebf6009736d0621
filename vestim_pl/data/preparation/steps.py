"""The steps by name, and how they run."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from vestim_pl.data.preparation.current_sign import with_sign
from vestim_pl.data.preparation.derived import with_derived
from vestim_pl.data.preparation.gaps import cut_at_gaps
from vestim_pl.data.preparation.resampling import resampled
from vestim_pl.data.preparation.rest import trim_leading_rest
from vestim_pl.data.preparation.settings import DEFAULT_STEPS, PreparationSettings
from vestim_pl.data.preparation.state_of_charge import with_soc
from vestim_pl.data.preparation.table import Note, StandardTable
from vestim_pl.data.preparation.temperature import with_temperature
from vestim_pl.data.preparation.twin_times import keep_later_twins

__all__ = ["STEPS", "run_steps"]

Step = Callable[[StandardTable, PreparationSettings, str], tuple[StandardTable, list[Note]]]


def _interval(table: StandardTable, settings: PreparationSettings) -> float | None:
    """Seconds between the rows that features are derived from."""
    return settings.resample or settings.interval or table.usual_interval


# To add a step: a pure function in a file of its own, a line here, and its name in `DEFAULT_STEPS`.
STEPS: dict[str, Step] = {
    "current_sign": lambda table, settings, label: with_sign(table, settings.current_sign, label),
    "twin_times": lambda table, settings, label: keep_later_twins(table, label) if settings.twin_times else (table, []),
    "max_gap": lambda table, settings, label: cut_at_gaps(table, settings.max_gap, label),
    "soc": lambda table, settings, label: with_soc(table, settings.soc, label),
    "temperature": lambda table, settings, label: with_temperature(table, settings.temperature, label),
    "trim_rest": lambda table, settings, _: trim_leading_rest(table, settings.trim_rest),
    "resample": lambda table, settings, _: resampled(table, settings.resample),
    "derived": lambda table, settings, label: with_derived(table, settings.derived, _interval(table, settings), label),
}
assert tuple(STEPS) == DEFAULT_STEPS  # noqa: S101


class Prepared(NamedTuple):
    """A table after some steps, with what they did."""

    table: StandardTable
    notes: list[Note]


def run_steps(table: StandardTable, settings: PreparationSettings, names: Sequence[str], label: str = "") -> Prepared:
    """Run steps one after the other.

    Args:
        table: The table.
        settings: Arguments of the steps.
        names: Steps to run, in order.
        label: Path of the file below the folder of the data.

    """
    notes: list[Note] = []
    for name in names:
        table, said = STEPS[name](table, settings, label)
        notes += said
    return Prepared(table, notes)
