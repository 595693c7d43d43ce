"""Parsing of columnar logs: typed columns give what their text would."""

from __future__ import annotations

import datetime
import math
from typing import Any

import polars as pl
import pytest

from fae.format.errors import FaeError
from fae.ingestion.parser import parse_table
from tests.support.parsed_lines import CITY, reasons, value
from tests.support.random_logs import BAD, VALUES
from tests.support.small_logs import LABEL, schema_of


def tabled(values: Any, column: dict[str, Any], dtype: Any = None) -> list[Any]:
    """The staged values of a column of a Parquet log, or the reasons of rejects."""
    schema = schema_of([LABEL, CITY, {"name": "x", **column}])
    series = values if isinstance(values, pl.Series) else pl.Series(values, dtype=dtype)
    frame = pl.DataFrame({"label": [1] * len(series), "city": ["a"] * len(series), "x": series})
    found = parse_table(frame, schema)
    assert found.lines == len(series)
    name = "@time" if column["role"] == "time" else "x"
    staged = dict(
        zip(
            sorted(set(range(len(series))) - {one.line for one in found.rejects}),
            found.rows[name].to_list(),
            strict=True,
        )
    )
    why = {one.line: one.reason for one in found.rejects}
    return [why[i] if i in why else staged[i] for i in range(len(series))]


@pytest.mark.parametrize("kind", sorted(VALUES))
def test_text_in_a_table_is_read_as_in_a_file(kind: str) -> None:
    column: dict[str, Any] = {"role": "sparse", "encoding": kind.removesuffix("2")}
    column |= {"digits": 2} if kind == "hex2" else {}
    texts = [*VALUES[kind], *BAD.get(kind, []), None]
    expected = [value(text or "", column) for text in texts]
    assert tabled(texts, column, pl.String()) == expected


@pytest.mark.parametrize("dtype", [pl.Int8(), pl.UInt32(), pl.Int64(), pl.Float64()])
def test_typed_integers(dtype: pl.DataType) -> None:
    column = {"role": "sparse", "encoding": "integer"}
    assert tabled([7, None, 0], column, dtype) == [7, None, 0]


def test_a_float_that_is_no_integer_is_set_aside() -> None:
    fault = "not a 64-bit integer"
    for column, why in [
        ({"role": "sparse", "encoding": "integer"}, fault),
        ({"role": "sparse", "encoding": "hex"}, "not 1 to 16 hexadecimal digits"),
    ]:
        values = [7.0, 7.5, math.nan, 1e30, None]
        assert tabled(values, column) == [7, why, why, why, None]


def test_a_typed_number_with_more_digits_than_the_schema_has_is_set_aside() -> None:
    # 0x12c would be written as 2c, the digits of another value.
    column = {"role": "sparse", "encoding": "hex", "digits": 2}
    fault = "not 2 hexadecimal digits"
    assert tabled([0x2C, 0x12C, -1, None], column) == [0x2C, fault, fault, None]


def test_dictionaries_are_read_as_their_values() -> None:
    for column, texts, expected in [
        ({"role": "sparse", "encoding": "hex"}, ["a", "b", "a", None], [10, 11, 10, None]),
        ({"role": "sparse", "encoding": "integer"}, ["7", "5", "7", None], [7, 5, 7, None]),
        ({"role": "sparse"}, ["b", "a", "b", None], ["b", "a", "b", None]),
    ]:
        series = pl.Series(texts, dtype=pl.String()).cast(pl.Categorical())
        assert tabled(series, column) == expected


def test_bytes_are_read_as_utf_8() -> None:
    series = pl.Series([b"a", "é".encode(), b"\xff", None], dtype=pl.Binary())
    assert tabled(series, {"role": "sparse"})[:2] == ["a", "é"]
    assert "not" in tabled(series, {"role": "sparse"})[2]
    assert tabled(series, {"role": "sparse", "encoding": "hex"})[0] == 10


@pytest.mark.parametrize(
    "dtype", [pl.List(pl.Int64()), pl.List(pl.Int32()), pl.Array(pl.Int64(), 2)]
)
def test_typed_lists(dtype: pl.DataType) -> None:
    column = {"role": "sparse", "encoding": "integer", "multi": {}}
    assert tabled([[7, 5], [3, None], None], column, dtype) == [[7, 5], [3, None], []]


def test_lists_of_text_and_lists_as_text() -> None:
    column = {"role": "sparse", "encoding": "integer", "multi": {"max_length": 2}}
    lists = [["7", "5.0", "3"], [], ["x"], None]
    assert tabled(lists, column) == [[5, 3], [], "not a 64-bit integer", []]
    assert tabled(["7,5.0,3", "", "x", None], column) == [[5, 3], [], "not a 64-bit integer", []]


def test_typed_times() -> None:
    column = {"role": "time", "name": "x"}
    noon = datetime.datetime(2014, 10, 21, 12)
    fault = "not a time of the form unix"
    seconds = 1413849600 + 12 * 3600
    assert tabled([noon, None], column) == [seconds, fault]
    assert tabled([noon.date()], column) == [1413849600]
    assert tabled([seconds, None], column) == [seconds, fault]
    series = pl.Series([noon]).dt.replace_time_zone("Europe/Oslo")
    assert tabled(series, column) == [seconds - 2 * 3600]


def test_typed_labels_and_numbers() -> None:
    schema = schema_of([LABEL, CITY, {"name": "d", "role": "dense", "transform": "none"}])
    frame = pl.DataFrame(
        {"label": [True, False, None], "city": ["a", None, "b"], "d": [1, None, 2]}
    )
    found = parse_table(frame, schema)
    assert found.rows.rows() == [(1, 1.0, "a"), (0, 0.0, None)]
    assert reasons(found) == [(2, "label", "the label is not 0 or 1", "")]


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ({"role": "sparse"}, [["a"], ["b"]]),
        ({"role": "sparse", "encoding": "integer"}, [[1], [2]]),
        ({"role": "dense"}, [[1.0], [2.0]]),
        ({"role": "time"}, [[1], [2]]),
    ],
)
def test_a_column_of_a_kind_that_no_value_can_have_is_the_users_mistake(
    column: dict[str, Any], values: list[Any]
) -> None:
    with pytest.raises(FaeError, match="x"):
        tabled(values, column)
