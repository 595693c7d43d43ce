"""Pictures of charts have the page's colours, ids of their own, and the same bytes twice."""

from __future__ import annotations

import re

from fae.reporting.charts import Axis, Drawing, Point, Series, draw_lines
from fae.reporting.style import LIGHT
from fae.reporting.vega import draw_png, draw_svg


def test_a_picture_has_the_page_s_colours_and_ids_of_its_own() -> None:
    points = [Point(1, 0.5, "1", "50 %"), Point(4, 9, "4", "900 %")]
    series = [Series("<b>var(--hot)&", points, 0), Series("grey", points, "faint", width=1)]
    x, y = Axis("rank", "count", logarithmic=True), Axis("share", "share", domain=(0, 1))
    drawing = Drawing("name", "title", "alt", draw_lines(x, y, series))
    first = draw_svg(drawing)
    assert "var(--series-1)" in first
    assert "&lt;b&gt;var(--hot)&amp;</text>" in first
    ids = re.findall(r'id="([^"]*)"', first)
    assert ids == [f"name-{place}" for place in range(len(ids))]
    assert set(re.findall(r"url\(#([^)]*)\)", first)) == set(ids) != set()
    # The library counts ids through all its charts.
    assert draw_svg(drawing) == first
    assert draw_png(drawing) == draw_png(drawing)
    assert LIGHT["page"] not in first
