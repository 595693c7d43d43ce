"""Parsing: every line gives a row or a reject, and the same one whatever lines are beside it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fae.logs.schema import Schema
from tests.support import oracle
from tests.support.parsed_lines import CITY, parsed, reasons, value
from tests.support.random_logs import BAD, NUMBERS, lines, schemas
from tests.support.small_logs import LABEL, schema_of

#: Spellings on which parsers of numbers disagree.
ODD_NUMBERS = [" 1", "1 ", "\t1", "1_000", "１", "1,5", "+.5e-3", "-0", "00", "1e-400", "1e39", "-"]
ODD_NUMBERS += ["infinity", "Infinity", "+inf", "NAN", "1d", "0b1", "true", "3.4028236e38", "'1'"]


# ── Values ───────────────────────────────────────────────────────────────────────────────────────


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
def test_criteo_counts_are_logarithms_and_negative_or_missing_ones_are_0(
    text: str, expected: float
) -> None:
    assert value(text, {"role": "dense"}) == np.float32(expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("-5", -5.0), ("", 7.5), ("1e-400", 0.0), ("0.1", float(np.float32(0.1)))],
)
def test_numbers_as_they_are(text: str, expected: float) -> None:
    assert value(text, {"role": "dense", "transform": "none", "missing": 7.5}) == expected


@pytest.mark.parametrize("transform", ["none", "log1p"])
@pytest.mark.parametrize("text", ["x", "nan", "NaN", "inf", "-inf", "1e400", "1,5", "0x1", "1_0"])
def test_what_is_no_finite_number_is_set_aside(text: str, transform: str) -> None:
    assert value(text, {"role": "dense", "transform": transform}) == "not a finite number"


def test_a_number_too_large_for_float32_is_set_aside() -> None:
    assert value("1e39", {"role": "dense", "transform": "none"}) == "not a finite number"
    assert value("1e39", {"role": "dense"}) == np.float32(math.log(1e39))


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
        (" 7", "not a 64-bit integer"),
    ],
)
def test_integers(text: str, expected: Any) -> None:
    assert value(text, {"role": "sparse", "encoding": "integer"}) == expected


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
    ],
)
def test_hexadecimal_digits(text: str, digits: int | None, expected: Any) -> None:
    column = {"role": "sparse", "encoding": "hex"} | ({"digits": digits} if digits else {})
    assert value(text, column) == expected


@pytest.mark.parametrize("text", ["a", "NULL", "日本", " a ", "0", '"a"', "\ufeffa"])
def test_words_are_kept_as_they_are(text: str) -> None:
    assert value(text, {"role": "sparse"}) == text


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_a_word_at_the_end_of_a_line_has_no_line_end(line_end: str) -> None:
    found = parsed(f"1,a{line_end}0,b{line_end}0,{line_end}", schema_of([LABEL, CITY]))
    assert found.rows["city"].to_list() == ["a", "b", None]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("7", [7]),
        ("7 5 7", [7, 5, 7]),
        ("7  5", [7, None, 5]),
        ("7 x", "not a 64-bit integer"),
    ],
)
def test_lists(text: str, expected: Any) -> None:
    column = {"role": "sparse", "encoding": "integer", "multi": {"separator": " "}}
    assert value(text, column) == expected


def test_of_a_long_list_the_last_values_are_kept() -> None:
    column = {"role": "sparse", "multi": {"separator": " ", "max_length": 2}}
    assert value("a b c", column) == ["b", "c"]
    assert value("a", column) == ["a"]


@pytest.mark.parametrize(
    ("text", "form", "expected"),
    [
        ("0", "unix", 0),
        ("-1", "unix", -1),
        ("1413849600", "unix", 1413849600),
        ("14102100", "%y%m%d%H", 1413849600),
        ("14102123", "%y%m%d%H", 1413849600 + 23 * 3600),
        ("2014-10-21", "%Y-%m-%d", 1413849600),
        ("2014-10-21 00:00:05", "%Y-%m-%d %H:%M:%S", 1413849605),
    ],
)
def test_times_are_seconds_since_1970_in_utc(text: str, form: str, expected: int) -> None:
    schema = schema_of([LABEL, CITY, {"name": "x", "role": "time", "format": form}])
    assert parsed(f"1,a,{text}\n", schema).rows["@time"].to_list() == [expected]


@pytest.mark.parametrize(
    ("text", "form"),
    [("", "unix"), ("1.5", "unix"), ("14102124", "%y%m%d%H"), ("2014-10-32", "%Y-%m-%d")]
    + [(text, "%y%m%d%H") for text in (" 4102123", "1 102123", "1410212", "1-102123", "+4102123")]
    + [("2014121", "%Y%m%d"), ("141021 5", "%y%m%d%H")],
)
def test_what_is_no_time_is_set_aside(text: str, form: str) -> None:
    schema = schema_of([LABEL, CITY, {"name": "x", "role": "time", "format": form}])
    found = parsed(f"1,a,{text}\n", schema)
    assert reasons(found) == [(0, "x", f"not a time of the form {form}", text)]


def test_hours_and_days_of_the_week_are_made_of_the_time() -> None:
    derived = [
        {"name": name, "role": "sparse", "encoding": "integer", "source": "x", "derive": name}
        for name in ("hour_of_day", "day_of_week")
    ]
    schema = schema_of([LABEL, CITY, {"name": "x", "role": "time"}, *derived])
    # 1970 began on a Thursday (3); the 21st of October 2014 was a Tuesday (1).
    rows = parsed("1,a,0\n1,a,-1\n1,a,1413936000\n", schema).rows
    assert rows["hour_of_day"].to_list() == [0, 23, 0]
    assert rows["day_of_week"].to_list() == [3, 2, 2]


@pytest.mark.parametrize(
    ("text", "expected"), [("0", 0), ("1", 1), ("1.0", 1), ("01", 1), ("1e0", 1), ("-0", 0)]
)
def test_labels(text: str, expected: int) -> None:
    assert parsed(f"{text},a\n", schema_of([LABEL, CITY])).rows["label"].to_list() == [expected]


@pytest.mark.parametrize("text", ["", "2", "-1", "0.5", "yes", "nan"])
def test_what_is_no_label_is_set_aside(text: str) -> None:
    found = parsed(f"{text},a\n", schema_of([LABEL, CITY]))
    assert reasons(found) == [(0, "label", "the label is not 0 or 1", text)]


def test_columns_have_the_types_that_later_stages_rely_on() -> None:
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
    rows = parsed("00000001|2|3|a|b,c|gone|4|0|1\n", schema).rows
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


# ── Lines ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"", "the line is empty"),
        (b"1", "1 fields, not 2"),
        (b"1,a,b", "3 fields, not 2"),
        (b"1,\xff", "not UTF-8 at byte 3"),
        (b"1,a\xc3", "not UTF-8 at byte 4"),
        (b"1,\xed\xa0\x80", "not UTF-8 at byte 3"),
        (b"1,a\0b", "a NUL byte"),
    ],
)
def test_a_malformed_line_is_set_aside_with_its_number_and_reason(line: bytes, reason: str) -> None:
    found = parsed(b"1,a\n" + line + b"\n0,b\n", schema_of([LABEL, CITY]))
    assert [(one.line, one.column, one.reason) for one in found.rejects] == [(1, None, reason)]
    assert found.rows.rows() == [(1, "a"), (0, "b")]
    assert found.lines == 3


def test_lines_whose_faults_make_up_for_each_other_are_set_aside() -> None:
    # As many separators as three whole lines have.
    found = parsed("1,a,b\n0\n1,c\n", schema_of([LABEL, CITY]))
    assert [one.line for one in found.rejects] == [0, 1]
    assert found.rows.rows() == [(1, "c")]


def test_the_text_of_a_reject_is_shortened() -> None:
    (reject,) = parsed("1," + "a" * 500 + ",b\n", schema_of([LABEL, CITY])).rejects
    assert reject.text == "1," + "a" * 78 + "…"


def test_the_first_faulty_column_is_named() -> None:
    schema = schema_of(
        [LABEL, CITY, {"name": "d", "role": "dense"}, {"name": "e", "role": "dense"}]
    )
    found = parsed("1,a,x,y\n0,a,1,y\n", schema)
    assert reasons(found) == [
        (0, "d", "not a finite number", "x"),
        (1, "e", "not a finite number", "y"),
    ]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('1,"a,b"', "a,b"),
        ('1,"a ""b"""', 'a "b"'),
        ('"1","a"', "a"),
        ('1,a"b', 'a"b'),
        ('1,""', None),
        ('1,"a"\r', "a"),
    ],
)
def test_quoted_fields(line: str, expected: str | None) -> None:
    schema = schema_of([LABEL, CITY], quote='"')
    assert parsed(f"{line}\n0,c\n", schema).rows.rows() == [(1, expected), (0, "c")]


