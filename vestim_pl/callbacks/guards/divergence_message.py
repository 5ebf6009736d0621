"""The message for a training that diverged: when, where first, and what to change, with numbers."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

__all__ = ["divergence_message", "find_setting", "remedies"]


def find_setting(name: str, *sources: Any) -> Any:
    """Find the first value of a name in nested mappings, such as hyperparameters in groups, breadth first.

    Example::

        >>> find_setting("hidden_sizes", {"network": {"name": "LSTM", "hidden_sizes": [10]}})
        [10]

    """
    level: list[Any] = [source for source in sources if isinstance(source, Mapping)]
    while level:
        for mapping in level:
            if mapping.get(name) is not None:
                return mapping[name]
        level = [value for mapping in level for value in mapping.values() if isinstance(value, Mapping)]
    return None


def remedies(learning_rate: float, lookback: int | None, hidden_sizes: Sequence[int] | None) -> str:
    """Suggest the three remedies of VEstim's NaN debugging guide, with new values for the settings that are known."""
    window = f"shorten the lookback to {max(1, lookback // 2)} (/ 2)" if lookback else "halve the lookback"
    tripled = [3 * int(size) for size in hidden_sizes or ()]
    width = f"widen the hidden sizes to {tripled} (x 3)" if tripled else "triple the hidden sizes"
    return f"lower the learning rate to {learning_rate / 10:g} (/ 10), {window}, or {width}"


def divergence_message(
    what: str,
    *,
    epoch: int,
    batch: int,
    learning_rate: float,
    where: Iterable[object] = (),
    lookback: int | None = None,
    hidden_sizes: Sequence[int] | None = None,
) -> str:
    """Write one line with epoch, batch, what happened, the settings, the first bad tensors and the remedies.

    Example::

        >>> print(divergence_message("model parameters became NaN/Inf after optimizer step 12", epoch=3, batch=7,
        ...                          learning_rate=1e-4, where=["lstm.weight (8 NaN of 8)"], lookback=400))
        Epoch 3, Batch 7: model parameters became NaN/Inf after optimizer step 12 (learning rate 0.0001, lookback 400);
        first in lstm.weight (8 NaN of 8). To fix it, lower the learning rate to 1e-05 (/ 10), shorten the lookback to
        200 (/ 2), or triple the hidden sizes

    """
    settings = f"learning rate {learning_rate:g}" + (f", lookback {lookback}" if lookback else "")
    places = ", ".join(map(str, where))
    first = f"; first in {places}" if places else ""
    advice = remedies(learning_rate, lookback, hidden_sizes)
    return f"Epoch {epoch}, Batch {batch}: {what} ({settings}){first}. To fix it, {advice}"
