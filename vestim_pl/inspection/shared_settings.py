"""Join the settings that files need into those of one training, which has the same for all files."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from vestim_pl.data.preparation.meaning.evidence import Evidence
from vestim_pl.settings.override import Override, command_text

__all__ = ["changed_values", "majority_settings", "shared_settings"]

_READING = ("data.units.", "data.columns.", "data.csv.", "data.current_sign", "data.sheet", "data.date_order")
"""Settings that change how every file is read."""

_LARGEST = ("data.resample", "data.soc.capacity_ah", "data.cells_in_series")
"""Settings of which the largest serves all files."""


def shared_settings(needed: Iterable[Sequence[Override]]) -> list[Override]:
    """Choose one value for each setting: the one that most files need, or the largest where that serves all.

    Args:
        needed: Settings that each file needs.

    Example::

        >>> rates = [[Override("data.resample", 0.1)], [Override("data.resample", 1.0), Override("data.sheet", "A")]]
        >>> [str(each) for each in shared_settings(rates)]
        ['data.resample=1', 'data.sheet=A']

    """
    values: dict[str, list[object]] = {}
    for each in needed:
        for setting in each:
            values.setdefault(setting.key, []).append(setting.value)
    shared = []
    for key, found in values.items():
        by_text = {str(value): value for value in found}
        usual = by_text[Counter(map(str, found)).most_common(1)[0][0]]
        largest = key in _LARGEST and all(isinstance(value, int | float) for value in found)
        shared.append(Override(key, max(found, key=float) if largest else usual))  # type: ignore[arg-type]
    return shared


def majority_settings(needed: Sequence[Sequence[Override]]) -> list[Override]:
    """Choose how most files are read, and join the settings that matter only to files that lack something.

    Args:
        needed: Settings that each file needs.

    Example::

        >>> sign, resample = Override("data.current_sign", "discharge_positive"), Override("data.resample", 1.0)
        >>> [str(each) for each in majority_settings([[sign], [], [resample], []])]
        ['data.resample=1']

    """
    readings = [[each for each in settings if each.key.startswith(_READING)] for settings in needed]
    texts = [command_text(reading) for reading in readings]
    usual = readings[texts.index(Counter(texts).most_common(1)[0][0])] if readings else []
    others = shared_settings([each for each in settings if not each.key.startswith(_READING)] for settings in needed)
    return [*usual, *others]


def changed_values(alone: Evidence | None, together: Evidence | None, from_columns: Mapping[str, str]) -> str:
    """Return which quantity a file has other values of with the settings of all files than with its own.

    Args:
        alone: Figures with the settings that the file itself needs.
        together: Figures with the settings of all files.
        from_columns: Column of each quantity; those that are counted or given by a setting are not compared.

    Returns:
        The quantity; empty if all are alike.

    """
    if alone is None or together is None:
        return ""
    for quantity, range_alone in alone.ranges.items():
        range_together = together.ranges.get(quantity)
        if quantity in from_columns and not (
            range_together is not None and np.allclose(range_alone, range_together, rtol=1e-4, atol=1e-6)
        ):
            return quantity
    return ""
