"""Call vl-convert, which brings Vega-Lite: pictures of charts, and the library for the page."""

from functools import cache
from typing import Any
from xml.etree import ElementTree

import vl_convert

from fae.reporting.charts import Drawing
from fae.reporting.style import LIGHT

#: A version that all supported versions of vl-convert have.
_VEGA_LITE = "6.1"


def draw_svg(drawing: Drawing) -> str:
    """Return a figure as an element of the page; the same chart gives the same text."""
    document = vl_convert.vegalite_to_svg(drawing.chart, vl_version=_VEGA_LITE)
    return _to_page_svg(document, drawing.name)


def draw_png(drawing: Drawing) -> bytes:
    """Return a figure in light colours, with its title."""
    chart = _in_light_colours({**drawing.chart, "title": drawing.title})
    chart["config"] = {**chart["config"], "background": LIGHT["page"]}
    return vl_convert.vegalite_to_png(chart, vl_version=_VEGA_LITE, scale=2)


@cache
def library_source() -> str:
    """Return the JavaScript that draws live charts: Vega, Vega-Lite and Vega-Embed."""
    # Without a snippet of one's own, it is the library alone; the type forgets that.
    return vl_convert.javascript_bundle(None, vl_version=_VEGA_LITE)  # type: ignore[arg-type]


def _in_light_colours(chart: Any) -> Any:
    """Return a chart whose CSS variables are the light colours."""
    if isinstance(chart, dict):
        return {key: _in_light_colours(value) for key, value in chart.items()}
    if isinstance(chart, list | tuple):
        return [_in_light_colours(value) for value in chart]
    if isinstance(chart, str) and chart.startswith("var(--"):
        return LIGHT.get(chart[len("var(--") : -1], chart)
    return chart


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