@pytest.mark.parametrize("line", ['1,"a', '1,"a"b', '1,"a" ', '"1,a'])
def test_a_quote_that_is_not_closed_ends_with_its_line(line: str) -> None:
    found = parsed(f'{line}\n0,"c"\n', schema_of([LABEL, CITY], quote='"'))
    assert reasons(found) == [(0, None, "a quote is not closed on its line", line)]
    assert found.rows.rows() == [(0, "c")]


def test_a_long_quoted_field_is_a_field() -> None:
    word = "a" * 200_000
    assert parsed(f'1,"{word}"\n', schema_of([LABEL, CITY], quote='"')).rows.rows() == [(1, word)]


def test_nothing_after_a_lone_carriage_return_is_lost() -> None:
    found = parsed('1,"a"\rmore\n0,b\n', schema_of([LABEL, CITY], quote='"'))
    assert [one.line for one in found.rejects] == [0]
    assert found.rows.rows() == [(0, "b")]


def test_quotes_mean_nothing_where_the_schema_has_none() -> None:
    assert parsed('1,"a"\n', schema_of([LABEL, CITY])).rows.rows() == [(1, '"a"')]


# ── The same row, whatever is beside it ──────────────────────────────────────────────────────────


def one_by_one(data: bytes, schema: Schema) -> tuple[list[Any], list[Any]]:
    """Rows and rejects of every line of `data`, each parsed alone."""
    rows, rejects = [], []
    pieces = [line + b"\n" for line in data.removesuffix(b"\n").split(b"\n")]
    for number, piece in enumerate(pieces):
        found = parsed(piece, schema)
        assert found.rows.height + len(found.rejects) == found.lines == 1
        rows += found.rows.rows()
        rejects += [(number, *rest) for _, *rest in reasons(found)]
    return rows, rejects


