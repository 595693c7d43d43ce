"""The encoder: the ids and numbers of the data set, from raw rows alone."""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import polars as pl
import pytest
from hypothesis import assume, given

from fae.dataset import encoder as encoding
from fae.dataset.encoder import Encoder
from fae.format.errors import DatasetError
from fae.logs.files import find_logs
from tests.support import oracle
from tests.support.random_logs import FEW_EXAMPLES, RandomLog, logs
from tests.support.small_logs import LABEL, SHOP, SHOP_LOG, Stages, schema_of, stages, written


@pytest.fixture(scope="module")
def encoder(shop: Stages) -> Encoder:
    return Encoder(shop.dataset)


def raw_rows(log: str) -> list[dict[str, str]]:
    header, *lines = (line.split(",") for line in log.splitlines())
    return [dict(zip(header, line, strict=True)) for line in lines]


def test_a_new_row_gets_the_ids_that_training_saw(encoder: Encoder) -> None:
    row = {"time": 5, "price": 1, "city": "Rome", "item": 5, "seen": [7, 3]}
    assert encoder.encode([row]).rows() == [(np.float32(np.log(2)), 2, 2, [1, 3])]


def test_the_columns_are_those_of_the_data_set_without_the_label(encoder: Encoder) -> None:
    found = encoder.encode([{"city": "Rome"}])
    assert dict(found.schema) == {
        "price": pl.Float32,
        "city": pl.Int32,
        "item": pl.Int32,
        "seen": pl.List(pl.Int32),
    }


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"city": "Paris", "item": 4}, (0.0, 0, 0, [])),
        ({"city": None, "item": 7}, (0.0, 3, 1, [])),
        ({"city": "", "item": 7.0}, (0.0, 3, 1, [])),
        ({"item": "7.0", "seen": "7 4 5"}, (0.0, 3, 1, [1, 0, 2])),
        ({"item": "9", "seen": []}, (0.0, 3, 4, [])),
        ({"city": "Oslo", "item": None}, (0.0, 1, 0, [])),
        ({"price": -4, "item": 3, "id": "a", "click": 1}, (0.0, 3, 3, [])),
    ],
)
def test_missing_and_unseen_values(
    encoder: Encoder, row: Mapping[str, Any], expected: tuple[Any, ...]
) -> None:
    assert encoder.encode([row]).row(0) == expected


def test_the_order_of_the_rows_is_kept(encoder: Encoder) -> None:
    cities = ["Rome", "Paris", None, "Oslo", "Lima", "Rome"] * 50
    seen = [[7], [], None, [5, 5], [8], [3, 7]] * 50
    rows = [{"city": city, "seen": items} for city, items in zip(cities, seen, strict=True)]
    found = encoder.encode(rows)
    assert found["city"].to_list() == [2, 0, 3, 1, 5, 2] * 50
    assert found["seen"].to_list() == [[1], [], [], [2, 2], [0], [3, 1]] * 50


def test_a_value_that_first_occurs_after_many_rows_is_encoded(encoder: Encoder) -> None:
    rows: list[dict[str, Any]] = [{"price": 1, "city": None} for _ in range(200)]
    rows += [{"price": 0.5, "city": "Rome", "item": 7}]
    assert encoder.encode(rows).row(200) == (np.float32(np.log(1.5)), 2, 1, [])


def test_rows_may_spell_a_value_differently(encoder: Encoder) -> None:
    rows = [{"item": 7}, {"item": "7"}, {"item": 7.0}, {"item": "7.0"}]
    assert encoder.encode(rows)["item"].to_list() == [1, 1, 1, 1]


@pytest.mark.parametrize("rows", [[], [{}], [{}, {}], [{"id": 1}, {"id": 2}], [{}] * 100])
def test_there_are_as_many_rows_out_as_in(encoder: Encoder, rows: list[dict[str, Any]]) -> None:
    found = encoder.encode(rows)
    assert found.rows() == [(0.0, 3, 0, [])] * len(rows)


