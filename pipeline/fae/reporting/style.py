"""What figures, numbers and text look like: colours, formats, and drawings as SVG and PNG.

Everything in a data set is untrusted: names come from a schema, texts from a log. All of it passes
through `to_printable` before it enters a figure or the page; the page escapes it as well.
"""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

import matplotlib
import numpy as np
from dask.utils import format_bytes
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

#: Name → (light, dark). Light colours are all different, since they are replaced by their names in
#: an SVG. People with any colour vision can tell the series apart, and each has a contrast of 3:1
#: or more against the page.
PALETTE = {
    "page": ("#ffffff", "#0f1419"), "ink": ("#1c2128", "#e8edf2"), "muted": ("#57606a", "#a3adb8"),
    "grid": ("#d5dbe1", "#333c46"), "faint": ("#b3bac2", "#59636f"),
    "panel": ("#f5f7f9", "#182029"), "link": ("#0a58ad", "#7ab8ff"),
    "hot": ("#c4450c", "#ff9b5e"), "cold": ("#0b6cad", "#63b3ed"),
    "series-1": ("#c4460d", "#ff9b5f"), "series-2": ("#0b6cae", "#63b3ee"),
    "series-3": ("#0d7a55", "#4fd1a1"), "series-4": ("#8f3f97", "#dd9ce3"),
    "series-5": ("#7d6608", "#e3c64f"),
}  # fmt: skip
LIGHT = {name: light for name, (light, _) in PALETTE.items()}
#: Series differ in dashes and markers too, for print and for eyes that see no colour.
DASHES = ("-", (0, (6, 2)), (0, (2, 2)), (0, (6, 2, 1, 2)), (0, (1, 1)))
MARKERS = ("o", "s", "^", "D", "v")

#: Keeps a number and its unit on one line.
NO_BREAK_SPACE = "\u00a0"
#: A drawing is 400 units wide; a unit is about a pixel on a phone.
_WIDTH_UNITS = 400
_UNITS_PER_INCH = 72
#: Legend entries of at most this many characters stand side by side.
_SHORT_LABEL_LENGTH = 24
_MATPLOTLIB_SETTINGS: dict[Any, Any] = {
    "svg.fonttype": "none", "text.parse_math": False, "text.color": LIGHT["ink"],
    "font.size": 11, "font.sans-serif": ["DejaVu Sans"],
    "axes.titlesize": 12, "axes.titleweight": "bold", "axes.titlelocation": "left",
    "axes.edgecolor": LIGHT["muted"], "axes.labelcolor": LIGHT["ink"],
    "axes.spines.top": False, "axes.spines.right": False,
    "axes.grid": True, "axes.axisbelow": True, "grid.color": LIGHT["grid"], "grid.linewidth": 0.8,
    "lines.linewidth": 1.8, "lines.markersize": 5,
    "xtick.color": LIGHT["ink"], "xtick.minor.visible": False, "ytick.color": LIGHT["ink"],
    "legend.frameon": False, "legend.borderaxespad": 0.8, "legend.handlelength": 2.6,
}  # fmt: skip


def format_count(number: int) -> str:
    """Return `1234` as `1,234`."""
    return f"{number:,}"


def format_share(fraction: float | None) -> str:
    """Return `0.123` as `12.3 %`, never rounded to 0 or 100 %; a dash for None."""
    if fraction is None:
        return "–"
    if 0 < fraction < 0.0005:
        return f"<{NO_BREAK_SPACE}0.1{NO_BREAK_SPACE}%"
    if 0.9995 <= fraction < 1:
        return f">{NO_BREAK_SPACE}99.9{NO_BREAK_SPACE}%"
    return f"{fraction * 100:.1f}{NO_BREAK_SPACE}%"


def format_size(number: int) -> str:
    """Return a number of bytes as `4.00 MiB`."""
    return format_bytes(number).replace(" ", NO_BREAK_SPACE)


def format_share_tick(fraction: float, _: object) -> str:
    """Return a share as `0.1 %` or `20 %`."""
    return f"{fraction * 100:.6g}{NO_BREAK_SPACE}%"


def format_power_of_ten(value: float, _: object) -> str:
    """Return a power of ten as `1`, `1 k` or `1 M`."""
    for unit, factor in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= factor:
            return f"{value / factor:g}{NO_BREAK_SPACE}{unit}"
    return f"{value:g}"


def ratio(part: float, whole: float) -> float | None:
    """Return `part / whole`; None where `whole` is 0."""
    return part / whole if whole else None


