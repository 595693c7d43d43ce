"""A few kills and limits of the campaigns, on every change."""

from __future__ import annotations

from pathlib import Path

from faults.crashes import campaign
from faults.limits import LIMITS, try_limits


def test_a_kill_of_each_kind_of_program_loses_nothing(tmp_path: Path) -> None:
    found = campaign(5, 4, tmp_path)
    assert found.good, found.failures
    assert found.faults >= 4


def test_a_denied_resource_ends_in_one_line_and_harms_nothing(tmp_path: Path) -> None:
    found = try_limits([limit for limit in LIMITS if limit.cheap], 5, tmp_path)
    assert found.good, found.failures
    assert found.faults >= 7