def test_a_frame_is_encoded_like_its_rows(encoder: Encoder) -> None:
    frame = pl.DataFrame({"city": ["Rome", "Paris"], "item": [5, 4], "seen": ["7 5", None]})
    assert encoder.encode(frame).equals(encoder.encode(frame.to_dicts()))
    assert encoder.encode(frame.clear()).height == 0


def test_a_column_that_the_schema_does_not_have_is_named(encoder: Encoder) -> None:
    named = "the rows have 'citty', unknown to the schema 'shop'. Did you mean 'city'?"
    rows = [{"city": "Rome"}, {"citty": "Rome"}]
    for given_rows in (rows, rows * 50, pl.DataFrame(rows), pandas.DataFrame(rows)):
        with pytest.raises(DatasetError, match=re.escape(named)):
            encoder.encode(given_rows)


FRAME = pl.DataFrame(
    {"city": ["Rome", "Paris", None], "item": [5, None, 7], "seen": [[7, 5], None, []]},
    schema_overrides={"seen": pl.List(pl.Int64())},
)


@pytest.mark.parametrize(
    "convert",
    [
        pl.DataFrame.to_dicts,
        pl.DataFrame.to_arrow,
        lambda frame: frame.rechunk().to_arrow().combine_chunks().to_batches()[0],
        pl.DataFrame.to_pandas,
        lambda frame: frame.to_pandas().astype(object),
        lambda frame: frame.to_pandas(use_pyarrow_extension_array=True),
        lambda frame: iter(frame.to_dicts()),
    ],
)
@pytest.mark.parametrize("times", [1, 40])
def test_every_kind_of_table_gives_the_same(encoder: Encoder, convert: Any, times: int) -> None:
    expected = [(0.0, 2, 2, [1, 2]), (0.0, 0, 0, []), (0.0, 3, 1, [])] * times
    found = encoder.encode(convert(pl.concat([FRAME] * times)))
    assert found.rows() == expected


@pytest.mark.parametrize("rows", [{"city": "Rome"}, "Rome", 7, None])
def test_what_holds_no_rows_is_an_error(encoder: Encoder, rows: Any) -> None:
    with pytest.raises(DatasetError, match=r"the rows must be a list|cannot be encoded"):
        encoder.encode(rows)


@pytest.mark.parametrize(
    ("row", "named"),
    [
        ({"city": object()}, "row 1, column city: object cannot be encoded"),
        ({"seen": [7, "5"]}, "row 1, column seen: a list of int and str cannot be encoded"),
        ({"city": datetime.date(2020, 1, 1)}, "column 'city' has the type Date"),
        ({"city": {"a": 1}}, "row 1, column city: dict cannot be encoded"),
    ],
)
@pytest.mark.parametrize("rest", [0, 50])
def test_a_cell_of_another_type_is_named(
    encoder: Encoder, row: dict[str, Any], named: str, rest: int
) -> None:
    with pytest.raises(DatasetError, match=named):
        encoder.encode([{"city": "Rome"}, row, *[{}] * rest])


def test_a_malformed_value_is_named_in_whatever_piece_it_is(
    encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoding, "_ROWS_PER_PIECE", 7)
    rows: list[dict[str, Any]] = [{"city": "Rome", "item": 7}] * 100
    assert encoder.encode(rows).rows() == [(0.0, 2, 1, [])] * 100
    rows[71] = rows[90] = {"item": 7.5}
    with pytest.raises(DatasetError, match=r"row 71, column item: not a 64-bit integer: '7\.5'"):
        encoder.encode(rows)


@pytest.mark.parametrize(
    ("row", "named"),
    [
        ({"item": "x"}, "row 1, column item: not a 64-bit integer: 'x'"),
        ({"price": float("nan")}, "row 1, column price: not a finite number"),
        ({"seen": "7 x"}, "row 1, column seen: not a 64-bit integer: '7 x'"),
        ({"time": "noon"}, "row 1, column time: not a time of the form unix: 'noon'"),
    ],
)
def test_a_malformed_value_is_named(encoder: Encoder, row: dict[str, Any], named: str) -> None:
    good = {name: {"time": 5}.get(name) for name in row}
    with pytest.raises(DatasetError, match=named):
        encoder.encode(pl.DataFrame([good, row], strict=False))


