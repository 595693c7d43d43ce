"""The values of dictionaries are counted and ranked alike, in whatever chunks."""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fae.profiling import counting
from fae.profiling.counting import DictionaryCounts, count_values, merge_counts
from tests.support.columns import TABLES, sort_key


@given(
    table=TABLES,
    sizes=st.lists(st.integers(1, 9), min_size=1),
    max_entries=st.sampled_from([1, 2, 5, 1 << 19]),
    min_count=st.integers(1, 4),
    data=st.data(),
)
def test_values_are_counted_alike_in_any_chunks(
    table: tuple[pa.DataType, list[Any]],
    sizes: list[int],
    max_entries: int,
    min_count: int,
    data: st.DataObject,
) -> None:
    kind, values = table
    parts, at = [], 0
    for size in sizes:
        some = sorted(set(values[at : at + size]), key=sort_key)
        times = st.lists(st.integers(0, 3), min_size=len(some), max_size=len(some))
        counts = {code: np.array(data.draw(times), dtype=np.uint8) for code in (0, 3)}
        parts.append(DictionaryCounts(pa.array(some, kind), counts))
        at += size
    totals: dict[int, Counter[Any]] = {code: Counter() for code in (0, 3)}
    for part in parts:
        for code, total in totals.items():
            for value, times in zip(part.values.to_pylist(), part.counts[code], strict=True):
                total[value] += int(times)
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as directory:
        patch.setattr(counting, "ENTRIES_PER_CHUNK", max_entries)
        patch.setattr(counting, "ROWS_PER_GROUP", 3)
        counted = count_values(parts, 0, 3)
        merged, positions = merge_counts(parts)
        of_merged = count_values([merged], 0, 3)
        kept = counted.histogram.filter(min_count)
        counted.ranked.write(Path(directory) / "accesses.parquet", kept.value_count)
        found = pl.read_parquet(Path(directory) / "accesses.parquet")
    seen = [value for value, times in totals[0].items() if times > 0]
    order = sorted(seen, key=lambda v: (-totals[0][v], *sort_key(v)))
    rows = [(v, totals[0][v], totals[3][v]) for v in order if totals[0][v] >= min_count]
    assert found.rows() == rows
    assert (kept.value_count, kept.access_count) == (len(rows), sum(row[1] for row in rows))
    assert (counted.histogram.value_count, counted.histogram.access_count) == (
        len(seen),
        sum(totals[0].values()),
    )
    rank = {value: number for number, value in enumerate(order, start=1)}
    expected = [[rank.get(value, 0) for value in part.values.to_pylist()] for part in parts]
    assert [ranks.tolist() for ranks in counted.entry_ranks] == expected
    assert [of_merged.entry_ranks[0][own].tolist() for own in positions] == expected


def test_more_accesses_than_32_bits_can_hold_are_counted() -> None:
    most = np.array([2**32 - 1, 3], dtype=np.uint32)
    counted = count_values([DictionaryCounts(pa.array([7, 8]), {0: most})] * 3, 0, None)
    assert counted.histogram.access_count == 3 * 2**32 + 6
    assert [counted.histogram.filter(n).value_count for n in (2**33, 2**40)] == [1, 0]
    alike = np.full(3, 3 * 10**9, dtype=np.uint32)
    counted = count_values([DictionaryCounts(pa.array([7, 8, 9]), {0: alike})], 0, None)
    assert counted.histogram.access_count == 9 * 10**9
    assert [counted.histogram.filter(n).value_count for n in (3 * 10**9, 10**10)] == [3, 0]


def test_chunks_of_narrow_and_wide_counts_are_put_in_one_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(counting, "ENTRIES_PER_CHUNK", 1)
    counts = np.array([5, 2**40], dtype=np.int64)
    counted = count_values([DictionaryCounts(pa.array([7, 8]), {0: counts})], 0, None)
    assert len(counted.ranked.chunks) == 2
    assert counted.ranked.sort(1, 3).rows() == [(8, 2**40, 2**40), (7, 5, 5)]
