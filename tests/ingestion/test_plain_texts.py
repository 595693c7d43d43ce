"""Columns of text in tables: the compiled parser gives what the general one gives, or nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fae.ingestion.cast.rows import LINE_COLUMN, cast_columns
from fae.ingestion.plain_texts import parse_plain_texts
from tests.support.random_logs import BAD, NUMBERS, VALUES
from tests.support.small_logs import LABEL, schema_of

CITY = {"name": "city", "role": "sparse"}
COLUMNS: list[tuple[str, dict[str, Any]]] = [
    ("dense", {"role": "dense", "missing": 2.5}),
    ("dense", {"role": "dense", "transform": "none"}),
    ("integer", {"role": "sparse", "encoding": "integer"}),
    ("hex", {"role": "sparse", "encoding": "hex"}),
    ("hex2", {"role": "sparse", "encoding": "hex", "digits": 2}),
    ("time", {"role": "time"}),
]
EDGES = {
    "dense": [
        *NUMBERS,
        *("-0", "-0.0", "0.000000000000001", "123456789012345", "12345678901234.5", "0.1", "-"),
        *("1234567890123456", "-.", ".", "1.2.3", "--1", "3999", "4095", "4096", "1e2"),
    ],
    "time": ["0", "-1", "7258118399", "7258118400", "-7258118399", "1700049600.5", "-"],
    "integer": ["123456789012345678", "1234567890123456789", "-", "--1", "-0", "1 ", " ", "+1"],
    "hex": ["123456789abcdef", " a", "+a", "0x1"],
    "hex2": ["fF", "f", "fff", "", "g1"],
}


@pytest.mark.parametrize(("kind", "column"), COLUMNS)
@given(data=st.data())
def test_a_plain_text_is_parsed_as_the_general_parser_parses_it(
    kind: str, column: dict[str, Any], data: st.DataObject
) -> None:
    known = [
        *VALUES.get(kind, []),
        *BAD.get(kind, []),
        *EDGES[kind],
        None,
        "日本",
        "a text so long",
    ]
    texts = data.draw(st.lists(st.sampled_from(known) | st.text("0123456789.-afAF", max_size=20)))
    first = data.draw(st.integers(0, len(texts)))
    series = pl.Series("x", texts, dtype=pl.String())[first:]
    schema = schema_of([LABEL, CITY, {"name": "x", **column}])
    parsed = parse_plain_texts(series, schema.fields[-1])
    assert parsed is not None
    values, odd = parsed
    rest = pl.DataFrame({"label": [1], "city": ["a"]}).select(pl.all().repeat_by(len(series)))
    frame = rest.explode("label", "city") if len(series) else rest.clear().explode("label", "city")
    frame = frame.with_columns(series, pl.Series(LINE_COLUMN, np.arange(len(series))))
    general = cast_columns(frame, [], len(series), schema)
    malformed = {reject.line for reject in general.rejects}
    assert malformed <= set(np.flatnonzero(odd).tolist())
    lines = [line for line in range(len(series)) if line not in malformed]
    staged = general.rows["@time" if kind == "time" else "x"]
    for line, value in zip(lines, staged.to_list(), strict=True):
        if not odd[line]:
            assert repr(values[line]) == repr(value), series[line]
    assert values.dtype == staged.dtype
    plain = [text in ("0", "0a") and i not in malformed for i, text in enumerate(series)]
    assert not odd[np.array(plain, dtype=bool)].any()


def test_texts_of_several_buffers_are_parsed() -> None:
    schema = schema_of([LABEL, {"name": "x", "role": "sparse", "encoding": "hex"}])
    texts = ["123456789abcdef0", "1", "0fedcba987654321", None]
    series = pl.concat([pl.Series(texts[:2]), pl.Series(texts[2:]), pl.Series(texts)])
    parsed = parse_plain_texts(series, schema.fields[-1])
    assert parsed is not None
    assert not parsed[1].any()
    assert parsed[0].to_list() == [int(text, 16) if text else None for text in texts] * 2


@pytest.mark.parametrize(
    "column", [CITY, {"name": "x", "role": "time", "format": "%Y"}, {**CITY, "multi": {}}]
)
def test_other_columns_are_left_to_the_general_parser(column: dict[str, Any]) -> None:
    rest = [CITY] if column["name"] == "x" else []
    schema = schema_of([LABEL, *rest, column])
    assert parse_plain_texts(pl.Series(["1"]), schema.fields[-1]) is None
