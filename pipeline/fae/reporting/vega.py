"""Call vl-convert, which brings Vega-Lite: pictures of charts, and the library for the page."""

import os
import re
import subprocess
import sys
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from xml.etree import ElementTree
from xml.sax.saxutils import escape

import vl_convert

from fae.format.atomic_files import replace_file
from fae.format.errors import StorageError
from fae.reporting.charts import Drawing
from fae.reporting.style import LIGHT

#: A version that all supported versions of vl-convert have.
_VEGA_LITE = "6.1"
_BUNDLE = (
    "import sys, vl_convert\n"
    f"source = vl_convert.javascript_bundle(None, vl_version={_VEGA_LITE!r})\n"
    "sys.stdout.buffer.write(source.encode())\n"
)
#: Pixels above a picture for its title.
_TITLE_HEIGHT = 34


def draw_pictures(drawing: Drawing) -> tuple[str, bytes]:
    """Return a figure as an SVG element of the page and as a PNG in light colours with its title.

    The same chart gives the same bytes.
    """
    document = vl_convert.vegalite_to_svg(drawing.chart, vl_version=_VEGA_LITE)
    return _to_page_svg(document, drawing.name), _to_png(document, drawing.title)


def _to_png(document: str, title: str) -> bytes:
    """Return an SVG document as a PNG in light colours, below its title."""
    width, height = map(float, re.findall(r' (?:width|height)="([\d.]+)"', document)[:2])
    size = f'width="{width}" height="{height + _TITLE_HEIGHT}"'
    inner = document.replace("<svg ", f'<svg y="{_TITLE_HEIGHT}" ', 1)
    picture = (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size}>'
        '<rect width="100%" height="100%" fill="var(--page)"/>'
        '<text x="5" y="20" font-family="sans-serif" font-size="14" font-weight="bold" '
        f'fill="var(--ink)">{escape(title)}</text>{inner}</svg>'
    )
    light = re.sub(r'(?<==")var\(--([\w-]+)\)', lambda name: LIGHT[name[1]], picture)
    return vl_convert.svg_to_png(light, scale=2)


def library_source() -> str:
    """Return the JavaScript that draws live charts: Vega, Vega-Lite and Vega-Embed.

    It takes seconds to bundle, so it is kept in the user's folder for caches. Another process does
    it, since progress would stand still in this one: vl-convert holds the interpreter's lock.
    """
    caches = Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"))  # noqa: PTH111
    path = caches / "fae" / f"vega-{_VEGA_LITE}-{version('vl-convert-python')}.js"
    with suppress(OSError, UnicodeError):
        return path.read_text(encoding="utf-8")
    bundle = [sys.executable, "-c", _BUNDLE]
    source = subprocess.run(bundle, check=True, stdout=subprocess.PIPE).stdout  # noqa: S603
    with suppress(OSError, StorageError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with replace_file(path, shared=True) as partial:
            partial.write_bytes(source)
    return source.decode()


def _to_page_svg(document: str, name: str) -> str:
    """Return an SVG document as an element of the page, with ids of its own."""
    root = ElementTree.fromstring(document)  # noqa: S314 (vl-convert wrote it)
    ids = [element.get("id") for element in root.iter() if element.get("id")]
    renamed = {f"url(#{old})": f"url(#{name}-{place})" for place, old in enumerate(ids)}
    for element in root.iter():
        # HTML knows SVG without namespaces.
        element.tag = element.tag.rpartition("}")[2]
        for key, value in element.attrib.items():
            if value in renamed:
                element.set(key, renamed[value])
        if element.get("id"):
            element.set("id", f"{name}-{ids.index(element.get('id'))}")
    root.attrib = {"viewBox": root.attrib["viewBox"], "aria-hidden": "true"}
    return ElementTree.tostring(root, encoding="unicode").strip()
