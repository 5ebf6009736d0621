"""Rules for the keys of the network."""

from itertools import product

from vestim_pl.app.vestim.draft import Draft, shown
from vestim_pl.app.vestim.keys import NETWORKS
from vestim_pl.app.vestim.values import Choice, Range

__all__ = ["convert_network", "family_of"]

_FAMILIES = {"LSTM": "LSTM", "LSTM_EMA": "LSTM", "LSTM_LPF": "LSTM", "GRU": "GRU", "FNN": "FNN"}
_FILTERED = ("LSTM_EMA", "LSTM_LPF")
_SIZES = {
    "LSTM": ("RNN_LAYER_SIZES", "LSTM_UNITS"),
    "GRU": ("RNN_LAYER_SIZES", "GRU_UNITS"),
    "FNN": ("FNN_HIDDEN_LAYERS", "HIDDEN_LAYER_SIZES", "FNN_UNITS"),
}
_LAYERS = {"LSTM": ("LAYERS",), "GRU": ("GRU_LAYERS", "LAYERS"), "FNN": ("FNN_N_LAYERS",)}
_UNITS = {"LSTM": ("HIDDEN_UNITS",), "GRU": ("GRU_HIDDEN_UNITS", "HIDDEN_UNITS"), "FNN": ()}
_DROPOUT = ("DROPOUT_PROB", "LSTM_DROPOUT_PROB", "GRU_DROPOUT_PROB", "FNN_DROPOUT_PROB")
_TARGET = "network.hidden_sizes"


def family_of(draft: Draft) -> str:
    """Return LSTM, GRU or FNN, which decides the keys that apply."""
    return _FAMILIES[_model(draft)]


def convert_network(draft: Draft) -> None:
    """Convert the keys of the network.

    Raises:
        ConfigurationError: If a value is not valid, or two keys contradict each other.

    """
    family, model = family_of(draft), _model(draft)
    _leave_other_families(draft, family)
    if draft.given("MODEL_TYPE"):
        note = "its filter runs over time here; in VEstim it never ran" if model in _FILTERED else ""
        draft.put("MODEL_TYPE", "network", Choice((model.lower(),)), note, chooses=True)
    else:
        draft.imply("network", Choice((model.lower(),)), "a file without MODEL_TYPE is for an LSTM", chooses=True)
    _layers(draft, family)
    draft.put_first("network.dropout", f"{family}_DROPOUT_PROB", "DROPOUT_PROB")
    if family == "LSTM":
        draft.put_first("network.layer_norm", "LSTM_USE_LAYERNORM")
    if family == "FNN" and (activation := draft.take("FNN_ACTIVATION")):
        if activation.one.casefold() != "relu":
            draft.refuse("FNN_ACTIVATION", f'{activation.one!r} is not supported; the FNN has ReLU: write "ReLU"')
        draft.outcomes["FNN_ACTIVATION"] = "as here: the FNN has ReLU"


def _model(draft: Draft) -> str:
    model = draft.take("MODEL_TYPE")
    return str(model.one) if model else NETWORKS[0]


def _leave_other_families(draft: Draft, family: str) -> None:
    used = {*_SIZES[family], *_LAYERS[family], *_UNITS[family], "DROPOUT_PROB", f"{family}_DROPOUT_PROB"}
    used |= {"LSTM": {"LSTM_USE_LAYERNORM"}, "FNN": {"FNN_ACTIVATION"}}.get(family, set())
    every = {key for table in (_SIZES, _LAYERS, _UNITS) for keys in table.values() for key in keys}
    for key in draft.given(*every, *_DROPOUT, "LSTM_USE_LAYERNORM", "FNN_ACTIVATION"):
        if key not in used:
            draft.leave(key, f"not for the network of this file, {_model(draft)}")


