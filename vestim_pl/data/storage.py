"""Choice of where the rows are kept: in memory, on the training device, or in mapped files."""

from collections.abc import Iterable
from pathlib import Path

import torch

from vestim_pl.data.recording_table import RecordingTable
from vestim_pl.errors import ConfigurationError
from vestim_pl.settings.checks import check_choice

__all__ = ["check_storage", "fits_in", "fits_on"]


def check_storage(storage: str, cache: Path | None, num_workers: int | None) -> None:
    """Refuse contradictory settings.

    Args:
        storage: ``auto``, ``memory``, ``device`` or ``mapped``.
        cache: Folder for mapped files.
        num_workers: Processes that prepare batches ahead; None for the default.

    Raises:
        ConfigurationError: Names the setting and a fix.

    """
    check_choice("data.storage", storage, ("auto", "memory", "device", "mapped"))
    if num_workers is not None and num_workers < 0:
        raise ConfigurationError(f"data.num_workers: {num_workers} is negative; choose 0 or more")
    if storage == "device" and num_workers:
        raise ConfigurationError(
            f"data.num_workers: {num_workers} processes cannot prepare batches on the training device; "
            "set data.num_workers=0, or data.storage=memory"
        )
    if storage == "mapped" and cache is None:
        raise ConfigurationError(
            "data.cache: data.storage=mapped needs a folder for its Arrow files; set for example data.cache=cache"
        )


def fits_in(free_bytes: int, tables: Iterable[RecordingTable]) -> bool:
    """Return whether the tables take at most a quarter of the free memory; network and batches need the rest.

    Example::

        >>> table = RecordingTable.of(["udds"], [torch.zeros(100, 3)], [torch.zeros(100)])
        >>> fits_in(6400, [table]), fits_in(6399, [table])
        (True, False)

    """
    return 4 * sum(table.inputs.nbytes + table.target.nbytes for table in tables) <= free_bytes


def fits_on(device: torch.device, tables: Iterable[RecordingTable]) -> bool:
    """Return whether the tables should move to a device; always false for the CPU, where they are."""
    return device.type == "cuda" and fits_in(torch.cuda.mem_get_info(device)[0], tables)
