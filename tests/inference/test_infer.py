"""An inferred schema is one that `fae prepare` takes, and says what it is unsure of."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fae.format.errors import LogError
from fae.inference.infer import infer_schema
from fae.logs.columns import Column
from fae.logs.files import find_logs
from fae.logs.schema import Schema
from fae.logs.schema_files import parse_schema
from tests.support.command_line import assert_mistake, fae
from tests.support.small_logs import staged

ROWS = 60


def infer(directory: Path, text: str | bytes, name: str = "log.csv") -> tuple[Schema, str]:
    """Infer the schema of a log of these bytes; it must take every line of the log."""
    path = directory / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    document = infer_schema(str(path))
    schema = parse_schema(document, "inferred")
    staging = staged(find_logs([str(path)], schema), schema, directory / "staging")
    assert sum(log.rejects for log in staging.logs) == 0, document
    return schema, document


def column_of(schema: Schema, name: str) -> Column:
    return next(column for column in schema.columns if column.log_name == name)


def lines_of(*columns: Any, separator: str = ",") -> str:
    """A log whose columns are functions of the row, or constants."""
    cells = [[c(row) if callable(c) else c for c in columns] for row in range(ROWS)]
    return "".join(separator.join(map(str, row)) + "\n" for row in cells)


def parity(row: int) -> int:
    return row % 2


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("user", lambda row: row % 7, {"role": "sparse", "encoding": "integer"}),
        ("device", lambda row: f"{row % 9:05x}ff", {"encoding": "hex", "digits": 7}),
        ("big", lambda row: 2**63 + row % 5, {"encoding": "unsigned"}),
        ("city", lambda row: "Köln" if row % 3 else "", {"role": "sparse", "encoding": "string"}),
        ("zip_code", lambda row: f"0{row % 9}", {"role": "sparse", "encoding": "string"}),
        ("price", lambda row: row / 4, {"role": "dense", "transform": "none"}),
        ("views_count", lambda row: row * 3, {"role": "dense", "transform": "log1p"}),
        ("price", lambda row: "NA" if row == 3 else row, {"role": "dense", "nulls": ("NA",)}),
        ("when", lambda row: f"2024-05-{row % 28 + 1:02d} 10:00:00", {"format": "iso8601"}),
        ("timestamp", lambda row: 1_700_000_000 + row, {"role": "time", "format": "unix"}),
        ("ts", lambda row: 1_700_000_000_000 + row, {"role": "time", "format": "unix_ms"}),
        ("ts_ms", lambda row: 1_700_000_000_000 + row, {"role": "time", "format": "unix_ms"}),
        ("seen", lambda row: 1_700_000_000_000 + row, {"role": "time", "format": "unix_ms"}),
        ("views", lambda row: 1_000 * row, {"role": "dense"}),
        ("item_id", lambda row: 1_700_000_000 + row % 9, {"role": "sparse"}),
        ("hour", lambda row: f"141021{row % 24:02d}", {"role": "time", "format": "%y%m%d%H"}),
        ("tags", lambda row: f"{row % 4}|{row % 3}", {"role": "sparse", "encoding": "integer"}),
        ("id", lambda row: f"row-{row}", {"role": "key"}),
        ("always", "x", {"role": "drop"}),
    ],
)
def test_a_column_is_known_by_name_and_values(
    tmp_path: Path, name: str, value: Any, expected: dict[str, Any]
) -> None:
    text = f"click,item,{name}\n" + lines_of(parity, lambda row: row % 5, value)
    schema, _ = infer(tmp_path, text)
    column = column_of(schema, name)
    assert {key: getattr(column, key) for key in expected} == expected
    assert schema.label.name == "click"


def test_of_two_times_the_one_by_name_is_kept(tmp_path: Path) -> None:
    def number(row: int) -> str:
        return str(1_700_000_000 + row)

    schema, document = infer(tmp_path, "click,item,x,when\n" + lines_of(
        parity, lambda row: row % 5, number, number))  # fmt: skip
    assert schema.time is not None
    assert schema.time.name == "when"
    assert "name: x, role: drop}  # UNSURE: another time" in document


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        ("click", parity, {}),
        ("label", lambda row: ["-1", "1"][row % 2], {"map": {"1": 1, "-1": 0}}),
        ("converted", lambda row: ["true", "false"][row % 2], {"map": {"true": 1, "false": 0}}),
        ("rating", lambda row: row % 5 + 1, {"threshold": 4.0}),
        ("behavior", lambda row: ["pv", "pv", "buy"][row % 3], {"positive": ("buy",)}),
        ("click", lambda row: ["0", "1", ""][row % 3], {"missing": "keep"}),
    ],
)
def test_a_label_has_the_rule_that_its_values_need(
    tmp_path: Path, name: str, value: Any, rule: dict[str, Any]
) -> None:
    text = f"{name},item\n" + lines_of(value, lambda row: f"i{row % 5}")
    schema, document = infer(tmp_path, text)
    assert schema.label.log_name == name
    assert {key: getattr(schema.label, key) for key in rule} == rule
    (line,) = (line for line in document.splitlines() if "role: label" in line)
    assert ("UNSURE" in line) == (name in ("rating", "behavior"))


def test_lines_are_read_as_they_are_written(tmp_path: Path) -> None:
    skipped = "made by x\n\n" + "y\ttext\n" + '1\t"a\tb"\n0\tc\n' * 20
    schema, _ = infer(tmp_path, skipped)
    assert (schema.separator, schema.header, schema.quote) == ("\t", True, '"')
    assert schema.skip_lines == 2


def test_separators_of_two_characters_and_latin_1(tmp_path: Path) -> None:
    text = lines_of(lambda row: f"k{row % 3}é", parity, separator="::").encode("latin-1")
    schema, document = infer(tmp_path, text)
    assert (schema.separator, schema.header, schema.charset) == ("::", False, "latin-1")
    assert "UNSURE: the text is not UTF-8" in document


def test_quoted_line_breaks(tmp_path: Path) -> None:
    schema, document = infer(tmp_path, "y,text\n" + '1,"a\nb"\n0,c\n' * 20)
    assert schema.quoted_line_breaks
    assert "line break" in document


def test_json_lines(tmp_path: Path) -> None:
    line = '{{"y": {}, "user": {{"id": {}}}, "seen": [1, 2], "label": "a b"}}\n'
    text = "".join(line.format(row % 2, row % 7) for row in range(ROWS))
    schema, _ = infer(tmp_path, text, "log.jsonl")
    assert (schema.format, schema.label.log_name) == ("json", "y")
    assert [column.name for column in schema.sparse] == ["user.id", "seen"]


def test_parquet_with_hive_partitions(tmp_path: Path) -> None:
    directory = tmp_path / "split=train" / "day=2024-05-01"
    directory.mkdir(parents=True)
    frame = {"click": [True, False] * 30, "item": list(range(20)) * 3, "seen": [[1], []] * 30}
    pl.DataFrame(frame).write_parquet(directory / "part.parquet")
    document = infer_schema(str(directory / "part.parquet"))
    schema = parse_schema(document, "inferred")
    assert schema.label.name == "click"
    staging = staged(find_logs([str(directory / "part.parquet")], schema), schema, tmp_path / "s")
    assert staging.rows == ROWS
    assert column_of(schema, "day").role == "time"


def test_a_list_shares_the_table_of_the_column_whose_values_it_has(tmp_path: Path) -> None:
    text = "click,item,seen\n" + lines_of(parity, lambda r: r % 9, lambda r: f"{r % 9} {r % 4}")
    schema, _ = infer(tmp_path, text)
    assert list(schema.tables) == ["item"]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "is empty"),
        ("\n\n", "no lines"),
        ("one\ntwo three\nfour\n", "nothing separates"),
        ("click,item\n", "no rows"),
        ('{"a": \n{"b"\n', "no line is a JSON object"),
    ],
)
def test_what_no_schema_fits_is_refused(tmp_path: Path, text: str, why: str) -> None:
    path = tmp_path / "log.csv"
    path.write_text(text)
    with pytest.raises(LogError, match=why):
        infer_schema(str(path))


CELLS = st.sampled_from(
    ["0", "1", "", "a", "1.5", "x y", "NA", "-3", "2024-01-01", "[1]", "é", "a|b"]
)


@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(rows=st.lists(st.tuples(CELLS, CELLS, CELLS), min_size=2, max_size=12))
def test_any_log_of_fields_gets_a_schema_that_parses(
    tmp_path: Path, rows: list[tuple[str, str, str]]
) -> None:
    path = tmp_path / "log.csv"
    path.write_text("".join(",".join(row) + "\n" for row in rows))
    with suppress(LogError):  # nothing but missing values
        parse_schema(infer_schema(str(path)), "inferred")


def test_the_command_writes_a_file_once(tmp_path: Path) -> None:
    log, out = tmp_path / "log.csv", tmp_path / "mine.yaml"
    log.write_text("click,item\n1,a\n0,b\n1,a\n")
    assert fae("schema", "infer", log).stdout.startswith(
        "# Inferred from the first 3 rows of log.csv"
    )
    assert fae("schema", "infer", log, "--out", out).exit_code == 0
    assert_mistake(fae("schema", "infer", log, "--out", out), "exists", "Name another file")
    assert_mistake(fae("schema", "infer", tmp_path / "none.csv"), "no log found")


def test_a_pattern_is_read_by_its_first_file(tmp_path: Path) -> None:
    for day in (1, 2):
        (tmp_path / f"day={day}").mkdir()
        frame = pl.DataFrame({"click": [0, 1] * 30, "user": [n % 7 for n in range(ROWS)]})
        frame.write_parquet(tmp_path / f"day={day}" / "log.parquet")
    pattern = str(tmp_path / "day=*" / "*.parquet")
    schema = parse_schema(infer_schema(pattern), "inferred")
    assert [column.name for column in schema.columns] == ["click", "user", "day"]
