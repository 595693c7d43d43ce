"""Casting: a value has one meaning, in text and in tables, or is rejected with the reason."""

from __future__ import annotations

import datetime
import math
from decimal import Decimal
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pytest

from fae.format.errors import LogError
from fae.ingestion.parser import parse_table
from tests.support.parsed_lines import CITY, list_rejects, parse_lines, parse_value
from tests.support.random_logs import BAD, VALUES
from tests.support.small_logs import LABEL, schema_of

# ── Text ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", 0.0),
        ("1", math.log(2)),
        ("-5", 0.0),
        ("", 0.0),
        ("2.5", math.log(3.5)),
        ("1e3", math.log(1001)),
        ("65535.0", math.log(65536)),
    ],
)
def test_log1p_counts_negative_and_missing_numbers_as_0(text: str, expected: float) -> None:
    assert parse_value(text, {"role": "dense"}) == np.float32(expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("-5", -5.0), ("", 7.5), ("1e-400", 0.0), ("0.1", float(np.float32(0.1)))],
)
def test_without_a_transform_numbers_stay_as_they_are(text: str, expected: float) -> None:
    assert parse_value(text, {"role": "dense", "transform": "none", "missing": 7.5}) == expected


@pytest.mark.parametrize("transform", ["none", "log1p"])
@pytest.mark.parametrize("text", ["x", "nan", "NaN", "inf", "-inf", "1e400", "1,5", "0x1", "1_0"])
def test_a_value_that_is_not_a_finite_number_is_rejected(text: str, transform: str) -> None:
    assert parse_value(text, {"role": "dense", "transform": transform}) == "not a finite number"


def test_a_number_too_large_for_float32_is_rejected() -> None:
    assert parse_value("1e39", {"role": "dense", "transform": "none"}) == "not a finite number"
    assert parse_value("1e39", {"role": "dense"}) == np.float32(math.log(1e39))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("7", 7),
        ("7.0", 7),
        ("007", 7),
        ("-7", -7),
        ("+7", 7),
        ("", None),
        (str(2**63 - 1), 2**63 - 1),
        (str(-(2**63)), -(2**63)),
        (str(2**63), "not a 64-bit integer"),
        ("7.5", "not a 64-bit integer"),
        ("7.00", "not a 64-bit integer"),
        ("7e0", "not a 64-bit integer"),
        (".0", "not a 64-bit integer"),
        ("x", "not a 64-bit integer"),
        (" 7", 7),
        ("7.0 ", 7),
        ("\t", None),
        ("7 7", "not a 64-bit integer"),
    ],
)
def test_integers_are_cast_or_rejected(text: str, expected: Any) -> None:
    assert parse_value(text, {"role": "sparse", "encoding": "integer"}) == expected


@pytest.mark.parametrize(
    ("text", "digits", "expected"),
    [
        ("68fd1e64", 8, 0x68FD1E64),
        ("68FD1E64", 8, 0x68FD1E64),
        ("00000000", 8, 0),
        ("", 8, None),
        ("68fd1e6", 8, "not 8 hexadecimal digits"),
        ("68fd1e640", 8, "not 8 hexadecimal digits"),
        ("68fd1e6g", 8, "not 8 hexadecimal digits"),
        ("+8fd1e64", 8, "not 8 hexadecimal digits"),
        ("-8fd1e64", 8, "not 8 hexadecimal digits"),
        ("0x8fd1e6", 8, "not 8 hexadecimal digits"),
        ("é8fd1e6", 8, "not 8 hexadecimal digits"),
        ("f", None, 15),
        ("0f", None, 15),
        ("ffffffffffffffff", None, 2**64 - 1),
        ("00000000000000001", None, "not 1 to 16 hexadecimal digits"),
        (" 68fd1e64", 8, 0x68FD1E64),
        (" 68fd1e6", 8, "not 8 hexadecimal digits"),
    ],
)
def test_hexadecimal_values_are_cast_or_rejected(
    text: str, digits: int | None, expected: Any
) -> None:
    column = {"role": "sparse", "encoding": "hex"} | ({"digits": digits} if digits else {})
    assert parse_value(text, column) == expected


