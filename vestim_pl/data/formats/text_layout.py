"""Find how a text file is written: encoding, separator, decimal sign, and where its table is.

pandas parses a table; no kept library finds one below a preamble of any tester.
"""

import codecs
import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass

from vestim_pl.data.fixes import FixableError
from vestim_pl.data.formats.guessed_names import guess_names
from vestim_pl.data.formats.raw_table import LEAVE_OUT, FileOptions
from vestim_pl.data.formats.synonyms import SYNONYMS
from vestim_pl.data.formats.table_finder import COMMA_NUMBER, NUMBER, FoundTable, find_table, without_empty_end
from vestim_pl.errors import ConfigurationError, DataError, printable
from vestim_pl.settings.override import Override

__all__ = ["HEAD", "SPACES", "TextLayout", "find_encoding", "find_layout"]

HEAD = 1 << 20
"""Bytes of a file in which its table has to begin."""

SPACES = "spaces"
_SEPARATORS = (",", ";", "\t", "|", SPACES)
_NAMES = {"\t": "tab", SPACES: SPACES}
_MOST_COLUMNS = 10_000
_CONTROL = bytes([*range(9), *range(14, 26), *range(28, 32), 127])
_ASIAN = ("gb18030", "shift_jis", "cp949", "big5")
_ASIAN_NAMES = {
    name for lines in SYNONYMS.values() for line in lines for name in line.split(", ") if ord(name[0]) > ord("\u2e80")
}
_FEWEST_NAMES = 2
_FIRST_BYTES, _FIRST_LOOK = 1 << 16, 150  # lines; more only where the table does not begin in them
_SURE = 20  # rows
_LONGEST_CELL = 20  # lines
_SHOWN = 100


@dataclass(frozen=True)
class TextLayout:
    """How the table of a text file is written.

    Attributes:
        encoding: Encoding of the file.
        separator: Character between the columns, or ``spaces`` for any number of spaces.
        decimal: Decimal sign.
        names: Names of the columns as written.
        units: Units as written, by position; empty if there is no row of units.
        header_line: Line of the names, counted from 1; 0 if the file has none.
        first_line: Line of row 0, counted from 1.
        width: Fields of most rows.
        nested: Empty fields in front of each row, see `FoundTable`.

    """

    encoding: str
    separator: str
    decimal: str
    names: Sequence[str]
    units: Sequence[str]
    header_line: int
    first_line: int
    width: int
    nested: int = 0

    @property
    def notes(self) -> list[str]:
        """What was found, one sentence each; nothing that every CSV file has."""
        said = []
        if self.header_line != 1:
            said.append(f"names in line {self.header_line}" if self.header_line else "names from data.csv.names")
        if self.units:
            said.append("a row of units")
        if self.separator != ",":
            said.append(f"separator {_NAMES.get(self.separator, self.separator)!r}")
        if self.decimal != ".":
            said.append("decimal comma")
        if not self.encoding.startswith("utf-8"):
            said.append(f"encoding {self.encoding}")
        if self.nested:
            said.append(f"records nested in {self.nested} level{'s' if self.nested > 1 else ''} of steps and cycles")
        return [f"Text with {', '.join(said)}."] if said else []


