"""Plain lines are read as the general parser reads them, and only plain lines are."""

from __future__ import annotations

import math

import numpy as np
import polars as pl
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from fae.ingestion.fast_parser import parse_plain_lines
from fae.ingestion.parser import parse_odd_lines, parse_text
from fae.logs.schema import Schema
from tests.support.small_logs import schema_of

LABEL = {"name": "label", "role": "label"}
EVERY_KIND = schema_of(
    [
        LABEL,
        {"name": "count", "role": "dense", "missing": 3},
        {"name": "number", "role": "dense", "transform": "none"},
        {"name": "short", "role": "sparse", "encoding": "hex", "digits": 4},
        {"name": "long", "role": "sparse", "encoding": "hex"},
        {"name": "whole", "role": "sparse", "encoding": "integer"},
        {"name": "text", "role": "sparse"},
        {"name": "list", "role": "sparse", "encoding": "integer", "multi": {"separator": ";"}},
        {"name": "unused", "role": "drop"},
        {"name": "at", "role": "time", "format": "unix"},
    ],
    separator=",",
    quote='"',
)
FIELDS = tuple(column.name for column in EVERY_KIND.fields)
PLAIN = ["1", "7", "-2.5", "00fA", "123456789abcdef0", "-40", "Österreich", "1;2;;3", "x", "99"]

digits = st.text("0123456789", min_size=1, max_size=22)
numbers = st.one_of(
    digits,
    st.builds("{}{}.{}".format, st.sampled_from(["", "-", "+"]), digits, digits),
    st.builds("-{}".format, digits),
    st.floats().map(repr),
    st.integers().map(str),
)
words = st.text('abcDEF09 "\r;.-\té\x00', max_size=6)
hexadecimal = st.text("0123456789abcdefABCDEFg+", max_size=18)
anything = st.one_of(st.just(""), numbers, words, hexadecimal, st.sampled_from(["0", "1"]))


@st.composite
def lines(draw: st.DrawFn) -> bytes:
    """A line that is plain but for some of its fields, or has too few or too many."""
    fields = list(PLAIN)
    for _ in range(draw(st.integers(0, 3))):
        fields[draw(st.integers(0, len(fields) - 1))] = draw(anything)
    fields += draw(st.sampled_from([[], [], [], ["more"]]))
    text = ",".join(fields[: draw(st.sampled_from([99, 99, 99, 3, 0]))])
    end = draw(st.sampled_from(["\n", "\n", "\r\n"]))
    return (text.replace("\n", " ") + end).encode()


def check(data: bytes, schema: Schema) -> None:
    """The text gives the same rows and rejects with plain lines and without."""
    fields = tuple(column.name for column in schema.fields)
    found, expected = parse_text(data, fields, schema), parse_odd_lines(data, fields, schema)
    assert_frame_equal(found.rows, expected.rows, check_exact=True)
    assert found.rejects == expected.rejects
    assert found.lines == expected.lines


@given(st.lists(lines(), max_size=6).map(b"".join))
@example(b"".join([b"1,,,,,,,,,5\n"] * 3))
@example(",".join(PLAIN).encode() + b"\r\n")
@example(b"\xef\xbb\xbf" + ",".join(PLAIN).encode() + b"\n")
def test_plain_lines_are_read_as_the_general_parser_reads_them(data: bytes) -> None:
    check(data, EVERY_KIND)


@given(st.lists(st.binary(max_size=12), max_size=5))
def test_any_bytes_in_a_text_are_read_alike(pieces: list[bytes]) -> None:
    schema = schema_of([LABEL, {"name": "text", "role": "sparse"}], separator=",", quote='"')
    check(b"".join(b"1," + piece + b"\n" for piece in pieces), schema)


@pytest.mark.parametrize("separator", ["1", "a", "-", ".", " "])
def test_a_separator_may_be_what_numbers_are_made_of(separator: str) -> None:
    columns = [LABEL, {"name": "n", "role": "sparse", "encoding": "hex"}]
    check(f"0{separator}2c\n0{separator}\n".encode(), schema_of(columns, separator=separator))


@given(st.lists(numbers.map(str.strip), min_size=1, max_size=50))
def test_numbers_have_the_bits_that_polars_gives_them(texts: list[str]) -> None:
    columns = [LABEL, *({"name": n, "role": "dense", "transform": t} for n, t in TRANSFORMS)]
    rows = "".join(f"1,{text},{text},x\n" for text in [*texts, "1"])
    check(rows.encode(), schema_of([*columns, TEXT], separator=","))


TRANSFORMS = [("a", "log1p"), ("b", "none")]


def test_every_count_has_the_logarithm_that_polars_gives_it() -> None:
    counts = np.unique(np.geomspace(1, 9e14, 60_000).astype(np.int64))
    counts = np.concatenate([np.arange(1 << 13), counts])
    schema = schema_of([LABEL, {"name": "n", "role": "dense"}, TEXT], separator=",")
    data = "".join(f"1,{count},\n" for count in counts).encode()
    found = parse_plain_lines(data, ("label", "n", "text"), schema)
    assert found.odd_lines.size == 0
    expected = pl.Series("n", counts).cast(pl.Float64).log1p().cast(pl.Float32)
    assert found.columns["n"].equals(expected)
    assert found.columns["n"][1] == np.float32(math.log(2))


TEXT = {"name": "text", "role": "sparse"}


def test_nearly_every_line_is_plain() -> None:
    data = (",".join(PLAIN) + "\n").encode() * 5
    found = parse_plain_lines(data + b"1,2\n" + data, FIELDS, EVERY_KIND)
    assert found.odd_lines.tolist() == [5]
    assert found.columns.height == 10
    assert found.line_starts.tolist()[-1] == len(data) * 2 + 4
    assert found.typed == set(FIELDS) - {"text", "list"}


def test_no_text_has_no_lines() -> None:
    found = parse_plain_lines(b"", FIELDS, EVERY_KIND)
    assert found.columns.height == 0
    assert found.odd_lines.size == 0