@pytest.mark.parametrize("text", ["a", "NULL", "日本", " a ", "0", '"a"', "\ufeffa"])
def test_text_stays_as_it_is(text: str) -> None:
    assert parse_value(text, {"role": "sparse"}) == text


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_the_last_text_of_a_line_excludes_the_line_break(line_end: str) -> None:
    parsed = parse_lines(f"1,a{line_end}0,b{line_end}0,{line_end}", schema_of([LABEL, CITY]))
    assert parsed.rows["city"].to_list() == ["a", "b", None]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("7", [7]),
        ("7 5 7", [7, 5, 7]),
        ("7  5", [7, None, 5]),
        ("7 5 ", [7, 5]),
        (" ", []),
        ("7  ", [7, None]),
        ("7 x", "not a 64-bit integer"),
    ],
)
def test_lists_are_cast_or_rejected(text: str, expected: Any) -> None:
    column = {"role": "sparse", "encoding": "integer", "multi": {"separator": " "}}
    assert parse_value(text, column) == expected


def test_a_long_list_keeps_its_last_values() -> None:
    column = {"role": "sparse", "multi": {"separator": " ", "max_length": 2}}
    assert parse_value("a b c", column) == ["b", "c"]
    assert parse_value("a", column) == ["a"]
    assert parse_value("a b ", column) == ["a", "b"]


@pytest.mark.parametrize(
    ("text", "form", "expected"),
    [
        ("0", "unix", 0),
        ("-1", "unix", -1),
        ("1413849600", "unix", 1413849600),
        ("1413849600.0", "unix", 1413849600),
        (" 1413849600 ", "unix", 1413849600),
        ("7258118399", "unix", 7258118399),
        ("-7258118399", "unix", -7258118399),
        ("2199-12-31", "%Y-%m-%d", 7258118400 - 86400),
        ("14102100", "%y%m%d%H", 1413849600),
        ("14102123", "%y%m%d%H", 1413849600 + 23 * 3600),
        ("2014-10-21", "%Y-%m-%d", 1413849600),
        ("2014-10-21 00:00:05", "%Y-%m-%d %H:%M:%S", 1413849605),
    ],
)
def test_times_are_seconds_since_1970_in_utc(text: str, form: str, expected: int) -> None:
    schema = schema_of([LABEL, CITY, {"name": "x", "role": "time", "format": form}])
    assert parse_lines(f"1,a,{text}\n", schema).rows["@time"].to_list() == [expected]


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("", "unix"),
        ("1.", "unix"),
        ("1e9", "unix"),
        ("14102124", "%y%m%d%H"),
        ("2014-10-32", "%Y-%m-%d"),
    ]
    + [(text, "%y%m%d%H") for text in (" 4102123", "1 102123", "1410212", "1-102123", "+4102123")]
    + [("2014121", "%Y%m%d"), ("141021 5", "%y%m%d%H")],
)
def test_a_value_that_is_not_a_time_is_rejected(text: str, form: str) -> None:
    schema = schema_of([LABEL, CITY, {"name": "x", "role": "time", "format": form}])
    parsed = parse_lines(f"1,a,{text}\n", schema)
    assert list_rejects(parsed) == [(0, "x", f"not a time of the form {form}", text)]


@pytest.mark.parametrize(
    ("text", "form", "unit"),
    [
        ("1700049600000", "unix", "seconds since 1970"),
        ("1700049600000.0", "unix", "seconds since 1970"),
        ("7258118400", "unix", "seconds since 1970"),
        ("-7258118400", "unix", "seconds since 1970"),
        ("99999999999999999999", "unix", "seconds since 1970"),
        ("0001-01-01", "%Y-%m-%d", "%Y-%m-%d"),
        ("2200-01-01", "%Y-%m-%d", "%Y-%m-%d"),
    ],
)
def test_a_time_of_another_unit_is_rejected(text: str, form: str, unit: str) -> None:
    schema = schema_of([LABEL, CITY, {"name": "x", "role": "time", "format": form}])
    why = f"not a time of the years 1740 to 2199, read as {unit}"
    for lines in (f"1,a,{text}\n", f"1,a,{text}\n1,a,soon\n"):
        assert list_rejects(parse_lines(lines, schema))[0] == (0, "x", why, text)


@pytest.mark.parametrize(
    ("texts", "form", "expected"),
    [
        (["5.25", "5", "-0.5"], "unix", [(5, 250_000), (5, 0), (-1, 500_000)]),
        (["1413849600.123456"], "unix", [(1413849600, 123_456)]),
        (["2014-10-21 00:00:05.25"], "%Y-%m-%d %H:%M:%S%.f", [(1413849605, 250_000)]),
        (["2014-10-21 00:00:05.25"], "%Y-%m-%d %H:%M:%S.%f", [(1413849605, 250_000)]),
        (["20141021 000005000025"], "%Y%m%d %H%M%S%f", [(1413849605, 25)]),
    ],
)
def test_a_time_keeps_its_microseconds(
    texts: list[str], form: str, expected: list[tuple[int, int]]
) -> None:
    schema = schema_of([LABEL, CITY, {"name": "x", "role": "time", "format": form}])
    rows = parse_lines("".join(f"1,a,{text}\n" for text in texts), schema).rows
    assert rows.select("@time", "@microsecond").rows() == expected


