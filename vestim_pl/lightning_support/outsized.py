"""Compare the settings in a file with its weights before anything of their size is built."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from vestim_pl.lightning_support.tensor_archive import UnusableFileError

__all__ = ["refuse_outsized"]

_LARGEST, _LONGEST = 1_000_000, 1000  # largest number, and most list entries, in the settings of any network
_OF_SIZE = ("features", "network", "rc_pairs")


def refuse_outsized(settings: Mapping[str, Any], weights: Mapping[str, Tensor]) -> None:
    """Refuse settings of an estimator that are far larger than its weights.

    A network of a billion units would fill the memory, and one of a billion members would build for hours, before a
    missing weight could be noticed.

    Args:
        settings: Hyperparameters of a voltage estimator.
        weights: Its weights by name.

    Raises:
        UnusableFileError: If they do not match.

    Example::

        >>> refuse_outsized({"network": {"name": "LSTM", "hidden_sizes": [10**9]}}, {})
        Traceback (most recent call last):
        ...
        vestim_pl.lightning_support.tensor_archive.UnusableFileError: has settings of another size than its weights

    """
    network = settings.get("network")
    members = network.get("members", 1) if isinstance(network, Mapping) else 1
    numbers: list[float] = []
    entries, waiting = 0, [settings.get(name) for name in _OF_SIZE]
    while waiting:
        value = waiting.pop()
        if isinstance(value, Mapping | list | tuple):
            entries += len(value)
            waiting += list(value.values() if isinstance(value, Mapping) else value)
        elif isinstance(value, int | float):
            numbers.append(abs(value))
    largest = max([_LARGEST, *(tensor.numel() for tensor in weights.values())])
    many = isinstance(members, int | float) and members > max(1, len(weights))
    if many or entries > _LONGEST or any(number > largest for number in numbers):
        raise UnusableFileError("has settings of another size than its weights")
