"""Parsing: every line gives a row or a reject, and the same one whatever lines are beside it."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fae.format.errors import LogError
from fae.ingestion.cast.rows import ParsedLines
from fae.ingestion.parser import parse_table
from fae.logs.schema import Schema
from tests.support import oracle
from tests.support.parsed_lines import CITY, list_rejects, parse_lines
from tests.support.random_logs import BAD, NUMBERS, lines, schemas
from tests.support.small_logs import LABEL, schema_of

#: Spellings on which parsers of numbers disagree.
ODD_NUMBERS = [" 1", "1 ", "\t1", "1_000", "１", "1,5", "+.5e-3", "-0", "00", "1e-400", "1e39", "-"]
ODD_NUMBERS += ["infinity", "Infinity", "+inf", "NAN", "1d", "0b1", "true", "3.4028236e38", "'1'"]


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
def test_a_malformed_line_is_rejected_with_its_number_and_reason(line: bytes, reason: str) -> None:
    parsed = parse_lines(b"1,a\n" + line + b"\n0,b\n", schema_of([LABEL, CITY]))
    assert [(reject.line, reject.column, reject.reason) for reject in parsed.rejects] == [
        (1, None, reason)
    ]
    assert parsed.rows.rows() == [(1, "a"), (0, "b")]
    assert parsed.lines == 3


def test_lines_with_as_many_separators_as_whole_ones_are_rejected() -> None:
    # As many separators as three whole lines have.
    parsed = parse_lines("1,a,b\n0\n1,c\n", schema_of([LABEL, CITY]))
    assert [reject.line for reject in parsed.rejects] == [0, 1]
    assert parsed.rows.rows() == [(1, "c")]


def test_a_reject_shows_the_beginning_of_a_long_line() -> None:
    (reject,) = parse_lines("1," + "a" * 500 + ",b\n", schema_of([LABEL, CITY])).rejects
    assert reject.text == "1," + "a" * 78 + "…"


def test_a_reject_names_the_first_faulty_column() -> None:
    schema = schema_of(
        [LABEL, CITY, {"name": "d", "role": "dense"}, {"name": "e", "role": "dense"}]
    )
    parsed = parse_lines("1,a,x,y\n0,a,1,y\n", schema)
    assert list_rejects(parsed) == [
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
def test_quotes_may_enclose_a_field(line: str, expected: str | None) -> None:
    schema = schema_of([LABEL, CITY], quote='"')
    assert parse_lines(f"{line}\n0,c\n", schema).rows.rows() == [(1, expected), (0, "c")]


@pytest.mark.parametrize("line", ['1,"a', '1,"a"b', '1,"a" ', '"1,a'])
def test_a_quote_not_closed_on_its_line_spoils_that_line_only(line: str) -> None:
    parsed = parse_lines(f'{line}\n0,"c"\n', schema_of([LABEL, CITY], quote='"'))
    assert list_rejects(parsed) == [(0, None, "a quote is not closed on its line", line)]
    assert parsed.rows.rows() == [(0, "c")]


def test_a_quoted_field_may_be_long() -> None:
    word = "a" * 200_000
    assert parse_lines(f'1,"{word}"\n', schema_of([LABEL, CITY], quote='"')).rows.rows() == [
        (1, word)
    ]


def test_a_lone_carriage_return_hides_nothing_after_it() -> None:
    parsed = parse_lines('1,"a"\rmore\n0,b\n', schema_of([LABEL, CITY], quote='"'))
    assert [reject.line for reject in parsed.rejects] == [0]
    assert parsed.rows.rows() == [(0, "b")]


def test_quotes_are_text_where_the_schema_has_none() -> None:
    assert parse_lines('1,"a"\n', schema_of([LABEL, CITY])).rows.rows() == [(1, '"a"')]


NUMBER = {"name": "d", "role": "dense", "transform": "none", "missing": 5}
DROPPED = {"name": "id", "role": "drop"}


@pytest.mark.parametrize("columns", [[LABEL, CITY, DROPPED], [DROPPED, LABEL, CITY]])
def test_a_short_line_beside_a_long_one_is_rejected_even_if_a_column_is_dropped(
    columns: list,
) -> None:
    # There are as many separators as in whole lines, and Polars would fill the short line up.
    schema = schema_of(columns)
    good = ",".join({"label": "01", "city": "Oslo", "id": "x"}[c["name"]] for c in columns)
    parsed = parse_lines(f"{good}\n01,Rome\n{good},y\n{good}\n", schema)
    assert parsed.rows.rows() == [(1, "Oslo")] * 2
    assert list_rejects(parsed) == [
        (1, None, "2 fields, not 3", "01,Rome"),
        (2, None, "4 fields, not 3", f"{good},y"),
    ]


@pytest.mark.parametrize("beside", ["", "0\n"])
def test_a_carriage_return_at_the_end_of_a_field_is_kept(beside: str) -> None:
    schema = schema_of([LABEL, CITY, {"name": "n", "role": "sparse", "encoding": "integer"}])
    parsed = parse_lines(f"01,a\r,7\n01,b,7\r,\n01,b,7\r\n{beside}", schema.model_copy())
    assert parsed.rows.rows() == [(1, "a\r", 7), (1, "b", 7)]
    assert list_rejects(parsed)[0] == (1, None, "4 fields, not 3", "01,b,7\r,")
    typed = parse_lines(
        f"7\r,01,a\n7,01,b\r\n{beside}", schema_of([schema.columns[2], LABEL, CITY])
    )
    assert typed.rows.rows() == [(1, 7, "b")]
    assert list_rejects(typed)[0] == (0, "n", "not a 64-bit integer", "7\r")


@pytest.mark.parametrize("blank", [" ", "\t", " \t "])
@pytest.mark.parametrize("beside", ["", "0|\n"])
def test_a_number_of_blanks_only_is_missing(blank: str, beside: str) -> None:
    schema = schema_of([LABEL, NUMBER, CITY], separator="|")
    parsed = parse_lines(f"0|{blank}|a\n1| 2 |a\n{beside}", schema)
    assert parsed.rows.rows() == [(0, 5.0, "a"), (1, 2.0, "a")]
    assert len(parsed.rejects) == bool(beside)


@pytest.mark.parametrize("line", ['1,"a"\r\r', '"1",a\r\r', '\r,"a"'])
def test_a_carriage_return_in_a_line_with_quotes_is_rejected(line: str) -> None:
    parsed = parse_lines(f"{line}\n1,b\n", schema_of([LABEL, CITY], quote='"'))
    assert parsed.rows.rows() == [(1, "b")]
    assert [reject.reason for reject in parsed.rejects] == ["a carriage return inside the line"]


# ── The same row, whatever is beside it ──────────────────────────────────────────────────────────


def one_by_one(data: bytes, schema: Schema) -> tuple[list[Any], list[Any]]:
    """Return the rows and rejects of the lines of `data`, each parsed alone."""
    rows, rejects = [], []
    pieces = [line + b"\n" for line in data.removesuffix(b"\n").split(b"\n")]
    for number, piece in enumerate(pieces):
        parsed = parse_lines(piece, schema)
        assert parsed.rows.height + len(parsed.rejects) == parsed.lines == 1
        rows += with_times(parsed)
        rejects += [(number, *rest) for _, *rest in list_rejects(parsed)]
    return rows, rejects


def with_times(parsed: ParsedLines) -> list[dict[str, Any]]:
    """The rows, whose `@microsecond` is left out where all are 0."""
    return [{**row, "@microsecond": row.get("@microsecond", 0)} for row in parsed.rows.to_dicts()]


def assert_independent(data: bytes, schema: Schema) -> None:
    """Check that the lines of `data` give together what each gives alone."""
    parsed = parse_lines(data, schema)
    rows, rejects = one_by_one(data, schema)
    assert [repr(row) for row in with_times(parsed)] == [repr(row) for row in rows]
    assert list_rejects(parsed) == rejects
    assert parsed.lines == parsed.rows.height + len(parsed.rejects)


@st.composite
def texts_and_schemas(draw: st.DrawFn) -> tuple[bytes, Schema]:
    schema = draw(schemas())
    body = draw(st.lists(lines(schema, list(schema.fields)), min_size=1, max_size=8))
    return b"\n".join(body) + b"\n", schema


@given(drawn=texts_and_schemas())
def test_a_line_gives_the_same_row_alone_and_among_others(drawn: tuple[bytes, Schema]) -> None:
    assert_independent(*drawn)


@given(drawn=texts_and_schemas())
def test_rows_and_rejects_are_those_of_the_oracle(drawn: tuple[bytes, Schema]) -> None:
    data, schema = drawn
    schema = schema.model_copy(update={"header": False})
    parsed = parse_lines(data, schema)
    rows, rejects = oracle.read_log(data, schema)
    assert [reject.line + 1 for reject in parsed.rejects] == rejects
    assert [row["label"] for row in rows] == parsed.rows["label"].to_list()
    for column in schema.dense:
        assert parsed.rows[column.name].to_list() == [row[column.name] for row in rows]
    if schema.time:
        moments = [(row["@time"], row["@microsecond"]) for row in with_times(parsed)]
        assert moments == [divmod(row["@time"] * 10**6, 10**6) for row in rows]
    for feature in schema.sparse:
        got = [as_log(one, feature) for one in parsed.rows[feature.name].to_list()]
        assert got == [row[feature.name] for row in rows]


def as_log(staged: Any, column: Any) -> Any:
    """Return a staged category as the oracle writes it."""
    if isinstance(staged, list):
        return [as_log(one, column) for one in staged]
    if staged is None or column.encoding != "hex":
        return staged
    return format(staged, f"0{column.digits or 1}x")


@pytest.mark.parametrize("text", [*ODD_NUMBERS, *NUMBERS, *BAD["dense"]])
def test_a_number_has_the_same_value_alone_and_beside_text(text: str) -> None:
    schema = schema_of([LABEL, CITY, {"name": "d", "role": "dense"}], separator="|")
    assert_independent(f"0|a|{text}\n0|a|x\n".encode(), schema)
    assert_independent(f"0|a|{text}\n0|a\n".encode(), schema)
    assert_independent(f"{text}|a|1\nx|a|1\n".encode(), schema)


@pytest.mark.parametrize("text", ["2", "+2", "NaN", "1e400", "0.5"])
def test_a_reject_shows_the_text_of_the_log(text: str) -> None:
    schema = schema_of([LABEL, CITY, {"name": "d", "role": "dense"}])
    parsed = parse_lines(f"{text},a,1\n1,a,1\n", schema)
    assert [reject.text for reject in parsed.rejects] == [text]


@given(text=st.text(max_size=6), quote=st.sampled_from([None, '"']))
@example(text="\ufeffa", quote=None)
@example(text='"a"\rb', quote='"')
def test_text_is_the_same_alone_and_among_others(text: str, quote: str | None) -> None:
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


# ── Tables ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ({"role": "sparse"}, [["a"], ["b"]]),
        ({"role": "sparse", "encoding": "integer"}, [[1], [2]]),
        ({"role": "dense"}, [[1.0], [2.0]]),
        ({"role": "time"}, [[1], [2]]),
    ],
)
def test_a_column_of_a_type_that_the_schema_cannot_hold_is_an_error(
    column: dict[str, Any], values: list[Any]
) -> None:
    schema = schema_of([LABEL, CITY, {"name": "x", **column}])
    with pytest.raises(LogError, match="column 'x' has the type"):
        parse_table(pl.DataFrame({"label": [1, 1], "city": ["a", "a"], "x": values}), schema)
