"""From VEstim's ``hyperparams.json`` to settings of this package, every key accounted for."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vestim_pl.app.vestim.data_rules import convert_data
from vestim_pl.app.vestim.draft import Draft, Row, Setting
from vestim_pl.app.vestim.hyperparams_file import read_hyperparams
from vestim_pl.app.vestim.keys import KEYS
from vestim_pl.app.vestim.left_out_rules import leave_out
from vestim_pl.app.vestim.network_rules import convert_network
from vestim_pl.app.vestim.schedule_rules import convert_schedule
from vestim_pl.app.vestim.training_rules import convert_training
from vestim_pl.app.vestim.values import is_empty
from vestim_pl.settings.checks import nearest_name

__all__ = ["Conversion", "convert", "convert_file"]

_OWN_VALUES = (
    "network.hidden_sizes", "network.dropout", "sampling.lookback", "sampling.batch_size", "optimizer",
    "optimizer.lr", "scheduler", "trainer.max_epochs", "callbacks.early_stopping.patience",
)  # fmt: skip


@dataclass(frozen=True)
class Conversion:
    """What a file asks for, and what became of every key.

    Attributes:
        file: Name of the file.
        raw: Keys and values of the file.
        settings: Settings of this package, in the order in which they were found.
        rows: A row for every key of the file, then for what VEstim takes for granted.

    """

    file: str
    raw: Mapping[str, Any]
    settings: tuple[Setting, ...]
    rows: tuple[Row, ...]

    @property
    def grids(self) -> list[Setting]:
        """Settings with several values, a run for each."""
        return [setting for setting in self.settings if setting.choice.is_grid]

    @property
    def searched(self) -> list[Setting]:
        """Settings with bounds to search between."""
        return [setting for setting in self.settings if setting.choice.range]

    @property
    def own_values(self) -> list[str]:
        """Main settings that the file leaves to this package."""
        set_here = {setting.target for setting in self.settings}
        return [target for target in _OWN_VALUES if target not in set_here]


def convert_file(path: str | Path, horizon: int | None = None) -> Conversion:
    """Convert a file; see `convert`."""
    return convert(read_hyperparams(path), str(path), horizon)


def convert(raw: Mapping[str, Any], file: str, horizon: int | None = None) -> Conversion:
    """Convert keys and values of a ``hyperparams.json``.

    What the file does not set keeps this package's values: VEstim's own are placeholders of its forms, 5 epochs among
    them.

    Args:
        raw: Keys and values, as JSON has them.
        file: Name of the file, for messages.
        horizon: Samples from a window's end to the estimated one; None for 1, which is what VEstim trains.

    Raises:
        ConfigurationError: In one line, if a value makes no sense or two keys contradict each other.

    Example::

        >>> conversion = convert({"LOOKBACK": "200", "LOKBACK": "300"}, "hyperparams.json")
        >>> [row.outcome for row in conversion.rows][:2]
        ['sampling.lookback=200', 'unknown; the nearest known key is LOOKBACK']

    """
    draft = Draft(file, raw)
    for key, value in raw.items():
        if key.startswith("_"):
            draft.outcomes[key] = "a comment"
        elif key not in KEYS:
            draft.outcomes[key] = f"unknown; the nearest known key is {nearest_name(key, KEYS, cutoff=0.0)}"
        elif is_empty(value):
            draft.leave(key, "it has no value")
    leave_out(draft)
    convert_network(draft)
    convert_data(draft, horizon)
    convert_schedule(draft)
    convert_training(draft)
    _refuse_grid_beside_search(draft)
    return Conversion(file, raw, tuple(draft.settings), tuple(draft.rows()))


def _refuse_grid_beside_search(draft: Draft) -> None:
    searched = [setting for setting in draft.settings if setting.choice.range]
    grids = [setting for setting in draft.settings if setting.choice.is_grid]
    if searched and grids:
        grid, bounds = grids[0].sources[0], searched[0].sources[0]
        draft.refuse(
            grid,
            f"{draft.raw[grid]!r} is a grid, but {bounds} is a search range, and the two cannot be combined; write"
            ' bounds "[low, high]" or one value',
        )
