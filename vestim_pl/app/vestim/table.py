"""The result for every key, as a table for terminal and log."""

import shutil
import textwrap
from collections.abc import Sequence

from vestim_pl.app.vestim.conversion import Conversion
from vestim_pl.app.vestim.draft import Row

__all__ = ["render_table"]

_HEAD = Row("key", "value", "result")
_LONGEST_VALUE = 28


def render_table(conversion: Conversion, rows: Sequence[Row] | None = None, width: int | None = None) -> str:
    """Write key, value and result in three columns, and below them the settings that the file lacks.

    Args:
        conversion: The conversion.
        rows: Rows to show instead of the conversion's.
        width: Characters in a line; that of the terminal by default.

    Example::

        >>> from vestim_pl.app.vestim.conversion import convert
        >>> print(render_table(convert({"BATCH_SIZE": "128", "PIN_MEMORY": True}, "h.json"), width=60).splitlines()[2])
        BATCH_SIZE         128    sampling.batch_size=128

    """
    rows = [_HEAD, *(conversion.rows if rows is None else rows)]
    width = width or max(shutil.get_terminal_size((120, 24)).columns, 60)
    values = [textwrap.shorten(row.value, _LONGEST_VALUE, placeholder="...") for row in rows]
    left, middle = max(len(row.key) for row in rows), max(map(len, values))
    lines = []
    for row, value in zip(rows, values, strict=True):
        head = f"{row.key:{left}}  {value:{middle}}  "
        lines += textwrap.wrap(
            row.outcome, max(width, len(head) + 20), initial_indent=head, subsequent_indent=" " * len(head)
        )
    lines.insert(1, "-" * min(width, max(map(len, lines))))
    if conversion.own_values:
        lines += textwrap.wrap(
            f"Not in the file, so this package's defaults apply: {', '.join(conversion.own_values)}.", width
        )
    return "\n".join(lines)
