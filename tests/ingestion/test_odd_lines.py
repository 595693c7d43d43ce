"""Lines that are not plain mean the same whatever stands beside them, and none is half a row."""

from __future__ import annotations

import pytest

from tests.support.parsed_lines import CITY, parsed, reasons
from tests.support.small_logs import LABEL, schema_of

NUMBER = {"name": "d", "role": "dense", "transform": "none", "missing": 5}
DROPPED = {"name": "id", "role": "drop"}


@pytest.mark.parametrize("columns", [[LABEL, CITY, DROPPED], [DROPPED, LABEL, CITY]])
def test_a_short_line_beside_a_long_one_is_no_row_where_a_column_is_dropped(columns: list) -> None:
    # There are as many separators as in whole lines, and Polars would fill the short line up.
    schema = schema_of(columns)
    good = ",".join({"label": "01", "city": "Oslo", "id": "x"}[c["name"]] for c in columns)
    found = parsed(f"{good}\n01,Rome\n{good},y\n{good}\n", schema)
    assert found.rows.rows() == [(1, "Oslo")] * 2
    assert reasons(found) == [
        (1, None, "2 fields, not 3", "01,Rome"),
        (2, None, "4 fields, not 3", f"{good},y"),
    ]


@pytest.mark.parametrize("beside", ["", "0\n"])
def test_a_carriage_return_at_the_end_of_a_field_is_not_dropped(beside: str) -> None:
    schema = schema_of([LABEL, CITY, {"name": "n", "role": "sparse", "encoding": "integer"}])
    found = parsed(f"01,a\r,7\n01,b,7\r,\n01,b,7\r\n{beside}", schema.model_copy())
    assert found.rows.rows() == [(1, "a\r", 7), (1, "b", 7)]
    assert reasons(found)[0] == (1, None, "4 fields, not 3", "01,b,7\r,")
    typed = parsed(f"7\r,01,a\n7,01,b\r\n{beside}", schema_of([schema.columns[2], LABEL, CITY]))
    assert typed.rows.rows() == [(1, 7, "b")]
    assert reasons(typed)[0] == (0, "n", "not a 64-bit integer", "7\r")


@pytest.mark.parametrize("blank", [" ", "\t", " \t "])
@pytest.mark.parametrize("beside", ["", "0|\n"])
def test_a_number_of_blanks_alone_is_missing(blank: str, beside: str) -> None:
    schema = schema_of([LABEL, NUMBER, CITY], separator="|")
    found = parsed(f"0|{blank}|a\n1| 2 |a\n{beside}", schema)
    assert found.rows.rows() == [(0, 5.0, "a"), (1, 2.0, "a")]
    assert len(found.rejects) == bool(beside)


@pytest.mark.parametrize("line", ['1,"a"\r\r', '"1",a\r\r', '\r,"a"'])
def test_a_carriage_return_in_a_line_with_quotes_is_malformed(line: str) -> None:
    found = parsed(f"{line}\n1,b\n", schema_of([LABEL, CITY], quote='"'))
    assert found.rows.rows() == [(1, "b")]
    assert [one.reason for one in found.rejects] == ["a carriage return inside the line"]
