"""Convert the reStructuredText in docstrings to Markdown, for the documentation pages.

mkdocs.yml loads this file into griffe, which reads the docstrings without importing the package.
"""

import re

import griffe

RULE = re.compile(r" *={2,}( +={2,})+ *")
EXAMPLE = re.compile(r"^( *)Example::$", re.MULTILINE)


class DocstringMarkdown(griffe.Extension):
    """Rewrites every docstring as griffe reads it."""

    def on_object(self, *, obj: griffe.Object, **_: object) -> None:
        """Rewrite the docstring of a module, class, function or attribute."""
        if obj.docstring:
            obj.docstring.value = to_markdown(obj.docstring.value)


def to_markdown(text: str) -> str:
    r"""Replace simple tables by Markdown tables and ``Example::`` by a section that griffe knows.

    Example::

        >>> print(to_markdown("==== ====\nkey  text\n==== ====\n`a`  one\n     line\n==== ===="))
        | key | text |
        | --- | --- |
        | `a` | one line |

    """
    lines: list[str] = []
    table: list[str] = []
    for line in EXAMPLE.sub(r"\1Examples:", text).splitlines():
        if not table and not RULE.fullmatch(line):
            lines.append(line)
            continue
        table.append(line)
        if sum(bool(RULE.fullmatch(each)) for each in table) == 3:
            lines += _markdown_table(table)
            table = []
    return "\n".join(lines + table)


def _markdown_table(lines: list[str]) -> list[str]:
    """Rows of one simple table; a line whose first cell is empty continues the row above."""
    starts = [found.start() for found in re.finditer("=+", lines[0])]
    bounds = list(zip(starts, [*starts[1:], None], strict=True))
    rows: list[list[str]] = []
    for line in lines:
        if RULE.fullmatch(line):
            continue
        cells = [line[first:last].strip().replace("|", "\\|") for first, last in bounds]
        if cells[0] or not rows:
            rows.append(cells)
        else:
            rows[-1] = [" ".join(filter(None, pair)) for pair in zip(rows[-1], cells, strict=True)]
    rows.insert(1, ["---"] * len(starts))
    return [f"| {' | '.join(row)} |" for row in rows]