def test_hours_and_weekdays_are_derived_from_the_time() -> None:
    derived = [
        {"name": name, "role": "sparse", "encoding": "integer", "source": "x", "derive": name}
        for name in ("hour_of_day", "day_of_week")
    ]
    schema = schema_of([LABEL, CITY, {"name": "x", "role": "time"}, *derived])
    # 1970 began on a Thursday (3); the 21st of October 2014 was a Tuesday (1).
    rows = parse_lines("1,a,0\n1,a,-1\n1,a,1413936000\n", schema).rows
    assert rows["hour_of_day"].to_list() == [0, 23, 0]
    assert rows["day_of_week"].to_list() == [3, 2, 2]


@pytest.mark.parametrize(
    ("text", "expected"), [("0", 0), ("1", 1), ("1.0", 1), ("01", 1), ("1e0", 1), ("-0", 0)]
)
def test_a_label_is_0_or_1_however_written(text: str, expected: int) -> None:
    assert parse_lines(f"{text},a\n", schema_of([LABEL, CITY])).rows["label"].to_list() == [
        expected
    ]


@pytest.mark.parametrize("text", ["", "2", "-1", "0.5", "yes", "nan"])
def test_a_value_that_is_not_a_label_is_rejected(text: str) -> None:
    parsed = parse_lines(f"{text},a\n", schema_of([LABEL, CITY]))
    assert list_rejects(parsed) == [(0, "label", "the label is not 0 or 1", text)]


def test_columns_have_the_types_that_later_stages_expect() -> None:
    schema = schema_of(
        [
            {"name": "hex8", "role": "sparse", "encoding": "hex", "digits": 8},
            {"name": "hex", "role": "sparse", "encoding": "hex"},
            {"name": "n", "role": "sparse", "encoding": "integer"},
            {"name": "word", "role": "sparse"},
            {"name": "words", "role": "sparse", "multi": {}},
            {"name": "x", "role": "drop"},
            {"name": "when", "role": "time"},
            {"name": "d", "role": "dense"},
            {"name": "click", "role": "label"},
        ],
        separator="|",
    )
    rows = parse_lines("00000001|2|3|a|b,c|gone|4|0|1\n", schema).rows
    assert dict(rows.schema) == {
        "label": pl.Int8,
        "d": pl.Float32,
        "hex8": pl.UInt32,
        "hex": pl.UInt64,
        "n": pl.Int64,
        "word": pl.String,
        "words": pl.List(pl.String),
        "@time": pl.Int64,
    }
    assert rows.row(0) == (1, 0.0, 1, 2, 3, "a", ["b", "c"], 4)


# ── Tables ───────────────────────────────────────────────────────────────────────────────────────


def cast_table(values: Any, column: dict[str, Any], dtype: Any = None) -> list[Any]:
    """Return the staged values of a table's column, or the reasons of their rejects."""
    schema = schema_of([LABEL, CITY, {"name": "x", **column}])
    series = values if isinstance(values, pl.Series) else pl.Series(values, dtype=dtype)
    frame = pl.DataFrame({"label": [1] * len(series), "city": ["a"] * len(series), "x": series})
    parsed = parse_table(frame, schema)
    assert parsed.lines == len(series)
    name = "@time" if column["role"] == "time" else "x"
    staged = dict(
        zip(
            sorted(set(range(len(series))) - {reject.line for reject in parsed.rejects}),
            parsed.rows[name].to_list(),
            strict=True,
        )
    )
    why = {reject.line: reject.reason for reject in parsed.rejects}
    return [why[i] if i in why else staged[i] for i in range(len(series))]


@pytest.mark.parametrize("kind", sorted(VALUES))
def test_text_in_a_table_is_cast_as_in_a_file(kind: str) -> None:
    column: dict[str, Any] = {"role": "sparse", "encoding": kind.removesuffix("2")}
    column |= {"digits": 2} if kind == "hex2" else {}
    texts = [*VALUES[kind], *BAD.get(kind, []), None]
    expected = [parse_value(text or "", column) for text in texts]
    assert cast_table(texts, column, pl.String()) == expected


