"""Damaged or contradictory data sets are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fae.format.errors import DatasetError
from fae.reporting.report import write_report
from tests.support.small_logs import edit_manifest


def test_a_missing_or_damaged_data_set_is_refused(shop_copy: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="not a finished data set"):
        write_report(tmp_path / "nothing", tmp_path / "report.html")
    (shop_copy / "curve.csv").unlink()
    with pytest.raises(DatasetError, match="does not say how it was prepared"):
        write_report(shop_copy, tmp_path / "report.html")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dataset"]


@pytest.mark.parametrize(
    ("keys", "value"),
    [
        (("preparation", "logs", 0, "rows"), "many"),
        (("preparation", "tables", 0, "name"), "other"),
        (("preparation", "tables", 0, "columns", "city"), {}),
        (("preparation", "sample"), None),
        (("schema", "columns"), []),
        (("budget", "bytes"), 123_456),
    ],
)
def test_a_manifest_that_contradicts_itself_is_refused(
    shop_copy: Path, tmp_path: Path, keys: tuple[str | int, ...], value: Any
) -> None:
    edit_manifest(shop_copy, *keys, value=value)
    with pytest.raises(DatasetError, match=r"does not say how it was prepared \(.+\)"):
        write_report(shop_copy, tmp_path / "report.html")
