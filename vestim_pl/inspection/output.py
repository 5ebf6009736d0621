"""Print and draw what was found in a folder of recordings."""

from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from vestim_pl.files import whole_file
from vestim_pl.inspection.inspected_folder import SPLITS, InspectedFolder
from vestim_pl.inspection.rows import file_rows, needs, readings
from vestim_pl.reports.page import render_page

__all__ = ["print_folder", "write_folder_page"]

_HEADS = ("rows", "hours", "interval", "dU/dI > 0", "I [A]", "U [V]", "T [degC]", "SOC")
_WIDEST = 250
_MOST_FILES = 200  # in the terminal
_MOST_NOTES = 12


def print_folder(folder: InspectedFolder, console: Console | None = None) -> None:
    """Print formats and columns, needed settings, a table of the files, coverage and problems.

    Args:
        folder: What was found.
        console: Where to print; standard output by default.

    """
    console = console or Console()
    files = folder.files.values()
    hours = sum(file.hours for file in files)
    _say(console, f"{_files(len(files))}, {hours:.3g} h of recordings in {folder.recordings.folder}", "bold")
    if folder.recordings.unread:
        _say(console, folder.recordings.unread, "yellow")
    for text, count, first in readings(folder):
        _say(console, f"  {text} ({first}{f' and {count - 1} more' if count > 1 else ''})")
    for need in needs(folder):
        _say(console, f"{_files(need.files)} {'needs' if need.files == 1 else 'need'} {need.settings}", "yellow")
        for reason in need.reasons:
            _say(console, f"  {reason}")
        if need.guesses:
            _say(console, f"  check: {need.guesses}", "bold yellow")
    _print_files(folder, console)
    notes = dict.fromkeys(note for file in files for note in file.notes)
    for note in list(notes)[:_MOST_NOTES]:
        _say(console, f"note: {note}")
    for warning in dict.fromkeys(warning for file in files for warning in file.warnings):
        _say(console, f"warning: {warning}", "yellow")
    for outside in folder.coverage.outside:
        _say(console, f"coverage: {outside.text}", "yellow")
    for label, problem in folder.unusable.items():
        _say(console, f"not usable: {label}: {problem}", "red")


def _say(console: Console, text: str, style: str = "") -> None:
    console.print(escape(text), style=style or None, highlight=False, soft_wrap=True)


def _files(count: int) -> str:
    return f"{count or 'all'} file{'' if count == 1 else 's'}"


def _print_files(folder: InspectedFolder, console: Console) -> None:
    split = () if folder.recordings.rules.by_share else ("split",)
    table = Table(*split, box=None)
    table.add_column("file", no_wrap=True)
    for heading in _HEADS:
        table.add_column(escape(heading), justify="right", no_wrap=True)
    rows = [row for row in file_rows(folder) if row.rows]
    for row in rows[:_MOST_FILES]:
        front = (row.split, row.label) if split else (row.label,)
        parts = f" in {row.parts}" if row.parts > 1 else ""
        cells = (f"{row.rows:,}{parts}", f"{row.hours:.3g}", row.interval, row.sign, *row.ranges)
        table.add_row(*map(escape, (*front, *cells)))
    if rows:  # a table that is wider than the terminal is better than one without the names
        console.width = max(
            console.width, console.measure(table, options=console.options.update(width=_WIDEST)).maximum
        )
        console.print(table)
    if len(rows) > _MOST_FILES:
        _say(console, f"and {_files(len(rows) - _MOST_FILES)} more")


def write_folder_page(folder: InspectedFolder, command: str, why_not: str, prepare: str, path: Path) -> None:
    """Write one page with the tables, the command and the traces of all files.

    Args:
        folder: What was found.
        command: Command that trains; empty without one.
        why_not: Why there is none.
        prepare: Command that writes the recordings as Parquet.
        path: The page.

    Raises:
        FileError: If it cannot be written.

    """
    traces = [file.traces for label, file in folder.files.items() if file.traces is not None]
    content = render_page(
        "inspection.html",
        title=f"Recordings · {folder.recordings.folder.absolute().name}",
        recordings={"checkpoints": [], "recordings": traces} if traces else None,
        folder=folder,
        rows=file_rows(folder),
        needs=needs(folder),
        readings=readings(folder),
        ranges=[
            (split, folder.coverage.ranges[split], len(folder.usable(split)))
            for split in SPLITS
            if split in folder.coverage.ranges
        ],
        notes=[(label, [*file.notes, *file.warnings]) for label, file in folder.files.items() if not file.failure],
        command=command,
        why_not=why_not,
        prepare=prepare,
    )
    with whole_file(path) as partial:
        partial.write_text(content, encoding="utf-8")
