"""Small pieces of HTML. Whatever comes from a file or a person is escaped here and nowhere else."""

import math
from collections.abc import Iterable, Sequence
from html import escape

__all__ = ["Html", "bullets", "definitions", "details", "figure", "joined", "number", "section", "table", "text"]


class Html(str):
    """Text that is HTML already; plain ``str`` is not and gets escaped.

    Example::

        >>> str(text("<b>")), str(text(Html("<b>")))
        ('&lt;b&gt;', '<b>')

    """

    __slots__ = ()


def text(content: object) -> Html:
    """Content as HTML: escaped, unless it is `Html`."""
    return content if isinstance(content, Html) else Html(escape(str(content)))


def joined(parts: Iterable[object]) -> Html:
    """Pieces one after the other."""
    return Html("\n".join(text(part) for part in parts if part))


def number(value: float, digits: int = 2, unit: str = "") -> Html:
    """A rounded number that still carries its full value for machines; NaN and Inf stand out.

    Example::

        >>> print(number(12.3456, 2, "mV"))
        <data value="12.3456">12.35</data> mV
        >>> print(number(float("nan")))
        <data value="nan" class="bad">NaN</data>

    """
    value = float(value)
    suffix = f" {escape(unit)}" if unit else ""
    if not math.isfinite(value):
        word = "NaN" if math.isnan(value) else ("Inf" if value > 0 else "-Inf")
        return Html(f'<data value="{value!r}" class="bad">{word}</data>{suffix}')
    return Html(f'<data value="{value!r}">{value:,.{digits}f}</data>{suffix}')


def section(title: str, *parts: object) -> Html:
    """A section under a heading, empty where it has no content."""
    content = joined(parts)
    return Html(f"<section><h2>{escape(title)}</h2>\n{content}\n</section>") if content else Html("")


def table(heads: Sequence[object], rows: Iterable[Sequence[object]], kind: str = "", last_row: str = "") -> Html:
    """A table that scrolls sideways on a small screen. Cells of `number` are right-aligned by the style sheet.

    Args:
        heads: Headings of the columns.
        rows: Cells; the first of a row is its heading.
        kind: CSS class of the table.
        last_row: CSS class of the last row, such as that of totals.

    """
    body = [_row(cells) for cells in rows]
    if body and last_row:
        body[-1] = body[-1].replace("<tr>", f'<tr class="{last_row}">', 1)
    head = "".join(f'<th scope="col">{text(cell)}</th>' for cell in heads)
    return Html(
        f'<div class="scroll"><table class="{kind}"><thead><tr>{head}</tr></thead>\n<tbody>'
        + "\n".join(body)
        + "</tbody></table></div>"
    )


def _row(cells: Sequence[object]) -> str:
    first, *others = cells
    return f'<tr><th scope="row">{text(first)}</th>' + "".join(f"<td>{text(cell)}</td>" for cell in others) + "</tr>"


def definitions(pairs: Iterable[tuple[object, object]], kind: str = "") -> Html:
    """Names and what they stand for."""
    items = "\n".join(f"<div><dt>{text(name)}</dt><dd>{text(value)}</dd></div>" for name, value in pairs)
    return Html(f'<dl class="{kind}">{items}</dl>')


def bullets(items: Iterable[object]) -> Html:
    """A list, empty where there are no items."""
    content = "".join(f"<li>{text(item)}</li>" for item in items)
    return Html(f"<ul>{content}</ul>") if content else Html("")


def details(summary: object, content: object, *, opened: bool = False) -> Html:
    """Content that opens on a click."""
    attribute = " open" if opened else ""
    return Html(f"<details{attribute}><summary>{text(summary)}</summary>\n{text(content)}\n</details>")


def figure(address: str | None, caption: str) -> Html:
    """A picture with its caption, which is also what a screen reader says; empty without an address."""
    if address is None:
        return Html("")
    said = escape(caption)
    picture = f'<img src="{address}" alt="{said}" decoding="sync">'
    return Html(f"<figure>{picture}<figcaption>{said}</figcaption></figure>")