def assert_independent(data: bytes, schema: Schema) -> None:
    """Whether the lines of `data` give together what each gives alone."""
    found = parsed(data, schema)
    rows, rejects = one_by_one(data, schema)
    assert [repr(row) for row in found.rows.rows()] == [repr(row) for row in rows]
    assert reasons(found) == rejects
    assert found.lines == found.rows.height + len(found.rejects)


@st.composite
def texts_and_schemas(draw: st.DrawFn) -> tuple[bytes, Schema]:
    schema = draw(schemas())
    body = draw(st.lists(lines(schema, list(schema.fields)), min_size=1, max_size=8))
    return b"\n".join(body) + b"\n", schema


@given(drawn=texts_and_schemas())
def test_a_line_gives_the_same_row_alone_and_among_others(drawn: tuple[bytes, Schema]) -> None:
    assert_independent(*drawn)


@given(drawn=texts_and_schemas())
def test_rows_and_rejects_are_the_oracles(drawn: tuple[bytes, Schema]) -> None:
    data, schema = drawn
    schema = schema.model_copy(update={"header": False})
    found = parsed(data, schema)
    rows, rejects = oracle.read_log(data, schema)
    assert [one.line + 1 for one in found.rejects] == rejects
    assert [row["label"] for row in rows] == found.rows["label"].to_list()
    for column in schema.dense:
        assert found.rows[column.name].to_list() == [row[column.name] for row in rows]
    if schema.time:
        assert found.rows["@time"].to_list() == [row["@time"] for row in rows]
    for feature in schema.sparse:
        got = [as_log(one, feature) for one in found.rows[feature.name].to_list()]
        assert got == [row[feature.name] for row in rows]


def as_log(staged: Any, column: Any) -> Any:
    """A staged category as the oracle writes it."""
    if isinstance(staged, list):
        return [as_log(one, column) for one in staged]
    if staged is None or column.encoding != "hex":
        return staged
    return format(staged, f"0{column.digits or 1}x")


@pytest.mark.parametrize("text", [*ODD_NUMBERS, *NUMBERS, *BAD["dense"]])
def test_a_number_means_the_same_alone_and_beside_a_word(text: str) -> None:
    schema = schema_of([LABEL, CITY, {"name": "d", "role": "dense"}], separator="|")
    assert_independent(f"0|a|{text}\n0|a|x\n".encode(), schema)
    assert_independent(f"0|a|{text}\n0|a\n".encode(), schema)
    assert_independent(f"{text}|a|1\nx|a|1\n".encode(), schema)


@pytest.mark.parametrize("text", ["2", "+2", "NaN", "1e400", "0.5"])
def test_the_text_of_a_reject_is_the_logs_own(text: str) -> None:
    schema = schema_of([LABEL, CITY, {"name": "d", "role": "dense"}])
    found = parsed(f"{text},a,1\n1,a,1\n", schema)
    assert [one.text for one in found.rejects] == [text]


@given(text=st.text(max_size=6), quote=st.sampled_from([None, '"']))
@example(text="\ufeffa", quote=None)
@example(text='"a"\rb', quote='"')
def test_a_word_is_the_same_alone_and_among_others(text: str, quote: str | None) -> None:
    schema = schema_of([CITY, LABEL], quote=quote)
    text = text.replace("\n", "")
    assert_independent(f"{text},1\nb,0\n".encode(), schema)
    assert_independent(f"{text},1\nb\n".encode(), schema)
    assert_independent(f"b,1\n{text},0\n".encode(), schema)


@given(noise=st.binary(max_size=8))
def test_bytes_in_a_dropped_column_do_not_change_its_neighbours(noise: bytes) -> None:
    schema = schema_of([LABEL, CITY, {"name": "id", "role": "drop"}])
    line = b"1,a," + noise.replace(b"\n", b"").replace(b",", b"")
    assert_independent(line + b"\n0,b,2\n", schema)
    assert_independent(line + b"\n0,b\n", schema)
