"""A few of the night's kills and limits, on every change."""

from __future__ import annotations

from pathlib import Path

from faults.crashes import campaign
from faults.limits import LIMITS, tried


def test_ten_kills_lose_nothing(tmp_path: Path) -> None:
    found = campaign(5, 10, tmp_path)
    assert found.good, found.failures
    assert found.faults >= 10


def test_what_is_denied_is_told_in_one_line_and_harms_nothing(tmp_path: Path) -> None:
    found = tried([limit for limit in LIMITS if limit.cheap], 5, tmp_path)
    assert found.good, found.failures
    assert found.faults >= 8
