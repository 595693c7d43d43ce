"""Vocabularies: raw values as logs write them, by id, with the accesses of train."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fae.dataset import vocabulary as vocabularies
from fae.dataset.vocabulary import build_vocabulary, to_raw_values
from fae.logs.columns import SparseColumn
from tests.support.small_logs import LABEL, Stages, schema_of


def column(**settings: Any) -> SparseColumn:
    return schema_of([LABEL, {"name": "x", "role": "sparse", **settings}]).sparse[0]


def test_the_twenty_rows_have_these_vocabularies(shop: Stages) -> None:
    city, item = (
        pl.read_parquet(shop.dataset / "vocabulary" / f"{name}.parquet")
        for name in ("city", "item")
    )
    assert city.rows() == [
        ("Oslo", 1, 8),
        ("Rome", 2, 4),
        (None, 3, 2),
        ("Bonn", 4, 1),
        ("Lima", 5, 1),
    ]
    assert dict(city.schema) == {"value": pl.String, "id": pl.Int64, "accesses": pl.Int64}
    assert item.rows() == [(7, 1, 12), (5, 2, 6), (3, 3, 4), (9, 4, 1)]
    assert item.schema["value"] == pl.Int64


def test_lines_are_by_id_whatever_the_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    accesses = pl.DataFrame({"value": ["a", None, "b"], "accesses": [9, 5, 2]})
    ids = np.array([0, 3, 1, 2], dtype=np.uint32)
    found = pl.concat(build_vocabulary(iter([accesses]), ids, column()))
    assert found.rows() == [(None, 1, 5), ("b", 2, 2), ("a", 3, 9)]
    monkeypatch.setattr(vocabularies, "LINES_PER_FRAME", 2)
    pieces = list(build_vocabulary(iter([accesses[:1], accesses[1:]]), ids, column()))
    assert [piece.height for piece in pieces] == [2, 1]
    assert pl.concat(pieces).equals(found)


@pytest.mark.parametrize("given", [[0, 1, 2, 3], [0, 1, 1, 2]])
def test_lines_come_as_they_are_read_where_ids_follow_the_ranks(given: list[int]) -> None:
    accesses = pl.DataFrame({"value": ["a", None, "b"], "accesses": [9, 5, 2]})
    read = 0

    def frames() -> Iterator[pl.DataFrame]:
        nonlocal read
        for row in range(3):
            read += 1
            yield accesses[row : row + 1]

    ids = np.array(given, dtype=np.uint32)
    for number, frame in enumerate(build_vocabulary(frames(), ids, column()), start=1):
        assert read == number
        assert frame["id"].to_list() == given[number : number + 1]
    assert read == 3


@given(
    ids=st.lists(st.integers(0, 3), min_size=1, max_size=8),
    cuts=st.sets(st.integers(1, 7)),
    lines=st.integers(1, 4),
)
def test_lines_are_by_id_and_then_by_rank(ids: list[int], cuts: set[int], lines: int) -> None:
    accesses = pl.DataFrame({"value": range(len(ids)), "accesses": [1] * len(ids)})
    places = [0, *sorted(cut for cut in cuts if cut < len(ids)), len(ids)]
    frames = (accesses[a:b] for a, b in itertools.pairwise(places))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vocabularies, "LINES_PER_FRAME", lines)
        found = pl.concat(build_vocabulary(frames, np.array([0, *ids], np.uint32), column()))
    expected = sorted((one, rank) for rank, one in enumerate(ids))
    assert list(zip(found["id"], found["value"], strict=True)) == expected


def test_an_empty_vocabulary_has_its_columns() -> None:
    accesses = pl.DataFrame(schema={"value": pl.UInt32, "accesses": pl.Int64})
    (found,) = build_vocabulary(
        iter([accesses]), np.zeros(1, np.uint32), column(encoding="hex", digits=8)
    )
    assert found.is_empty()
    assert dict(found.schema) == {"value": pl.String, "id": pl.Int64, "accesses": pl.Int64}


@pytest.mark.parametrize(
    ("number", "digits", "text"),
    [
        (0, 8, "00000000"),
        (0x68FD1E64, 8, "68fd1e64"),
        (0xA, 2, "0a"),
        (0, None, "0"),
        (0xA0, None, "a0"),
        (2**64 - 1, None, "f" * 16),
        (None, 8, None),
    ],
)
def test_hexadecimal_digits_are_written_back(
    number: int | None, digits: int | None, text: str | None
) -> None:
    series = pl.Series([number], dtype=pl.UInt64())
    found = to_raw_values(series, column(encoding="hex", **({"digits": digits} if digits else {})))
    assert found.to_list() == [text]


@given(
    numbers=st.lists(st.none() | st.integers(0, 2**64 - 1)), digits=st.none() | st.integers(1, 16)
)
def test_digits_are_pythons(numbers: list[int | None], digits: int | None) -> None:
    limit = 16 ** (digits or 16)
    numbers = [None if one is None else one % limit for one in numbers]
    settings = {"encoding": "hex"} | ({"digits": digits} if digits else {})
    found = to_raw_values(pl.Series(numbers, dtype=pl.UInt64()), column(**settings))
    assert found.to_list() == [
        None if one is None else format(one, f"0{digits or 1}x") for one in numbers
    ]


@pytest.mark.parametrize("encoding", ["integer", "string"])
def test_integers_and_words_are_written_as_they_are(encoding: str) -> None:
    values = pl.Series([3, None, -1] if encoding == "integer" else ["3", None, "é"])
    assert to_raw_values(values, column(encoding=encoding)).equals(values, null_equal=True)
