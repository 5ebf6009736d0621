"""List the recordings in the folder of a split, and why other files are not read."""

import errno
import os
import re
import stat
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from vestim_pl.data.formats.reading import CONVERTERS, has_known_suffix

__all__ = ["SplitFiles", "list_split"]

_ABOUT = re.compile(r"(readme|licen[cs]e|notes?|sources?|changelog|copying)\b.*\.txt", re.IGNORECASE)
"""Texts about recordings."""

_MOST_NAMED = 3
_NO_FILE = (
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


@dataclass
class SplitFiles:
    """Content of a folder.

    Attributes:
        recordings: Regular files with a known suffix, sorted.
        unread: Names of all other files, by the reason why they are not read.

    """

    recordings: list[Path] = field(default_factory=list)
    unread: dict[str, list[str]] = field(default_factory=dict)

    def describe_unread(self) -> str:
        """Return in one line what is not read and why; empty if everything is read.

        Example::

            >>> files = SplitFiles(unread={"a link to nothing": ["a.csv"], "a pipe": [f"{n}.csv" for n in range(5)]})
            >>> files.describe_unread()
            '6 files not read: a.csv (a link to nothing); 0.csv, 1.csv, 2.csv and 2 more (a pipe)'

        """
        if not self.unread:
            return ""
        kinds = [f"{_some(sorted(names))} ({reason})" for reason, names in sorted(self.unread.items())]
        count = sum(map(len, self.unread.values()))
        return f"{count} file{'s' if count > 1 else ''} not read: {'; '.join(kinds)}"


def list_split(folder: Path) -> SplitFiles:
    """List the recordings below a folder without opening files; opening a pipe would wait for its writer.

    Subfolders and linked folders are read, unless a link leads to a folder that is read already or that contains this
    one. Suffixes may be in capitals. A file whose name begins with ``.`` or ``_`` is not read; it is reported only if
    it has a known suffix.

    Args:
        folder: Folder of a split.

    """
    found = SplitFiles()
    entered = {_identity(place) for place in (folder.resolve(), *folder.resolve().parents)}
    folders, links = [folder], list[Path]()
    while folders or links:  # links last: what can be reached without a link is not read through one
        top = folders.pop(0) if folders else links.pop(0)
        if top is not folder:
            if _identity(top) in entered:
                _leave(found, folder, top, "a link to a folder that is read already or that contains this one")
                continue
            entered.add(_identity(top))
        for path in _entries(found, folder, top):
            if path.is_dir() and path.name.startswith("."):
                _leave(found, folder, path, "a hidden folder")
            elif path.is_dir():
                (links if path.is_symlink() else folders).append(path)
            elif reason := _why_not(path):
                _leave(found, folder, path, reason)
            elif has_known_suffix(path) and not path.name.startswith((".", "_")):
                found.recordings.append(path)
    found.recordings.sort()
    return found


def _entries(found: SplitFiles, folder: Path, top: Path) -> list[Path]:
    try:
        return sorted(top.iterdir())
    except OSError as error:
        _leave(found, folder, top, f"a folder that cannot be opened: {error.strerror}")
        return []


def _why_not(path: Path) -> str:
    """Return why a file is not read; empty if it is read, or need not be reported."""
    known = has_known_suffix(path)
    if path.name.startswith((".", "_")):
        return "the name begins with . or _" if known else ""
    try:
        mode = path.stat().st_mode
    except OSError as error:
        named = {errno.ENOENT: "a link to nothing", errno.ELOOP: "a link that leads back to itself"}
        return named.get(error.errno or 0, f"cannot be opened: {error.strerror}")
    for is_kind, name in _NO_FILE:
        if is_kind(mode):
            return name
    if path.suffix.lower() == ".html":
        return ""  # a page that describes a recording, as `python -m vestim_pl.prepare` writes them
    if known:
        return "a text about the data" if _ABOUT.match(path.name) else ""
    return CONVERTERS.get(path.suffix.lower(), "no known format")


def _leave(found: SplitFiles, folder: Path, path: Path, reason: str) -> None:
    found.unread.setdefault(reason, []).append(path.relative_to(folder).as_posix())


def _identity(path: Path) -> tuple[int, int]:
    about = os.stat(path)
    return about.st_dev, about.st_ino


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return ", ".join(names[:_MOST_NAMED]) + more
