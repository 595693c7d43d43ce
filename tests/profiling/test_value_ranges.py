"""Counting a table in several ranges gives what one range gives, byte for byte."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from fae.execution.executor import Executor
from fae.ingestion.staging import Staging
from fae.logs.files import find_logs
from fae.logs.schema_files import load_schema
from fae.profiling import value_ranges
from fae.profiling.frequencies import Frequencies
from fae.profiling.parameters import ProfileParameters
from fae.profiling.stage import profile
from fae.profiling.value_ranges import ValueRange
from fae.synthetic.log import write_log
from tests.support.small_logs import digests, staged


@pytest.fixture(scope="module")
def staging(tmp_path_factory: pytest.TempPathFactory) -> Staging:
    """Return two thousand rows of 26 tables in some ten parts."""
    directory = tmp_path_factory.mktemp("criteo")
    write_log("criteo", 2_000, directory / "log.tsv", 0, lambda _: None)
    schema = load_schema("criteo-kaggle")
    logs = find_logs([str(directory / "log.tsv")], schema)
    return staged(logs, schema, directory / "staging", block_bytes=50_000)


def profile_in_ranges(
    staging: Staging, out: Path, max_entries: int, **parameters: object
) -> Frequencies:
    """Profile a staging in ranges of at most `max_entries`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(value_ranges, "MAX_ENTRIES_PER_RANGE", max_entries)
        patch.setattr(value_ranges, "MIN_ENTRIES_PER_PART", 0)
        return profile(staging, out, Executor(2), ProfileParameters.of(**parameters))


def test_parts_that_cannot_all_stay_mapped_are_copied(
    staging: Staging, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mapped = profile_in_ranges(staging, tmp_path / "mapped", 1500)
    monkeypatch.setattr(value_ranges, "MAX_MAPPED_FILES", 3)
    copied = profile_in_ranges(staging, tmp_path / "copied", 1500)
    assert digests(mapped.directory) == digests(copied.directory)


def test_any_ranges_give_the_same_accesses_and_ranks(staging: Staging, tmp_path: Path) -> None:
    parameters = {"min_count": {"": 3}, "sample": 0.5}
    whole = profile_in_ranges(staging, tmp_path / "whole", 1 << 21, **parameters)
    several = profile_in_ranges(staging, tmp_path / "several", 300, **parameters)
    assert max(whole.ranges.values()) == 1
    assert max(several.ranges.values()) > 3
    assert whole.tables == several.tables
    for table in whole.tables:
        name = f"accesses/{table.name}.parquet"
        one, other = ((output.directory / name).path for output in (whole, several))
        assert one.read_bytes() == other.read_bytes()
        for column in table.columns:
            for part in range(len(staging.parts)):
                ranks = whole.read_ranks(column, part).tolist()
                assert ranks == several.read_ranks(column, part).tolist()


def test_a_range_is_a_slice_of_a_dictionary() -> None:
    numbers, words = pa.array([None, 3, 5, 9]), pa.array(["", "a", "b"], pa.large_string())
    assert ValueRange("t", 0, None, None).slice_of(numbers) == slice(0, 4)
    assert ValueRange("t", 0, None, 5).slice_of(numbers) == slice(0, 2)
    assert ValueRange("t", 1, 5, 9).slice_of(numbers) == slice(2, 3)
    assert ValueRange("t", 2, 9, None).slice_of(numbers) == slice(3, 4)
    assert ValueRange("t", 0, None, "a").slice_of(words) == slice(0, 1)
    assert ValueRange("t", 1, "aa", None).slice_of(words) == slice(2, 3)
    assert ValueRange("t", 1, "x", "y").slice_of(words) == slice(3, 3)
