"""The command that trains on a folder as it is."""

import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from vestim_pl.data.stream_sampling import StreamSampling
from vestim_pl.inspection.inspected_folder import SPLITS, InspectedFolder
from vestim_pl.settings.command_line import command_line
from vestim_pl.settings.override import Override

__all__ = ["RC_SECONDS", "prepare_command", "rc_pairs_for", "training_command", "why_no_training"]

RC_SECONDS = (5, 50, 500)
"""``data.rc_pairs`` of ``preset=fast``."""

_SKIP = Override("data.on_bad_file", "skip")


def training_command(root: Path, folder: InspectedFolder, given: Sequence[str] = ()) -> str:
    """Write the command line that trains, with all that the files need; empty if there is none.

    Args:
        root: Folder, or one recording.
        folder: What was found.
        given: Overrides that the user gave.

    """
    if why_no_training(folder):
        return ""
    short, burn_in = _short(folder)
    skip = [_SKIP] if folder.unusable or short else []
    settings = [*folder.recordings.proposed, *folder.shared, *skip, Override("preset", "fast", added=True), *burn_in]
    settings += rc_pairs_for(file.interval for split in SPLITS for file in folder.usable(split))
    arguments = [str(Override("data", "folder")), str(Override("data.root", str(root))), *map(shlex.quote, given)]
    return " ".join([command_line("vestim_pl.train"), *arguments, *map(str, settings)])


def prepare_command(root: Path, folder: InspectedFolder, given: Sequence[str] = ()) -> str:
    """Write the command line that writes the recordings as Parquet, so that a training needs no settings."""
    target = root.with_name(f"{root.stem if root.is_file() else root.name}-prepared")
    arguments = [shlex.quote(str(root)), shlex.quote(str(target)), *map(shlex.quote, given)]
    return " ".join([command_line("vestim_pl.prepare"), *arguments, *map(str, folder.shared)])


def why_no_training(folder: InspectedFolder) -> str:
    """Return why no command trains on all usable files; empty if one does."""
    if folder.unlike:
        return (
            "the settings of most files would change the values of some; write each kind into a folder of its own with "
            "python -m vestim_pl.prepare, and train on the result"
        )
    empty = [split for split in SPLITS if not folder.usable(split)]
    if empty:
        return "no file can be used" if len(empty) == len(SPLITS) else f"no file for {' and '.join(empty)} can be used"
    if not all(any(_longest(folder, split)) for split in SPLITS):
        return "a split has no rows"
    return ""


def rc_pairs_for(intervals: Iterable[float | None]) -> list[Override]:
    """Leave out time constants of the preset that are shorter than the longest interval between rows.

    Example::

        >>> [str(each) for each in rc_pairs_for([30.0])], rc_pairs_for([1.0, None])
        (["'data.rc_pairs=[50,500]'"], [])

    """
    longest = max((interval or 0.0 for interval in intervals), default=0.0)
    kept = [seconds for seconds in RC_SECONDS if seconds >= longest]
    return [Override("data.rc_pairs", kept)] if len(kept) < len(RC_SECONDS) else []


def _short(folder: InspectedFolder) -> tuple[bool, tuple[Override, ...]]:
    """Return whether files are left out because they are too short, and a sampling for folders of short files alone."""
    needed = StreamSampling().minimum_rows
    longest = {split: _longest(folder, split) for split in SPLITS}
    if all(any(rows >= needed for rows in lengths) for lengths in longest.values()):
        return any(rows < needed for lengths in longest.values() for rows in lengths), ()
    least = min(max(lengths) for lengths in longest.values())
    burn_in = least // 4
    short = any(rows <= burn_in for lengths in longest.values() for rows in lengths)
    return short, (Override("sampling.burn_in", burn_in),)


def _longest(folder: InspectedFolder, split: str) -> list[int]:
    """Return the rows of the longest part of each file in a split."""
    low, high = folder.recordings.rules.share(split)
    longest = []
    for file in folder.usable(split):
        ends = np.cumsum([0, *file.lengths])
        first, last = (round(bound * int(ends[-1])) for bound in (low, high))
        longest.append(int(np.diff(np.clip(ends, first, last)).max()))
    return longest