def _layers(draft: Draft, family: str) -> None:
    listed = draft.given(*_SIZES[family])
    count_key, units_key = draft.first(*_LAYERS[family]), draft.first(*_UNITS[family])
    if not listed:
        _uniform(draft, count_key, units_key)
        return
    first, *others = listed
    sizes = draft.read(first)
    for key in others:
        if draft.read(key) != sizes:
            draft.refuse(
                key, f"{shown(draft.raw[key])} contradicts {first} {shown(draft.raw[first])}; remove one of them"
            )
        draft.agree(key, first)
    if first == "FNN_UNITS" and count_key:
        sizes = _repeated(draft, sizes, count_key)
    elif count_key:
        _agree_on_count(draft, sizes, first, count_key)
    if units_key:
        _agree_on_units(draft, sizes, first, units_key)
    draft.put(first, _TARGET, sizes)


def _uniform(draft: Draft, count_key: str, units_key: str) -> None:
    """Convert a number of layers and their common size."""
    if not count_key and not units_key:
        return
    if not units_key:
        draft.read(count_key)
        size = "HIDDEN_UNITS" if count_key != "FNN_N_LAYERS" else "FNN_UNITS"
        draft.refuse(count_key, f'{shown(draft.raw[count_key])} layers have no size; add "{size}": "32"')
    units, counts = draft.read(units_key), draft.read(count_key) if count_key else Choice((1,))
    if units.range or counts.range:
        sizes = Choice(range=_range_of_layers(draft, units, counts, units_key, count_key))
    else:
        sizes = Choice(tuple((size,) * count for size, count in product(units.values, counts.values)))
    draft.put(units_key, _TARGET, sizes)
    if count_key:
        draft.outcomes[count_key] = f"layers of {units_key}"


def _range_of_layers(draft: Draft, units: Choice, counts: Choice, units_key: str, count_key: str) -> Range:
    """Return the range from the fewest layers of the smallest size to the most layers of the largest."""
    for choice, key, other in ((units, units_key, count_key), (counts, count_key, units_key)):
        if choice.is_grid:
            draft.refuse(key, f'is a grid, but {other} is a search range; write bounds, "[low, high]", or one value')
    size, count = (choice.range or Range(choice.one, choice.one) for choice in (units, counts))
    return Range((size.low,) * count.low, (size.high,) * count.high)


def _repeated(draft: Draft, sizes: Choice, count_key: str) -> Choice:
    """Repeat FNN_UNITS of one layer FNN_N_LAYERS times; several layers must be as many as FNN_N_LAYERS."""
    counts = draft.read(count_key)
    lists = [sizes.range.low, sizes.range.high] if sizes.range else list(sizes.values)
    draft.outcomes[count_key] = "layers of FNN_UNITS"
    if sizes.is_grid or counts.is_grid or any(len(set(layers)) > 1 for layers in lists):
        _agree_on_count(draft, sizes, "FNN_UNITS", count_key)
        return sizes
    count = counts.range or Range(counts.one, counts.one)
    if len(lists[0]) not in (1, count.high):
        _agree_on_count(draft, sizes, "FNN_UNITS", count_key)
    low, high = (lists[0][0],) * count.low, (lists[-1][0],) * count.high
    return Choice((low,)) if low == high else Choice(range=Range(low, high))


def _agree_on_count(draft: Draft, sizes: Choice, first: str, count_key: str) -> None:
    counts = draft.read(count_key)
    lists = [sizes.range.low] if sizes.range else sizes.values
    for layers in lists:
        if counts.range or counts.is_grid or len(layers) != counts.one:
            draft.refuse(
                count_key,
                f"{shown(draft.raw[count_key])} contradicts {first} {shown(draft.raw[first])}, which has {len(layers)}"
                f" layers; remove {count_key}",
            )
    draft.agree(count_key, first)


def _agree_on_units(draft: Draft, sizes: Choice, first: str, units_key: str) -> None:
    """Check the size of the first layer, which VEstim writes beside the list of all sizes."""
    units = draft.read(units_key)
    firsts = {layers[0] for layers in ([sizes.range.low, sizes.range.high] if sizes.range else sizes.values)}
    found = {units.range.low, units.range.high} if units.range else set(units.values)
    if not firsts <= found:
        draft.refuse(
            units_key,
            f"{shown(draft.raw[units_key])} contradicts {first} {shown(draft.raw[first])}; remove {units_key}",
        )
    draft.agree(units_key, first)
