"""Colours have contrast, and numbers and texts are readable."""

from __future__ import annotations

import pytest

from fae.reporting.style import (
    PALETTE,
    format_count,
    format_share,
    format_size,
    to_printable,
)
from tests.support.report_pages import spaced


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_colours_have_enough_contrast(scheme: int) -> None:
    colours = {name: luminance(pair[scheme]) for name, pair in PALETTE.items()}
    words, marks = ("ink", "muted", "link"), ("hot", "cold", *(f"series-{i}" for i in range(1, 6)))
    for under in ("page", "panel"):
        for name in words:
            assert contrast(colours[name], colours[under]) >= 4.5, name
        for name in marks:
            assert contrast(colours[name], colours[under]) >= 3, name


def luminance(colour: str) -> float:
    """Relative luminance as the WCAG define it."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: float, other: float) -> float:
    return (max(one, other) + 0.05) / (min(one, other) + 0.05)


def test_numbers_are_written_for_people() -> None:
    assert format_count(1234567) == "1,234,567"
    assert [spaced(format_share(x)) for x in (0, 1e-6, 0.123, 0.9999, 1)] == [
        "0.0 %", "< 0.1 %", "12.3 %", "> 99.9 %", "100.0 %",
    ]  # fmt: skip
    assert format_share(None) == "–"
    assert spaced(format_size(4 << 20)) == "4.00 MiB"


def test_text_is_made_printable_and_short() -> None:
    assert to_printable("a\tb\x00\u202e\ud800é", 60) == r"a\tb\x00\u202e\ud800é"
    assert to_printable("x" * 60, 60) == "x" * 60
    assert to_printable("x" * 100, 60) == "x" * 59 + "…"
    assert len(to_printable("\x00" * 100, 60)) == 60
