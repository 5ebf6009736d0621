"""Check options that several networks share."""

from collections.abc import Sequence

from vestim_pl.errors import ConfigurationError

__all__ = ["check_dropout", "check_hidden_sizes", "check_positive"]


def check_hidden_sizes(hidden_sizes: Sequence[int], option: str = "hidden_sizes") -> tuple[int, ...]:
    """Return hidden sizes as a tuple.

    Raises:
        ConfigurationError: If the list is empty, or a size is not positive; the message names ``option``.

    Example::

        >>> check_hidden_sizes([64, 32])
        (64, 32)

    """
    if not hidden_sizes or min(hidden_sizes) < 1:
        found = list(hidden_sizes)
        raise ConfigurationError(
            f"network.{option}: {found} is not a list of positive sizes, one per layer; use for example [64, 32]"
        )
    return tuple(hidden_sizes)


def check_dropout(dropout: float) -> float:
    """Return a dropout probability, or raise ConfigurationError if it is not in [0, 1)."""
    if not 0 <= dropout < 1:
        raise ConfigurationError(f"network.dropout: {dropout} is not in [0, 1); use 0 for none, or for example 0.2")
    return dropout


def check_positive(option: str, value: int) -> int:
    """Return the value of an option, or raise ConfigurationError if it is below 1."""
    if value < 1:
        raise ConfigurationError(f"network.{option}: {value} is not positive; use at least 1")
    return value