def find_encoding(head: bytes) -> str | None:
    r"""Return the encoding of a text by its first bytes; None if they are no text.

    Example::

        >>> [find_encoding(head) for head in ("°C".encode("cp1252"), "°C".encode(), b"\x00\x01\x02\x03")]
        ['cp1252', 'utf-8', None]

    """
    marks = (
        (codecs.BOM_UTF8, "utf-8-sig"),
        (codecs.BOM_UTF32_LE, "utf-32"),
        (codecs.BOM_UTF16_LE, "utf-16"),
        (codecs.BOM_UTF16_BE, "utf-16"),
    )
    if named := next((name for mark, name in marks if head.startswith(mark)), None):
        return named
    for name, zeros in (("utf-16-le", head[1::2]), ("utf-16-be", head[::2])):
        # Latin letters in UTF-16 have a zero in every second byte.
        if len(zeros) > 1 and zeros.count(0) > 0.9 * len(zeros) and head.count(0) < 0.6 * len(head):
            return name
    control = len(head) - len(head.translate(None, _CONTROL))
    if control > max(2, len(head) // 1000):  # Digatron writes one zero into its preamble
        return None
    if _decoded(head, "utf-8") is not None:
        return "utf-8"
    # Bytes do not say which of the Asian encodings they are in; known names of columns do.
    return next((name for name in _ASIAN if _has_known_names(_decoded(head[:_FIRST_BYTES], name))), "cp1252")


def _decoded(head: bytes, encoding: str) -> str | None:
    """The text of the first bytes, of which the last may be cut; None if they are not in this encoding."""
    try:
        return codecs.getincrementaldecoder(encoding)().decode(head)
    except UnicodeDecodeError:
        return None


def _has_known_names(text: str | None) -> bool:
    return text is not None and sum(name in text for name in _ASIAN_NAMES) >= _FEWEST_NAMES


def find_layout(head: bytes, whole: bool, label: str, options: FileOptions) -> TextLayout:
    """Find the table in the first bytes of a text file.

    The separator is the one that finds names and most numbers in the longest run of rows.

    Args:
        head: First bytes of the file.
        whole: Whether they are the whole file.
        label: Name of the file for messages.
        options: What the user says about the file.

    Raises:
        ConfigurationError: If an option names an unknown encoding.
        DataError: If there is no table, it has no names, or names and columns do not match.

    """
    encoding = _known_encoding(options.encoding) or find_encoding(head)
    if encoding is None:
        raise DataError(f"{label}: is neither text nor a known binary file; export it as CSV, {LEAVE_OUT}")
    decoder = codecs.getincrementaldecoder(encoding)
    if len(head) > _FIRST_BYTES:
        lines = _lines(decoder("replace").decode(head[:_FIRST_BYTES]))[:-1]
        if len(lines) > 1 and (layout := _layout(lines[:_FIRST_LOOK], False, encoding, label, options)) is not None:
            return layout
    lines = _lines(decoder("replace").decode(head))
    lines = lines if whole or len(lines) < 2 else lines[:-1]
    if not any(line.strip() for line in lines):
        raise DataError(f"{label}: is empty; remove the file, {LEAVE_OUT}")
    widest = max(range(len(lines)), key=lambda index: len(lines[index]))
    if max(lines[widest].count(separator) for separator in ",;\t|") >= _MOST_COLUMNS:
        raise DataError(
            f"{label}: line {widest + 1} has more than {_MOST_COLUMNS:,} columns; keep the ones that are needed, "
            f"{LEAVE_OUT}"
        )
    return _layout(lines, True, encoding, label, options) or _without_rows(lines, encoding, label, options)


def _layout(
    lines: Sequence[str], last_look: bool, encoding: str, label: str, options: FileOptions
) -> TextLayout | None:
    """Return how the table in some lines is written; None if there is none, or too little of it to be sure."""
    header = None if options.header_row is None else options.header_row - 1
    if header is not None and header >= len(lines) - _SURE and not last_look:
        return None
    separators = [options.separator] if options.separator else [*_SEPARATORS]
    grids = {separator: _split(lines, separator) for separator in separators if _occurs(separator, lines)}
    found = {separator: table for separator, rows in grids.items() if (table := find_table(rows, header))}
    if not found:
        return None
    best = max(found, key=lambda separator: _quality(separator, found[separator]))
    if found[best].start > len(lines) - _SURE and not last_look:
        return None
    return _described(lines, grids[best], best, found[best], encoding, label, options)


def _occurs(separator: str, lines: Sequence[str]) -> bool:
    return any((" " if separator == SPACES else separator) in line for line in lines)


def _lines(text: str) -> list[str]:
    """The lines of a text file; a cell in quotes that goes over several lines leaves empty ones behind."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")  # splitlines splits at form feeds too
    lines = lines if lines[-1] else lines[:-1]
    opened = [index for index, line in enumerate(lines) if line.count('"') % 2]
    for first, last in zip(opened[::2], opened[1::2], strict=False):
        if last - first < _LONGEST_CELL:
            lines[first : last + 1] = [" ".join(lines[first : last + 1]), *[""] * (last - first)]
    return lines


def _quality(separator: str, table: FoundTable) -> tuple[bool, bool, int, int]:
    """How likely a separator is the right one: spaces are within dates and clock times too."""
    return table.header is not None, separator != SPACES, table.numbers, -table.width


def _described(
    lines: Sequence[str],
    rows: Sequence[Sequence[str]],
    separator: str,
    table: FoundTable,
    encoding: str,
    label: str,
    options: FileOptions,
) -> TextLayout:
    names = _names(lines, rows, separator, table, label, options)
    units = [] if table.units is None else rows[table.units]
    return TextLayout(
        encoding,
        separator,
        options.decimal or _decimal(rows[table.start : table.start + _FIRST_LOOK]),
        names[table.nested :],
        units[table.nested :],
        0 if table.header is None else table.header + 1,
        table.start + 1,
        table.width - table.nested,
        table.nested,
    )


def _names(
    lines: Sequence[str],
    rows: Sequence[Sequence[str]],
    separator: str,
    table: FoundTable,
    label: str,
    options: FileOptions,
) -> Sequence[str]:
    sample = printable(lines[table.start].strip()[:_SHOWN])
    filled = max(len(without_empty_end(row)) for row in rows[table.start : table.start + _FIRST_LOOK])
    if options.names:
        if not filled <= len(options.names) <= max(filled, table.width):
            raise DataError(
                f"{label}: data.csv.names has {len(options.names)} names, and a row has {filled} columns ({sample!r}); "
                f"give a name for each column, {LEAVE_OUT}"
            )
        return list(options.names)
    if table.header is None:
        cells = [list(row[:filled]) for row in rows[table.start : table.start + _FIRST_LOOK] if len(row) >= filled]
        if (options.decimal or _decimal(cells)) == ",":
            cells = [[cell.replace(",", ".") for cell in row] for row in cells]
        guess = Override("data.csv.names", guess_names(cells, filled))
        raise FixableError(
            f"{label}: line {table.start + 1} has values ({sample!r}), and no line above it has the names of the "
            f"{filled} columns; name all of them in their order, such as {guess} (check this guess), {LEAVE_OUT}",
            guesses=[guess],
        )
    line = lines[table.header].strip()
    if line.startswith(("~", "#", "%")):  # the mark of a comment, in files of Basytec and numpy
        line = line.lstrip("~#% ")
        names = _split([line], separator)[0]
    else:
        names = list(rows[table.header])
    if separator == SPACES and len(names) != table.width:  # names with spaces in them, separated by more of these
        names = re.split(r"\s{2,}|\t", line)
    widest = max(len(row) for row in rows[table.start : table.start + _FIRST_LOOK])
    if len(without_empty_end(names)) > widest:
        raise DataError(
            f"{label}: line {table.header + 1} has {len(without_empty_end(names))} names, and the rows have {widest} "
            f"fields ({sample!r}), so which column is which is not certain; correct the names, or give them with "
            f"data.csv.names, {LEAVE_OUT}"
        )
    return names


def _decimal(rows: Sequence[Sequence[str]]) -> str:
    cells = [cell for row in rows for cell in row]
    points = any("." in cell and NUMBER.fullmatch(cell) for cell in cells)
    return "," if not points and any(COMMA_NUMBER.fullmatch(cell) for cell in cells) else "."


def _without_rows(lines: Sequence[str], encoding: str, label: str, options: FileOptions) -> TextLayout:
    """Return the layout of a file that has only names; refuse any other text."""
    filled = [index for index, line in enumerate(lines) if line.strip()]
    separator = max(options.separator or ",;\t|", key=lines[filled[0]].count)
    names = _split([lines[filled[0]]], separator)[0]
    if len(filled) > 1 or len(names) < 2:
        raise DataError(
            f"{label}: has no table, which is names above rows with two numbers or more; it begins with "
            f"{printable(lines[filled[0]].strip()[:_SHOWN])!r}; correct the file, {LEAVE_OUT}"
        )
    return TextLayout(encoding, separator, ".", names, [], filled[0] + 1, filled[0] + 2, len(names))


def _split(lines: Sequence[str], separator: str) -> list[list[str]]:
    if separator == SPACES:
        return [line.split() for line in lines]
    return [_fields(line, separator) for line in lines]


def _fields(line: str, separator: str) -> list[str]:
    if '"' in line and len(line) < csv.field_size_limit():
        return [cell.strip() for cell in next(csv.reader([line], delimiter=separator, skipinitialspace=True), [])]
    return [cell.strip() for cell in line.split(separator)]


def _known_encoding(name: str | None) -> str | None:
    if name is None:
        return None
    try:
        return codecs.lookup(name).name
    except LookupError:
        raise ConfigurationError(
            f"data.csv.encoding: {name!r} is unknown; choose for example utf-8, utf-16, cp1252 or gbk"
        ) from None
