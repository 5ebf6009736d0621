"""Rules for the keys of the data: columns, windows, batches."""

import re

from vestim_pl.app.vestim.draft import Draft
from vestim_pl.app.vestim.network_rules import family_of
from vestim_pl.app.vestim.values import Choice

__all__ = ["convert_data"]

_ROLES = {
    "soc": re.compile(r"(?:^|[^a-z])soc(?:[^a-z]|$)|state.?of.?charge"),
    "current": re.compile(r"current|^i(?:[ _]?\[?(?:a|amps?)\]?)?$"),
    "temperature": re.compile(r"temp"),
}
_DERIVED = re.compile(r"filter|avg|mean|rolling|lag|delta|diff")
_NOT_A_VOLTAGE = re.compile(r"(?:^|[^a-z])(?:soc|soe|sop|soh|current|power|capacity)(?:[^a-z]|$)|temp|state.?of")
_ONE_ROW = "WholeSequenceFNN"


def convert_data(draft: Draft, horizon: int | None) -> None:
    """Convert the keys of the data.

    Args:
        draft: The conversion so far.
        horizon: Samples from a window's end to the estimated one; None for what VEstim does.

    Raises:
        ConfigurationError: If a value makes no sense, or two keys contradict each other.

    """
    _window(draft, horizon)
    _columns(draft)
    _target(draft)
    if batch := draft.take("BATCH_SIZE"):
        draft.put("BATCH_SIZE", "sampling.batch_size", batch, group="sampling")
    if batches := draft.take("BATCH_TRAINING"):
        if batches.one:
            draft.outcomes["BATCH_TRAINING"] = "as here: training is by batches"
        else:
            draft.leave("BATCH_TRAINING", "full-batch training is not supported; BATCH_SIZE is used")
    if workers := draft.take("NUM_WORKERS"):
        faster = "null, without processes, is faster where the rows fit into memory" if workers.one else ""
        draft.put("NUM_WORKERS", "data.num_workers", workers, faster)


def _window(draft: Draft, horizon: int | None) -> None:
    feedforward, method = family_of(draft) == "FNN", draft.take("TRAINING_METHOD")
    if method and (method.one == _ONE_ROW) != feedforward:
        fitting = _ONE_ROW if feedforward else "Sequence-to-Sequence"
        draft.refuse("TRAINING_METHOD", f"{method.one} does not go with the network of the file; write {fitting!r}")
    windows, note = Choice(("windows",)), "one estimate a window"
    if method:
        draft.put("TRAINING_METHOD", "sampling", windows, "every row on its own" if feedforward else note, chooses=True)
    else:
        draft.imply("sampling", windows, "VEstim trains on windows", chooses=True)
    if feedforward:
        draft.leave("LOOKBACK", "an FNN sees one row at a time; network.history=N shows it N rows")
        draft.imply("sampling.lookback", Choice((1,)), "an FNN sees one row at a time")
    elif lookback := draft.take("LOOKBACK"):
        draft.put("LOOKBACK", "sampling.lookback", lookback)
    _horizon(draft, (0 if feedforward else 1) if horizon is None else horizon, asked=horizon is not None)


def _horizon(draft: Draft, horizon: int, asked: bool) -> None:
    why = "VEstim's window ends a sample before the estimated one; sampling.horizon=0 to include it"
    why = "VEstim's FNN estimates the voltage of its own row" if horizon == 0 else why
    draft.imply("sampling.horizon", Choice((horizon,)), "as asked" if asked else why, group="sampling")


def _columns(draft: Draft) -> None:
    features = draft.take("FEATURE_COLUMNS")
    if not features:
        return
    note = "the files must have these columns"
    if power := [name for name in features.one if re.search(r"power|energy", name.lower())]:
        note += f"; {power[0]} holds the voltage that is to be estimated, so errors look smaller than they are in use"
    draft.put("FEATURE_COLUMNS", "data.features", features, note)
    for role, pattern in _ROLES.items():
        named = [name for name in features.one if pattern.search(name.lower()) and not _DERIVED.search(name.lower())]
        if len(named) == 1:
            draft.imply(f"data.columns.{role}", Choice((named[0],)), "by the name of the feature")


def _target(draft: Draft) -> None:
    if not (target := draft.take("TARGET_COLUMN")):
        return
    name = target.one
    if _NOT_A_VOLTAGE.search(name.lower()) and "volt" not in name.lower():
        draft.refuse(
            "TARGET_COLUMN", f'{name!r} is not a voltage, which is all that is estimated here; write "Voltage"'
        )
    draft.put("TARGET_COLUMN", "data.columns.voltage", target)
