"""What the tests of commands share."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.support.small_logs import SHOP, SHOP_LOG, written


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with the twenty rows and their schema."""
    schema = yaml.safe_dump(SHOP.document(), allow_unicode=True)
    written(tmp_path, {"shop.csv": SHOP_LOG, "shop.yaml": schema})
    monkeypatch.chdir(tmp_path)
    return tmp_path
