"""Dictionaries that are merged before they are counted give the same bytes, in any tree."""

from __future__ import annotations

from pathlib import Path

import pytest

from fae.execution.executor import Executor
from fae.ingestion.staging import Staging
from fae.logs.files import find_logs
from fae.profiling import dictionary_tree, value_ranges
from fae.profiling.dictionary_tree import group_by_size
from fae.profiling.parameters import ProfileParameters
from fae.profiling.stage import profile
from tests.support.small_logs import SHOP, SHOP_LOG, digests, staged, written


@pytest.fixture(scope="module")
def staging(tmp_path_factory: pytest.TempPathFactory) -> Staging:
    """Return the twenty rows of the shop log in seven parts."""
    directory = tmp_path_factory.mktemp("shop")
    found = find_logs(written(directory, {"shop.csv": SHOP_LOG}), SHOP)
    staging = staged(found, SHOP, directory / "staging", block_bytes=45)
    assert len(staging.parts) == 7
    return staging


@pytest.mark.parametrize("fan_in", [2, 3])  # two levels of merged dictionaries, and one
@pytest.mark.parametrize(("entries_per_range", "sample"), [(3, 0.5), (1 << 21, 1.0)])
def test_any_fan_in_gives_the_same_bytes(
    staging: Staging,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    fan_in: int,
    entries_per_range: int,
    sample: float,
) -> None:
    monkeypatch.setattr(value_ranges, "MAX_ENTRIES_PER_RANGE", entries_per_range)
    monkeypatch.setattr(value_ranges, "MIN_ENTRIES_PER_PART", 0)
    monkeypatch.setattr(value_ranges, "MAX_MAPPED_FILES", 2)
    parameters = ProfileParameters.of(min_count={"": 2}, sample=sample, valid=0.2, test=0.1)
    direct = profile(staging, tmp_path / "direct", Executor(1), parameters)
    monkeypatch.setattr(dictionary_tree, "MAX_FAN_IN", fan_in)
    merged = profile(staging, tmp_path / "merged", Executor(2), parameters)
    assert "merge: " in capsys.readouterr().err
    assert digests(direct.directory) == digests(merged.directory)


def test_small_ranges_and_columns_share_a_task(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dictionary_tree, "MAX_ENTRIES_PER_SMALL_GROUP", 20)
    sizes = {"a": 3, "b": 100, "c": 20, "d": 4, "e": 30, "f": 0}
    assert group_by_size(sizes) == [["b"], ["e"], ["c", "d"], ["a", "f"]]
    assert group_by_size(dict[str, int]()) == []
    assert list(map(len, group_by_size(dict.fromkeys(range(9), 5)))) == [4, 4, 1]
