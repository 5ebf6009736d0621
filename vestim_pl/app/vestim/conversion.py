"""Convert VEstim's ``hyperparams.json`` to settings of this package, with a result for every key."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vestim_pl.app.vestim.data_rules import convert_data
from vestim_pl.app.vestim.draft import Draft, Row, Setting
from vestim_pl.app.vestim.hyperparams_file import read_hyperparams
from vestim_pl.app.vestim.keys import KEYS
from vestim_pl.app.vestim.network_rules import convert_network
from vestim_pl.app.vestim.training_rules import convert_schedule, convert_training
from vestim_pl.app.vestim.values import is_empty
from vestim_pl.settings.names import nearest_name

__all__ = ["Conversion", "convert", "convert_file"]

_OWN_VALUES = (
    "network.hidden_sizes", "network.dropout", "sampling.lookback", "sampling.batch_size", "optimizer",
    "optimizer.lr", "scheduler", "trainer.max_epochs", "callbacks.early_stopping.patience",
)  # fmt: skip


@dataclass(frozen=True)
class Conversion:
    """Settings of a file, and the result for every key.

    Attributes:
        file: Name of the file.
        raw: Keys and values of the file.
        settings: Settings of this package, in the order of the rules.
        rows: A row for every key of the file, and then for what VEstim implies.

    """

    file: str
    raw: Mapping[str, Any]
    settings: tuple[Setting, ...]
    rows: tuple[Row, ...]

    @property
    def grids(self) -> list[Setting]:
        """Settings with several values, one run for each."""
        return [setting for setting in self.settings if setting.choice.is_grid]

    @property
    def searched(self) -> list[Setting]:
        """Settings with the bounds of a search."""
        return [setting for setting in self.settings if setting.choice.range]

    @property
    def own_values(self) -> list[str]:
        """Main settings that the file does not set."""
        set_here = {setting.target for setting in self.settings}
        return [target for target in _OWN_VALUES if target not in set_here]


def convert_file(path: str | Path, horizon: int | None = None) -> Conversion:
    """Convert a file; see `convert`."""
    return convert(read_hyperparams(path), str(path), horizon)


def convert(raw: Mapping[str, Any], file: str, horizon: int | None = None) -> Conversion:
    """Convert keys and values of a ``hyperparams.json``.

    A setting that the file lacks keeps this package's default. VEstim's own, such as 5 epochs, only fill its forms.

    Args:
        raw: Keys and values as in the JSON file.
        file: Name of the file, for messages.
        horizon: Samples from the end of a window to the estimated sample; None for VEstim's, which is 1.

    Raises:
        ConfigurationError: In one line, if a value is not valid or two keys contradict each other.

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
    _leave_out(draft)
    convert_network(draft)
    convert_data(draft, horizon)
    convert_schedule(draft)
    convert_training(draft)
    _refuse_grid_beside_search(draft)
    return Conversion(file, raw, tuple(draft.settings), tuple(draft.rows()))


def _leave_out(draft: Draft) -> None:
    """Record for every key without a setting why it has none."""
    for key in draft.given(*KEYS):
        if not KEYS[key].becomes:
            draft.leave(key, KEYS[key].remark)
    if str(draft.raw.get("EXPLOIT_REPETITIONS")).strip() == "0":
        for key in draft.given("EXPLOIT_LR", "EXPLOIT_EPOCHS", "EXPLOIT_REPETITIONS", "FINAL_LR"):
            draft.leave(key, "EXPLOIT_REPETITIONS is 0, so VEstim has no exploit phase either")
    if str(draft.raw.get("INFERENCE_FILTER_TYPE")).strip().casefold() == "none":
        for key in draft.given(*(key for key in KEYS if key.startswith("INFERENCE_FILTER_"))):
            draft.leave(key, "the file asks for no filter")
        draft.outcomes["INFERENCE_FILTER_TYPE"] = "as here: no filter is applied to the estimates"


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