def test_the_twenty_rows_are_encoded_as_they_were_prepared(shop: Stages, encoder: Encoder) -> None:
    options = oracle.Options(budget=shop.manifest.budget.bytes)
    right = oracle.prepare([SHOP_LOG.encode()], [None], SHOP, options)
    tables = {table.name: table for table in right.tables}
    rows = raw_rows(SHOP_LOG)
    for row in rows:
        del row["click"], row["id"]
    expected = [oracle.encode(row, SHOP, tables)[0][1:] for row in right.rows]
    assert [(dense, (*ids[:2], tuple(ids[2]))) for dense, ids in split_cells(encoder, rows)] == (
        expected
    )


def split_cells(encoder: Encoder, rows: Any) -> list[tuple[tuple[float, ...], tuple[Any, ...]]]:
    """Encoded rows as (dense, ids)."""
    dense = len(encoder.schema.dense)
    return [(row[:dense], row[dense:]) for row in encoder.encode(rows).rows()]


def test_hours_and_days_come_from_the_time(tmp_path: Path) -> None:
    derived = [
        {"name": name, "role": "sparse", "encoding": "integer", "source": "hour", "derive": name}
        for name in ("hour_of_day", "day_of_week")
    ]
    schema = schema_of([LABEL, {"name": "hour", "role": "time", "format": "%y%m%d%H"}, *derived])
    log = "1,14102100\n" * 3 + "1,14102101\n" * 2 + "1,14102201\n"
    options = oracle.Options(budget=10_000, valid="0", test="0")
    found = find_logs(written(tmp_path, {"a.txt": log}), schema)
    encoder = Encoder(stages(found, schema, tmp_path, options).dataset)
    # Hours 0 and 1 were seen three times each, Tuesday five times and Wednesday once.
    rows = [{"hour": "14102100"}, {"hour": 14102201}, {"hour": "14102405"}]
    assert encoder.encode(rows[:1]).rows() == [(1, 1)]
    assert encoder.encode(rows[1:2]).rows() == [(2, 2)]
    assert encoder.encode(rows[2:]).rows() == [(0, 0)]


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    """Texts that numbers spell (ids 1 to 4) and integers up to 64 bits (2^53 + 1 has id 1)."""
    schema = schema_of(
        [
            LABEL,
            {"name": "s", "role": "sparse"},
            {"name": "n", "role": "sparse", "encoding": "integer"},
        ]
    )
    texts = ["1"] * 5 + ["1.0"] * 4 + ["2.5"] * 3 + ["true"] * 2
    log = "".join(f"1,{text},{2**53 + 1}\n" for text in texts) + f"1,,{2**53}\n"
    directory = tmp_path_factory.mktemp("words")
    options = oracle.Options(budget=10_000, valid="0", test="0")
    made = stages(find_logs(written(directory, {"a.txt": log}), schema), schema, directory, options)
    return Encoder(made.dataset)


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"s": 1}, (1, 0)),
        ({"s": 1.0}, (2, 0)),
        ({"s": Decimal("1.0")}, (2, 0)),
        ({"s": 2.5}, (3, 0)),
        ({"s": True}, (4, 0)),
        ({"s": np.int64(1), "n": np.int64(2**53 + 1)}, (1, 1)),
        ({"n": 2**53 + 1}, (5, 1)),
        ({"n": Decimal(2**53 + 1)}, (5, 1)),
        ({"n": 2**53}, (5, 2)),
        ({"n": str(2**53 + 1)}, (5, 1)),
        ({"s": pandas.NA, "n": None}, (5, 0)),
    ],
)
@pytest.mark.parametrize(
    "beside", [{"s": 2.5, "n": 7.0}, {"s": "x", "n": "7"}, {"s": 1, "n": 1}, {}]
)
@pytest.mark.parametrize("times", [0, 1, 50])
def test_a_row_has_the_same_ids_whatever_is_beside_it(
    words: Encoder, row: dict[str, Any], expected: tuple[int, int], beside: Any, times: int
) -> None:
    rows = [*[beside] * times, row, *[beside] * times]
    assert words.encode(rows).row(times) == expected
    frame = pandas.DataFrame(
        {name: [row.get(name) for row in rows] for name in ("s", "n")}, dtype=object
    )
    assert words.encode(frame).row(times) == expected


