"""Rules of a schema on typed columns of Parquet logs, and columns that directories give."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from fae.ingestion.parser import parse_table
from fae.logs.files import find_logs
from tests.ingestion.test_log_cases import read_columns
from tests.support.small_logs import LABEL, schema_of, staged

CITY = {"name": "city", "role": "sparse"}


def parse(column: dict[str, Any], values: list[Any], dtype: Any = None) -> list[Any]:
    """The staged values of one typed column, or the reasons of their rejects."""
    label = {"name": "y", "role": "label"} if column["role"] != "label" else column
    columns = [label, CITY] if label is column else [label, CITY, column]
    frame = pl.DataFrame({"y": [0] * len(values), "city": ["a"] * len(values)})
    frame = frame.with_columns(pl.Series(column["name"], values, dtype, strict=False))
    parsed = parse_table(frame, schema_of(columns))
    if parsed.rejects:
        return [reject.reason for reject in parsed.rejects]
    name = "label" if label is column else column["name"]
    return parsed.rows[name].to_list()


NUMBER = {"name": "x", "role": "dense", "transform": "none"}
ITEM = {"name": "x", "role": "sparse", "encoding": "integer"}


@pytest.mark.parametrize(
    ("column", "values", "expected"),
    [
        ({**NUMBER, "nulls": ["-1"], "missing": 7}, [-1, 2], [7.0, 2.0]),
        ({**NUMBER, "nulls": ["-1"], "missing": 7}, [-1.0, 2.5], [7.0, 2.5]),
        ({**NUMBER, "nulls": ["NaN"]}, [float("nan"), 2.5], [0.0, 2.5]),
        ({**NUMBER, "clip": [0, 1]}, [True, False], [1.0, 0.0]),
        ({**ITEM, "nulls": ["-1"]}, [-1, 2**62 + 1], [None, 2**62 + 1]),
        ({**ITEM, "nulls": ["0"], "multi": {}}, [[1, 0], [0], None], [[1], [], []]),
        ({**ITEM, "buckets": [1, 2.5]}, [0, 2, 3, None], [0, 1, 2, None]),
        ({"name": "y", "role": "label", "threshold": 4}, [5, 3.5], [1, 0]),
        ({"name": "y", "role": "label", "map": {"true": 1, "false": 0}}, [True, False], [1, 0]),
        ({"name": "y", "role": "label", "map": {"1": 1, "-1": 0}}, [1.0, -1.0], [1, 0]),
        ({"name": "y", "role": "label", "positive": ["buy"]}, ["buy", "pv"], [1, 0]),
        ({"name": "y", "role": "label", "missing": "keep"}, [1, None], [1, -1]),
        ({"name": "x", "role": "key"}, [7, None], ["7", ""]),
        ({"name": "x", "role": "weight"}, [1, 0.5], [1.0, 0.5]),
        ({"name": "x", "role": "weight"}, [float("nan")], ["not a finite weight from 0 on"]),
    ],
)
def test_a_rule_reads_typed_values_as_it_reads_text(
    column: dict[str, Any], values: list[Any], expected: list[Any]
) -> None:
    assert parse(column, values) == expected


def test_a_vector_of_a_parquet_log(tmp_path: Path) -> None:
    column = {**NUMBER, "vector": {"size": 2}}
    schema = schema_of([LABEL, CITY, column])
    frame = pl.DataFrame({"label": [0, 1, 1], "city": ["a"] * 3, "x": [[1.0, 2.0], None, [1.0]]})
    parsed = parse_table(frame, schema)
    assert parsed.rows.select("x_1", "x_2").rows() == [(1.0, 2.0), (0.0, 0.0)]
    assert [(one.line, one.reason) for one in parsed.rejects] == [(2, "not 2 finite numbers")]


def test_impressions_of_a_parquet_log_become_rows() -> None:
    columns = [{"name": "item", "role": "sparse"}, {"name": "click", "role": "label"}]
    schema = schema_of(columns, explode={"field": "shown", "into": ["item", "click"]})
    shown = pl.Series("shown", [["a-1", "b-0"], [], ["c"]])
    parsed = parse_table(shown.to_frame(), schema)
    assert parsed.rows.rows() == [(1, "a"), (0, "b")]
    assert [one.line for one in parsed.rejects] == [1, 2]


def test_directories_give_columns_of_parquet_logs(tmp_path: Path) -> None:
    for day, country in (("2024-05-01", "DE"), ("2024-05-02", "__HIVE_DEFAULT_PARTITION__")):
        directory = tmp_path / f"day={day}" / f"country={country}" / "unused=1"
        directory.mkdir(parents=True)
        pl.DataFrame({"label": [1], "city": ["x%y"]}).write_parquet(directory / "part.parquet")
    columns = [
        *(LABEL, CITY, {"name": "land", "field": "country", "role": "sparse"}),
        {"name": "day", "role": "time", "format": "iso8601"},
    ]
    schema = schema_of(columns, format="parquet")
    logs = find_logs([f"{tmp_path}/*/*/*/*.parquet"], schema)
    rows = read_columns(staged(logs, schema, tmp_path / "out"))
    assert rows["land"] == ["DE", None]
    assert rows["@time"] == [1714521600, 1714608000]
