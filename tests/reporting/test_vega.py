"""Pictures of charts have the page's colours, ids of their own, and the same bytes twice."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from fae.reporting.charts import Axis, Drawing, Point, Series, draw_lines
from fae.reporting.style import LIGHT
from fae.reporting.vega import draw_pictures, library_source


def test_a_picture_has_the_page_s_colours_and_ids_of_its_own() -> None:
    points = [Point(1, 0.5, "1", "50 %"), Point(4, 9, "4", "900 %")]
    series = [Series("<b>var(--hot)&", points, 0), Series("grey", points, "faint", width=1)]
    x, y = Axis("rank", "count", logarithmic=True), Axis("share", "share", domain=(0, 1))
    drawing = Drawing("name", "title", "alt", draw_lines(x, y, series))
    first, png = draw_pictures(drawing)
    assert "var(--series-1)" in first
    assert "&lt;b&gt;var(--hot)&amp;</text>" in first
    ids = re.findall(r'id="([^"]*)"', first)
    assert ids == [f"name-{place}" for place in range(len(ids))]
    assert set(re.findall(r"url\(#([^)]*)\)", first)) == set(ids) != set()
    # The library counts ids through all its charts.
    assert draw_pictures(drawing) == (first, png)
    assert LIGHT["page"] not in first


def test_the_library_is_bundled_once_unless_it_cannot_be_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundled = []

    def bundle(*_args: object, **_options: object) -> subprocess.CompletedProcess[bytes]:
        bundled.append("draw() // é".encode())
        return subprocess.CompletedProcess((), 0, bundled[-1])

    monkeypatch.setattr(subprocess, "run", bundle)
    (tmp_path / "file").touch()
    for caches, times in (("caches", 1), ("file", 3)):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / caches))
        assert [library_source(), library_source()] == ["draw() // é"] * 2
        assert len(bundled) == times
    assert len(list((tmp_path / "caches" / "fae").iterdir())) == 1