@pytest.mark.parametrize("value", [float(2**53), 2**63, Decimal("1.25"), float("nan")])
@pytest.mark.parametrize("beside", [[], [{"n": 7}] * 50])
def test_a_number_that_is_no_64_bit_integer_is_named(
    words: Encoder, value: Any, beside: list[dict[str, Any]]
) -> None:
    with pytest.raises(DatasetError, match="row 0, column n: not a 64-bit integer"):
        words.encode([{"n": value}, *beside])


def test_nan_is_no_text(words: Encoder) -> None:
    for rows in ([{"s": float("nan")}], pl.DataFrame({"s": [float("nan")]})):
        with pytest.raises(DatasetError, match="row 0, column s: not text: 'nan'"):
            words.encode(rows)


def test_rows_without_a_time_that_nothing_needs_are_encoded(encoder: Encoder) -> None:
    rows = [{"city": "Rome"}, {"time": 5, "city": "Oslo"}, {"city": "Lima"}, {"time": "6"}] * 20
    assert encoder.encode(rows)["city"].to_list() == [2, 1, 5, 3] * 20
    with pytest.raises(DatasetError, match="row 2, column time: not a time of the form unix: 'x'"):
        encoder.encode([*rows[:2], {"time": "x"}, *rows])


def test_a_directory_without_a_data_set_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="not a finished data set"):
        Encoder(tmp_path)


@FEW_EXAMPLES
@given(log=logs())
def test_every_row_of_a_log_is_encoded_as_it_was_prepared(
    tmp_path_factory: pytest.TempPathFactory, log: RandomLog
) -> None:
    files, splits = zip(*((file.plain, file.split) for file in log.files), strict=True)
    right = oracle.prepare(files, splits, log.schema, log.options)
    assume("train" in right.splits)
    directory = tmp_path_factory.mktemp("encoder")
    made = stages(log.find(directory), log.schema, directory, log.options)
    encoder = Encoder(made.dataset)
    tables = {table.name: table for table in right.tables}
    raw = [row for data in files for row in good_rows(data, log)]
    assert len(raw) == len(right.rows)
    multi = [column.multi is not None for column in log.schema.sparse]
    expected = [oracle.encode(row, log.schema, tables)[0][1:] for row in right.rows]
    alone = [cells for row in raw for cells in split_cells(encoder, [row])]
    together = split_cells(encoder, pl.DataFrame(raw, infer_schema_length=None))
    for encoded in (alone, together):
        assert [
            (dense, tuple(tuple(i) if m else i for m, i in zip(multi, ids, strict=True)))
            for dense, ids in encoded
        ] == expected


def good_rows(data: bytes, log: RandomLog) -> list[dict[str, str]]:
    """The fields of the lines that give a row, by name, without the label."""
    lines = data.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    fields = [column.name for column in log.schema.fields]
    if log.schema.header:
        header = lines.pop(0).removesuffix(b"\r").decode()
        fields = oracle.split_fields(header, log.schema)
    rows = []
    for line in lines:
        bare = line.removesuffix(b"\r")
        try:
            oracle.read_line(bare, fields, log.schema)
        except (oracle.MalformedError, UnicodeDecodeError):
            continue
        cells = oracle.split_fields(bare.decode(), log.schema)
        row = dict(zip(fields, cells, strict=True))
        del row[log.schema.label.name]
        rows.append(row)
    return rows
