"""Elements of the page: cards, tables and figures in HTML.

Every text goes in through here and is escaped here; what is returned is markup.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fae.reporting.canvas import Drawing
from fae.reporting.formats import escaped

_LINE = 2_000
#: Cells are longer than names, and captions longer than cells.
_CELL = 200


@dataclass(frozen=True)
class Row:
    """A line of a table: its cells as text; `chosen` sets it off."""

    cells: Sequence[str]
    chosen: bool = False


def paragraph(text: str, kind: str = "") -> str:
    """A paragraph of plain text."""
    start = f'<p class="{kind}">' if kind else "<p>"
    return f"{start}{escaped(text, _LINE)}</p>"


def card(title: str, figure: str, more: str = "") -> str:
    """A key figure with its name and a remark."""
    rest = f'<dd class="more">{escaped(more, _CELL)}</dd>' if more else ""
    term = f"<dt>{escaped(title)}</dt>"
    return f'<div>{term}<dd class="figure">{escaped(figure)}</dd>{rest}</div>'


def cards(found: Sequence[str]) -> str:
    """Key figures side by side."""
    return f'<dl class="cards">{"".join(found)}</dl>'


def glossary(entries: Sequence[tuple[str, str]]) -> str:
    """Terms with what they mean."""
    found = (f"<dt>{escaped(t)}</dt><dd>{escaped(meaning, _LINE)}</dd>" for t, meaning in entries)
    return f'<dl class="prose">{"".join(found)}</dl>'


def picture(drawing: Drawing) -> str:
    """A figure; who does not see it hears its `alt`."""
    alt = escaped(drawing.alt, _LINE)
    return f'<figure><div role="img" aria-label="{alt}">{drawing.svg}</div></figure>'


def pair(*parts: str) -> str:
    """Parts side by side where there is room, else below each other."""
    return f'<div class="pair">{"".join(parts)}</div>'


def table(
    caption: str,
    columns: Sequence[str],
    rows: Sequence[Row],
    *,
    text: int = 1,
    code: int | None = None,
) -> str:
    """A table with its caption; it scrolls sideways where it is wider than the page.

    The first `text` columns are words and stand to the left; column `code` is a log's own text.
    """
    name = escaped(caption, _LINE)
    head = "".join(
        f'<th scope="col"{_kind(place, text, code)}>{escaped(one)}</th>'
        for place, one in enumerate(columns)
    )
    body = "\n".join(_row(row, text, code) for row in rows)
    return (
        f'<div class="wide" role="region" tabindex="0" aria-label="{name}"><table>'
        f"<caption><span>{name}</span></caption>\n<thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody>"
        "</table></div>"
    )


def _row(row: Row, text: int, code: int | None) -> str:
    first, *rest = row.cells
    cells = [f'<th scope="row"{_kind(0, text, code)}>{escaped(first, _CELL)}</th>']
    for place, cell in enumerate(rest, 1):
        said = escaped(cell, _CELL)
        said = f"<code>{said}</code>" if place == code else said
        cells.append(f"<td{_kind(place, text, code)}>{said}</td>")
    start = '<tr class="chosen">' if row.chosen else "<tr>"
    return f"{start}{''.join(cells)}</tr>"


def _kind(place: int, text: int, code: int | None) -> str:
    if place == code:
        return ' class="text code"'
    return ' class="text"' if place < text else ""


def section(name: str, title: str, *parts: str) -> str:
    """A section with its heading; `name` is its anchor."""
    body = "\n".join(part for part in parts if part)
    heading = f'<h2 id="{name}">{escaped(title)}</h2>'
    return f'<section aria-labelledby="{name}">{heading}\n{body}\n</section>'
