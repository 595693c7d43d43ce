"""The canvas: what every figure looks like, and its two forms, inline SVG and PNG.

Figures are drawn once, in the light palette. In the SVG each colour then becomes a CSS variable of
the page, so one drawing serves light and dark; its text stays text.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

#: Name → (light, dark). Light colours differ, since they stand for their names in a drawing. Series
#: can be told apart by people with any colour vision, and have 3:1 against the page or more.
PALETTE = {
    "page": ("#ffffff", "#0f1419"),
    "ink": ("#1c2128", "#e8edf2"),
    "muted": ("#57606a", "#a3adb8"),
    "grid": ("#d5dbe1", "#333c46"),
    "faint": ("#b3bac2", "#59636f"),
    "panel": ("#f5f7f9", "#182029"),
    "link": ("#0a58ad", "#7ab8ff"),
    "hot": ("#c4450c", "#ff9b5e"),
    "cold": ("#0b6cad", "#63b3ed"),
    "series-1": ("#c4460d", "#ff9b5f"),
    "series-2": ("#0b6cae", "#63b3ee"),
    "series-3": ("#0d7a55", "#4fd1a1"),
    "series-4": ("#8f3f97", "#dd9ce3"),
    "series-5": ("#7d6608", "#e3c64f"),
}
LIGHT = {name: light for name, (light, _) in PALETTE.items()}
#: Series differ in dashes and in markers too, for print and for eyes that see no colour.
DASHES = ("-", (0, (6, 2)), (0, (2, 2)), (0, (6, 2, 1, 2)), (0, (1, 1)))
MARKERS = ("o", "s", "^", "D", "v")

#: A drawing is 400 units wide, and a unit is a pixel or so on a phone.
WIDTH = 400
_UNITS = 72
#: Names of this many characters stand side by side.
_NARROW = 24
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.size": 11,
    "font.sans-serif": ["DejaVu Sans"],
    "axes.titlesize": 12,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.edgecolor": LIGHT["muted"],
    "axes.labelcolor": LIGHT["ink"],
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": LIGHT["grid"],
    "grid.linewidth": 0.8,
    "lines.linewidth": 1.8,
    "lines.markersize": 5,
    "text.color": LIGHT["ink"],
    "xtick.color": LIGHT["ink"],
    "ytick.color": LIGHT["ink"],
    "legend.frameon": False,
    "legend.borderaxespad": 0.8,
    "legend.handlelength": 2.6,
    "xtick.minor.visible": False,
}


@dataclass(frozen=True)
class Drawing:
    """A figure in both forms; `alt` says in words what it shows."""

    name: str
    alt: str
    svg: str
    png: bytes


@contextmanager
def canvas() -> Iterator[None]:
    """Matplotlib's settings for figures of a report, whatever the user's own are."""
    with matplotlib.rc_context(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from font")
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE)
        yield


def axes(height: float, title: str) -> tuple[Figure, Axes]:
    """A new figure of `height` units with one pair of axes."""
    figure = Figure(figsize=(WIDTH / _UNITS, height / _UNITS), layout="constrained")
    pair: Axes = figure.add_subplot()
    pair.set_title(title)
    return figure, pair


def legend(figure: Figure, columns: int) -> None:
    """The series' names below the axes, in so many columns; one below the other if long."""
    _, names = figure.axes[0].get_legend_handles_labels()
    columns = columns if max(map(len, names), default=0) <= _NARROW else 1
    figure.legend(loc="outside lower left", ncols=columns, columnspacing=1.4, borderpad=0.3)


def drawing(name: str, figure: Figure, alt: str) -> Drawing:
    """Both forms of `figure`, laid out once; the same figure gives the same bytes."""
    png, svg = io.BytesIO(), io.StringIO()
    figure.savefig(png, format="png", dpi=2 * _UNITS, metadata={"Software": None})
    figure.set_layout_engine("none")
    with matplotlib.rc_context({"svg.hashsalt": name}):
        metadata = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(svg, format="svg", transparent=True, metadata=metadata)
    return Drawing(name, alt, inline(svg.getvalue(), name), png.getvalue())


def inline(document: str, name: str) -> str:
    """An SVG document as an element of a page: colours as variables, ids with `name` before them.

    Only tags are changed, never text between them.
    """
    body = document[document.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    colours = {light: f"var(--{colour})" for colour, (light, _) in PALETTE.items()}
    known = re.compile("|".join(colours))

    def page_tag(found: re.Match[str]) -> str:
        tag = known.sub(lambda colour: colours[colour[0]], found[0])
        tag = re.sub(r'( id="|href="#|url\(#)', rf"\g<1>{name}-", tag)
        return tag.replace("xlink:href", "href")

    body = re.sub(r"<[^>]*>", page_tag, body)
    view = re.search(r'viewBox="[^"]*"', body)
    assert view is not None
    return re.sub(r"<svg[^>]*>", f'<svg {view[0]} aria-hidden="true">', body, count=1).strip()