@pytest.mark.parametrize("dtype", [pl.Int8(), pl.UInt32(), pl.Int64(), pl.Float64()])
def test_integers_of_any_type_are_cast(dtype: pl.DataType) -> None:
    column = {"role": "sparse", "encoding": "integer"}
    assert cast_table([7, None, 0], column, dtype) == [7, None, 0]


def test_a_float_that_is_not_an_integer_is_rejected() -> None:
    fault = "not a 64-bit integer"
    for column, why in [
        ({"role": "sparse", "encoding": "integer"}, fault),
        ({"role": "sparse", "encoding": "hex"}, "not 1 to 16 hexadecimal digits"),
    ]:
        values = [7.0, 7.5, math.nan, 1e30, None]
        assert cast_table(values, column) == [7, why, why, why, None]


@pytest.mark.parametrize(("dtype", "exact"), [(pl.Float64(), 2**53), (pl.Float32(), 2**24)])
def test_a_float_that_may_stand_for_another_integer_is_rejected(
    dtype: pl.DataType, exact: int
) -> None:
    column = {"role": "sparse", "encoding": "integer"}
    values = [float(exact - 1), float(exact), float(-exact)]
    assert cast_table(values, column, dtype) == [exact - 1, *["not a 64-bit integer"] * 2]


@pytest.mark.parametrize("multi", [None, {}])
def test_a_decimal_that_is_not_an_integer_is_rejected(multi: Any) -> None:
    decimals = [Decimal("1.00"), Decimal("1.25"), Decimal("1.50"), Decimal("-7.00")]
    for encoding, digits, faulty in (
        ("integer", {}, "not a 64-bit integer"),
        ("hex", {"digits": 2}, "not 2 hexadecimal digits"),
    ):
        column = {"role": "sparse", "encoding": encoding, **digits}
        expected: list[Any] = [1, faulty, faulty, -7 if encoding == "integer" else faulty]
        values: list[Any] = decimals
        if multi is not None:
            column["multi"] = multi
            expected = [found if found == faulty else [found] for found in expected]
            assert cast_table(decimals, column, pl.Decimal(9, 2)) == expected
            values = [[value] for value in decimals]
        dtype: pl.DataType = pl.Decimal(9, 2)
        dtype = dtype if multi is None else pl.List(dtype)
        assert cast_table(values, column, dtype) == expected


@pytest.mark.parametrize("shape", ["column", "list", "dictionary"])
@pytest.mark.parametrize("encoding", ["integer", "hex", "string"])
@pytest.mark.parametrize(
    "values",
    [
        pa.array([datetime.date(2020, 1, 1)]),
        pa.array([datetime.datetime(2020, 1, 1)]),
        pa.array([5], pa.time64("us")),
        pa.array([5], pa.duration("us")),
        pa.array([{"a": 1}]),
        pa.array([[1]]),
        pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int64())),
    ],
    ids=lambda values: str(values.type),
)
def test_a_type_that_no_category_has_is_an_error_wherever_it_stands(
    values: pa.Array, encoding: str, shape: str
) -> None:
    column = {"role": "sparse", "encoding": encoding}
    if shape == "list":
        column["multi"] = {}
        values = pa.array([values.to_pylist()], pa.list_(values.type))
    elif shape == "dictionary" and not pa.types.is_nested(values.type):
        values = values.dictionary_encode()
    elif pa.types.is_list(values.type):
        column["multi"] = {}  # a list in a list is none of values
        values = pa.array([values.to_pylist()], pa.list_(values.type))
    with pytest.raises(LogError, match="column 'x' has the type"):
        cast_table(pl.Series(values), column)


@pytest.mark.parametrize(
    "values",
    [
        pa.array([[b"7", b"5"], None, []]),
        pa.array([["7", "5"], None, []], pa.list_(pa.string())),
        pa.ListArray.from_arrays([0, 2, 2, 2], pa.array(["7", "5"]).dictionary_encode()),
        pa.array([[7.0, 5.0], None, []]),
    ],
    ids=lambda values: str(values.type),
)
def test_lists_of_any_type_are_cast_as_their_values(values: pa.Array) -> None:
    column = {"role": "sparse", "encoding": "integer", "multi": {}}
    assert cast_table(pl.Series(values), column) == [[7, 5], [], []]
    assert "not UTF-8" in cast_table([[b"\xff"]], {"role": "sparse", "multi": {}})


@pytest.mark.parametrize("value", [7, 7.0, Decimal("7.00"), True])
def test_a_value_that_is_no_list_is_a_list_of_one(value: Any) -> None:
    column = {"role": "sparse", "encoding": "integer", "multi": {"separator": "."}}
    assert cast_table([value, None], column) == [[int(value)], []]


