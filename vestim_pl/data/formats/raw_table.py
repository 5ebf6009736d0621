"""A file's table as it is, before its values are given a meaning."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import pandas as pd

from vestim_pl.errors import ConfigurationError
from vestim_pl.settings.checks import check_choice

__all__ = ["LEAVE_OUT", "FileOptions", "RawTable", "row_in_file"]

LEAVE_OUT = "or leave the file out with data.on_bad_file=skip"
"""End of every message about a file."""


def row_in_file(row: int, line: int = 0) -> str:
    """Describe a row as the user can find it.

    Example::

        >>> row_in_file(3, 5), row_in_file(3)
        ('row 3 (line 5 of the file)', 'row 3 (counted from 0)')

    """
    return f"row {row} (line {line} of the file)" if line else f"row {row} (counted from 0)"


@dataclass
class RawTable:
    """Rows of a file, with what the file says about them.

    Attributes:
        frame: The columns asked for, or all; names as in the file, without spaces around them.
        names: Names of all columns of the file, also of those that were not asked for.
        units: Unit by column as the file writes it, from a row of units or from the name.
        format: Format in words, such as ``CSV`` or ``MATLAB 7.3``.
        notes: What was assumed, one plain sentence each.
        first_line: Line of the file, or row of the sheet, that holds row 0; 0 where the format has no lines.
        where: Describes a row of the frame for messages.

    """

    frame: pd.DataFrame
    names: list[str]
    units: dict[str, str]
    format: str
    notes: list[str] = field(default_factory=list)
    first_line: int = 0
    where: Callable[[int], str] = row_in_file


@dataclass(frozen=True)
class FileOptions:
    """Say how a file is written where its content does not show it; None means: found by content.

    Attributes:
        separator: Character between the columns of a text file.
        decimal: Decimal sign of a text file.
        encoding: Encoding of a text file, such as ``utf-8`` or ``cp1252``.
        names: Names of the columns, for a text file without a header.
        header_row: Line of a text file that has the names, counted from 1.
        sheet: Sheet of a workbook that has the table.
        date_order: Order of day and month in dates such as 03/04/2031.

    Raises:
        ConfigurationError: If a value cannot be used.

    """

    separator: str | None = None
    decimal: Literal[".", ","] | None = None
    encoding: str | None = None
    names: Sequence[str] | None = None
    header_row: int | None = None
    sheet: str | None = None
    date_order: Literal["day_first", "month_first"] | None = None

    def __post_init__(self) -> None:
        if self.decimal is not None:
            check_choice("data.csv.decimal", self.decimal, (".", ","))
        if self.date_order is not None:
            check_choice("data.date_order", self.date_order, ("day_first", "month_first"))
        if self.separator is not None and len(self.separator) != 1:
            raise ConfigurationError(
                f"data.csv.separator: {self.separator!r} is not one character; choose for example ';'"
            )
        if self.header_row is not None and (not isinstance(self.header_row, int) or self.header_row < 1):
            raise ConfigurationError(f"data.csv.header_row: {self.header_row!r} is not a line; choose 1 or more")
        if self.names is not None and self.header_row is not None:
            raise ConfigurationError(
                "data.csv.header_row: data.csv.names are for a file without a header; set one only"
            )
