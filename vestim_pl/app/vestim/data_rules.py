"""Rules for the keys of the data: columns, windows and batches."""

import re

from vestim_pl.app.vestim.draft import Draft
from vestim_pl.app.vestim.network_rules import family_of
from vestim_pl.app.vestim.values import Choice

__all__ = ["convert_data"]

_ROLES = {  # quantities that a column's name shows
    "soc": re.compile(r"(?:^|[^a-z])soc(?:[^a-z]|$)|state.?of.?charge"),
    "current": re.compile(r"current|^i(?:[ _]?\[?(?:a|amps?)\]?)?$"),
    "temperature": re.compile(r"temp"),
}
_DERIVED = re.compile(r"filter|avg|mean|rolling|lag|delta|diff")
_NOT_A_VOLTAGE = re.compile(r"(?:^|[^a-z])(?:soc|soe|sop|soh|current|power|capacity)(?:[^a-z]|$)|temp|state.?of")
_FROM_VOLTAGE = re.compile(r"power|energy")
_ONE_ROW = "WholeSequenceFNN"


def convert_data(draft: Draft, horizon: int | None) -> None:
    """Convert the keys of the data.

    Args:
        draft: The conversion so far.
        horizon: Samples from the end of a window to the estimated sample; None for VEstim's.

    Raises:
        ConfigurationError: If a value is not valid, or two keys contradict each other.

    """
    _window(draft, horizon)
    _features(draft)
    _target(draft)
    draft.put_first("sampling.batch_size", "BATCH_SIZE", group="sampling")
    if batches := draft.take("BATCH_TRAINING"):
        if batches.one:
            draft.outcomes["BATCH_TRAINING"] = "as here: training is by batches"
        else:
            draft.leave("BATCH_TRAINING", "full-batch training is not supported; BATCH_SIZE is used")
    if workers := draft.take("NUM_WORKERS"):
        note = "null (no worker processes) is faster if the rows fit into memory" if workers.one else ""
        draft.put("NUM_WORKERS", "data.num_workers", workers, note)


def _window(draft: Draft, horizon: int | None) -> None:
    feedforward, method = family_of(draft) == "FNN", draft.take("TRAINING_METHOD")
    if method and (method.one == _ONE_ROW) != feedforward:
        right = _ONE_ROW if feedforward else "Sequence-to-Sequence"
        draft.refuse("TRAINING_METHOD", f"{method.one} does not go with the network of the file; write {right!r}")
    windows = Choice(("windows",))
    if method:
        note = "every row on its own" if feedforward else "one estimate per window"
        draft.put("TRAINING_METHOD", "sampling", windows, note, chooses=True)
    else:
        draft.imply("sampling", windows, "VEstim trains on windows", chooses=True)
    if feedforward:
        draft.leave("LOOKBACK", "an FNN gets one row at a time; network.history=N gives it N rows")
        draft.imply("sampling.lookback", Choice((1,)), "an FNN gets one row at a time")
        why = "VEstim's FNN estimates the voltage of the same row"
    else:
        draft.put_first("sampling.lookback", "LOOKBACK")
        why = "VEstim's window ends a sample before the estimated one; sampling.horizon=0 to include it"
    value = (0 if feedforward else 1) if horizon is None else horizon
    draft.imply("sampling.horizon", Choice((value,)), why if horizon is None else "as requested", group="sampling")


def _features(draft: Draft) -> None:
    features = draft.take("FEATURE_COLUMNS")
    if not features:
        return
    note = "the files must have these columns"
    if leaks := [name for name in features.one if _FROM_VOLTAGE.search(name.lower())]:
        note += f"; {leaks[0]} is computed from the voltage to be estimated, so errors look smaller than in use"
    draft.put("FEATURE_COLUMNS", "data.features", features, note)
    for role, pattern in _ROLES.items():
        named = [name for name in features.one if pattern.search(name.lower()) and not _DERIVED.search(name.lower())]
        if len(named) == 1:
            draft.imply(f"data.columns.{role}", Choice((named[0],)), "by the name of the feature")


def _target(draft: Draft) -> None:
    if not (target := draft.take("TARGET_COLUMN")):
        return
    name = target.one.lower()
    if _NOT_A_VOLTAGE.search(name) and "volt" not in name:
        draft.refuse("TARGET_COLUMN", f'{target.one!r} is not a voltage, the only target here; write "Voltage"')
    draft.put("TARGET_COLUMN", "data.columns.voltage", target)
