"""The nearest valid name to a misspelt one: the one place that looks names up."""

from collections.abc import Iterable
from difflib import get_close_matches

__all__ = ["nearest", "nearest_name"]


def nearest_name(name: str, valid: Iterable[str], cutoff: float = 0.6) -> str | None:
    """Find the valid name that is spelt most like a given one, in any case of letters.

    ``cutoff`` is the least similarity, 0 to 1; 0 always finds one.

    Example::

        >>> nearest_name("LOKBACK", ["Lookback", "Stride"])
        'Lookback'
        >>> nearest_name("x", ["Lookback", "Stride"]) is None
        True

    """
    by_folded = {choice.casefold(): choice for choice in valid}
    close = get_close_matches(name.casefold(), list(by_folded), n=1, cutoff=cutoff)
    return by_folded[close[0]] if close else None


def nearest(name: str, valid: Iterable[str]) -> str:
    """Suggest the nearest valid name, or list all of them where none is near.

    Example::

        >>> nearest("sampling.lokback", ["sampling.lookback", "sampling.stride"])
        'did you mean sampling.lookback?'

    """
    names = list(valid)
    close = nearest_name(name, names)
    return f"did you mean {close}?" if close else f"choose one of {', '.join(names)}"