@pytest.mark.parametrize("kind", [pl.Time(), pl.Duration("us")])
def test_a_time_of_day_or_a_duration_is_no_time(kind: pl.DataType) -> None:
    with pytest.raises(LogError, match="column 'x' has the type"):
        cast_table(pl.Series([5]).cast(kind), {"role": "time"})


@pytest.mark.parametrize("unit", ["ms", "us", "ns"])
def test_timestamps_have_the_time_that_they_say(unit: Any) -> None:
    moments = [datetime.datetime(2014, 10, 21, 12, 0, 0, 250_000), datetime.datetime(1899, 1, 1)]
    series = pl.Series(moments).dt.cast_time_unit(unit)
    assert cast_table(series, {"role": "time"}) == [1413892800, -2240524800]
    far = pl.Series([datetime.datetime(2200, 1, 1), None]).dt.cast_time_unit(unit)
    assert cast_table(far, {"role": "time"}) == [
        "not a time of the years 1740 to 2199, read as seconds since 1970",
        "not a time of the form unix",
    ]


def test_a_number_with_more_digits_than_the_schema_allows_is_rejected() -> None:
    # 0x12c would be written as 2c, the digits of another value.
    column = {"role": "sparse", "encoding": "hex", "digits": 2}
    fault = "not 2 hexadecimal digits"
    assert cast_table([0x2C, 0x12C, -1, None], column) == [0x2C, fault, fault, None]


def test_categoricals_are_cast_as_their_values() -> None:
    for column, texts, expected in [
        ({"role": "sparse", "encoding": "hex"}, ["a", "b", "a", None], [10, 11, 10, None]),
        ({"role": "sparse", "encoding": "integer"}, ["7", "5", "7", None], [7, 5, 7, None]),
        ({"role": "sparse"}, ["b", "a", "b", None], ["b", "a", "b", None]),
    ]:
        series = pl.Series(texts, dtype=pl.String()).cast(pl.Categorical())
        assert cast_table(series, column) == expected


def test_bytes_are_decoded_as_utf_8() -> None:
    series = pl.Series([b"a", "é".encode(), b"\xff", None], dtype=pl.Binary())
    assert cast_table(series, {"role": "sparse"})[:2] == ["a", "é"]
    assert "not" in cast_table(series, {"role": "sparse"})[2]
    assert cast_table(series, {"role": "sparse", "encoding": "hex"})[0] == 10


@pytest.mark.parametrize(
    "dtype", [pl.List(pl.Int64()), pl.List(pl.Int32()), pl.Array(pl.Int64(), 2)]
)
def test_lists_of_integers_are_cast(dtype: pl.DataType) -> None:
    column = {"role": "sparse", "encoding": "integer", "multi": {}}
    assert cast_table([[7, 5], [3, None], None], column, dtype) == [[7, 5], [3, None], []]


def test_lists_of_text_and_lists_as_text_are_cast_alike() -> None:
    column = {"role": "sparse", "encoding": "integer", "multi": {"max_length": 2}}
    lists = [["7", "5.0", "3"], [], ["x"], None]
    assert cast_table(lists, column) == [[5, 3], [], "not a 64-bit integer", []]
    assert cast_table(["7,5.0,3", "", "x", None], column) == [
        [5, 3],
        [],
        "not a 64-bit integer",
        [],
    ]


def test_times_of_temporal_types_are_cast() -> None:
    column = {"role": "time", "name": "x"}
    noon = datetime.datetime(2014, 10, 21, 12)
    fault = "not a time of the form unix"
    seconds = 1413849600 + 12 * 3600
    assert cast_table([noon, None], column) == [seconds, fault]
    assert cast_table([noon.date()], column) == [1413849600]
    assert cast_table([seconds, None], column) == [seconds, fault]
    series = pl.Series([noon]).dt.replace_time_zone("Europe/Oslo")
    assert cast_table(series, column) == [seconds - 2 * 3600]


def test_boolean_labels_and_integer_numbers_are_cast() -> None:
    schema = schema_of([LABEL, CITY, {"name": "d", "role": "dense", "transform": "none"}])
    frame = pl.DataFrame(
        {"label": [True, False, None], "city": ["a", None, "b"], "d": [1, None, 2]}
    )
    parsed = parse_table(frame, schema)
    assert parsed.rows.rows() == [(1, 1.0, "a"), (0, 0.0, None)]
    assert list_rejects(parsed) == [(2, "label", "the label is not 0 or 1", "")]
