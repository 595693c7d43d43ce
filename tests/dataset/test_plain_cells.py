"""A cell that is staged by itself is what the general parser makes of it."""

from __future__ import annotations

import datetime
import math
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fae.dataset.cells import build_frames
from fae.dataset.plain_cells import ODD, choose_stager, derive_one
from fae.ingestion.parser import parse_table
from fae.logs.columns import DenseColumn, SparseColumn, TimeColumn
from tests.support.random_logs import BAD, NUMBERS, VALUES
from tests.support.small_logs import LABEL, schema_of

COLUMNS: list[dict[str, Any]] = [
    {"role": "dense", "missing": 2.5},
    {"role": "dense", "transform": "none"},
    {"role": "sparse"},
    {"role": "sparse", "encoding": "integer"},
    {"role": "sparse", "encoding": "hex"},
    {"role": "sparse", "encoding": "hex", "digits": 2},
    {"role": "sparse", "multi": {"separator": ";", "max_length": 2}},
    {"role": "sparse", "encoding": "integer", "multi": {"separator": ";"}},
    {"role": "time"},
    {"role": "time", "format": "%y%m%d%H"},
    {"role": "time", "format": "%Y-%m-%d %H:%M:%S"},
]
TEXTS = [text for texts in (*VALUES.values(), *BAD.values(), NUMBERS) for text in texts]
TEXTS += ["14102100", "69010100", "70010100", "14102124", "2014-10-21 00:00:05", "2014-10-21 0:0:5"]
TEXTS += ["1;2;3", "1;;2", "a;", ";", "7258118399", "7258118400", "00ff", "1700049600.5", "1.00"]
PLAIN = st.sampled_from(TEXTS) | st.text("0123456789abfAF.-; ", max_size=12)
NUMBER = (
    st.integers(-5, 300) | st.integers() | st.floats() | st.sampled_from([2**53, 2.0**53, -0.0])
)
CELLS = st.none() | PLAIN | NUMBER | st.booleans() | st.lists(PLAIN) | st.lists(st.integers())


@pytest.mark.parametrize("column", COLUMNS, ids=str)
@given(cell=CELLS)
def test_a_cell_is_staged_as_the_general_parser_stages_it(
    column: dict[str, Any], cell: Any
) -> None:
    city = {"name": "city", "role": "sparse"}
    schema = schema_of([LABEL, city, {"name": "x", **column}])
    field = schema.fields[-1]
    assert isinstance(field, DenseColumn | SparseColumn | TimeColumn)
    staged = choose_stager(field)(cell)
    if staged is ODD:
        return
    ((_, frame),) = build_frames({"x": [cell]}, {"x": field}, 1)
    table = frame.with_columns(pl.lit(1).alias("label"), pl.lit("a").alias("city"))
    parsed = parse_table(table, schema)
    assert not parsed.rejects
    name = "@time" if column["role"] == "time" else "x"
    expected = parsed.rows[name].to_list()[0]
    found = pl.Series([staged], dtype=parsed.rows[name].dtype).to_list()[0]
    assert found == expected


@pytest.mark.parametrize(
    ("column", "cells"),
    [
        ({"role": "dense"}, [None, "", 3, 3.5, "3", "3.5", "-2"]),
        ({"role": "sparse"}, [None, "", "a", " a", 7]),
        ({"role": "sparse", "encoding": "integer"}, [None, "", 7, -7, "7", "-7"]),
        ({"role": "sparse", "encoding": "hex", "digits": 8}, [None, "", "68fd1e64", "68FD1E64", 7]),
        ({"role": "sparse", "multi": {}}, [None, "", "a,b", ["a", None], []]),
        ({"role": "time"}, [5, "5", "-5"]),
        ({"role": "time", "format": "%y%m%d%H"}, ["14102100"]),
    ],
)
def test_what_logs_hold_is_plain(column: dict[str, Any], cells: list[Any]) -> None:
    schema = schema_of([LABEL, {"name": "city", "role": "sparse"}, {"name": "x", **column}])
    field = schema.fields[-1]
    assert isinstance(field, DenseColumn | SparseColumn | TimeColumn)
    assert ODD not in [choose_stager(field)(cell) for cell in cells]


@pytest.mark.parametrize("cell", [True, math.nan, datetime.date(2020, 1, 1), b"1", object(), "x"])
def test_what_is_no_plain_number_is_left_to_the_general_parser(cell: Any) -> None:
    for column in (DenseColumn(role="dense", name="x"), TimeColumn(role="time", name="x")):
        assert choose_stager(column)(cell) is ODD


def test_a_category_derives_from_the_time_as_in_the_pipeline() -> None:
    names = ["hour_of_day", "day_of_week"]
    derived = [
        {"name": name, "role": "sparse", "encoding": "integer", "source": "x", "derive": name}
        for name in names
    ]
    schema = schema_of([LABEL, {"name": "x", "role": "time"}, *derived])
    times = [0, -1, 1413936000, 7258118399, 86399, 86400 * 3]
    rows = parse_table(pl.DataFrame({"label": [1] * len(times), "x": times}), schema).rows
    assert rows.select(names).rows() == [
        tuple(derive_one(column, time) for column in schema.sparse) for time in times
    ]