def to_printable(text: object, max_length: int) -> str:
    r"""Return `text` on one line, cut to `max_length` characters, with the invisible written out.

    Control characters, marks that change the direction of writing and lone surrogates become
    escapes such as `\x00`.
    """
    full = str(text)
    printable = "".join(
        character
        if character.isprintable() or character == NO_BREAK_SPACE
        else character.encode("unicode_escape").decode("ascii")
        for character in full[:max_length]
    )
    is_whole = len(full) <= max_length and len(printable) <= max_length
    return printable if is_whole else f"{printable[: max_length - 1]}…"


@dataclass(frozen=True)
class Drawing:
    """A figure as SVG and as PNG; `alt` says in words what it shows."""

    name: str
    alt: str
    svg: str
    png: bytes


@contextmanager
def matplotlib_settings() -> Iterator[None]:
    """Draw the figures of a report alike in the block, whatever the user's own settings are."""
    with matplotlib.rc_context(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from font")
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_MATPLOTLIB_SETTINGS)
        yield


def new_figure(height_units: float, title: str) -> tuple[Figure, Axes]:
    """Return a new figure with one pair of axes."""
    size = (_WIDTH_UNITS / _UNITS_PER_INCH, height_units / _UNITS_PER_INCH)
    figure = Figure(figsize=size, layout="constrained")
    axes: Axes = figure.add_subplot()
    axes.set_title(title)
    return figure, axes


def set_share_axis(axes: Axes) -> None:
    """Make the vertical axis go from 0 to 100 %."""
    axes.set_ylim(0, 1.03)
    axes.yaxis.set_major_locator(FixedLocator([0, 0.2, 0.4, 0.6, 0.8, 1]))
    axes.yaxis.set_major_formatter(format_share_tick)
    axes.xaxis.set_minor_locator(NullLocator())


def set_byte_axis(axes: Axes, least: int, most: int) -> None:
    """Make the horizontal axis logarithmic, with a tick at every few powers of two bytes."""
    axes.set_xscale("log", base=2)
    first, last = int(np.ceil(np.log2(least))), int(np.floor(np.log2(most)))
    step = max(1, -(-(last - first) // 5))
    axes.xaxis.set_major_locator(FixedLocator([2**power for power in range(first, last + 1, step)]))
    axes.xaxis.set_major_formatter(lambda value, _: format_size(int(value)).replace(".00", ""))
    axes.xaxis.set_minor_locator(NullLocator())


def render(name: str, figure: Figure, alt: str, *, legend_columns: int = 2) -> Drawing:
    """Return `figure` in both formats, laid out once, with its legend below the axes.

    The legend has `legend_columns` columns, or one if its entries are long. The same figure gives
    the same bytes.
    """
    _, labels = figure.axes[0].get_legend_handles_labels()
    if labels:
        columns = 1 if max(map(len, labels)) > _SHORT_LABEL_LENGTH else legend_columns
        figure.legend(loc="outside lower left", ncols=columns, columnspacing=1.4, borderpad=0.3)
    png, svg = io.BytesIO(), io.StringIO()
    figure.savefig(png, format="png", dpi=2 * _UNITS_PER_INCH, metadata={"Software": None})
    figure.set_layout_engine("none")
    # Ids of clip paths and markers are hashes salted with the name, so those of two figures differ.
    with matplotlib.rc_context({"svg.hashsalt": name}):
        metadata = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(svg, format="svg", transparent=True, metadata=metadata)
    return Drawing(name, alt, to_page_svg(svg.getvalue()), png.getvalue())


def to_page_svg(document: str) -> str:
    """Return matplotlib's SVG document as an element of the page.

    Figures are drawn in the light palette; each colour becomes a CSS variable of the page, so that
    one drawing serves light and dark. Ids that nothing refers to are removed, since every drawing
    has the same ones (`axes_1`). Text is left as it is.
    """
    root = ElementTree.fromstring(document)  # noqa: S314 (matplotlib wrote it)
    for metadata in root.findall("{*}metadata"):
        root.remove(metadata)
    for element in root.iter():
        # HTML knows SVG without namespaces.
        element.tag = element.tag.rpartition("}")[2]
        attributes = {key.rpartition("}")[2]: value for key, value in element.attrib.items()}
        element.attrib.clear()
        for key, value in attributes.items():
            for name, light in LIGHT.items():
                value = value.replace(light, f"var(--{name})")
            if key != "id" or f"#{value}" in document:
                element.set(key, value)
    root.attrib = {"viewBox": root.attrib["viewBox"], "aria-hidden": "true"}
    return ElementTree.tostring(root, encoding="unicode").strip()
