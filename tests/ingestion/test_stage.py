"""Staging: rows in = rows out + rejects, each reject with the line number that an editor shows."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given

from fae.execution.executor import Executor
from fae.format.errors import DatasetError, LogError
from fae.ingestion.parameters import IngestParameters
from fae.ingestion.stage import ingest
from fae.ingestion.staging import Staging
from fae.logs.files import find_logs, find_logs_by_split
from tests.support import oracle
from tests.support.random_logs import FEW_EXAMPLES, RandomLog, logs
from tests.support.small_logs import (
    LABEL,
    SHOP,
    SHOP_LOG,
    digests,
    rejects_of,
    schema_of,
    staged,
    staged_rows,
    written,
)

CITY = {"name": "city", "role": "sparse"}
SCHEMA = schema_of([LABEL, CITY])
HEADED = schema_of([LABEL, CITY], header=True)
GOOD = "1,a\n"


def stage(directory: Path, files: dict[str, Any], **options: Any) -> Staging:
    schema = options.pop("schema", SCHEMA)
    found = find_logs(written(directory, files), schema)
    return staged(found, schema, directory / "staging", **options)


@pytest.mark.parametrize("block_bytes", [1, 5, 12, 1000])
def test_lines_are_numbered_across_blocks_and_anew_in_each_file(
    tmp_path: Path, block_bytes: int
) -> None:
    files = {
        "a.txt": "label,city\n1,a\n2,b\n0,c\n\n1,d\n",
        "b.txt": b"\xef\xbb\xbfcity,label\r\na\r\nb,0\r\n\xff,1",
        "c.txt.gz": gzip.compress(b"label,city\n" + b"1,a\n" * 5 + b"x,a\n"),
    }
    staging = stage(tmp_path, files, schema=HEADED, block_bytes=block_bytes)
    found = rejects_of(staging.directory.path / "rejects")
    assert [(r["file"], r["line"], r["column"], r["reason"]) for r in found] == [
        ("a.txt", 3, "label", "the label is not 0 or 1"),
        ("a.txt", 5, None, "the line is empty"),
        ("b.txt", 2, None, "1 fields, not 2"),
        ("b.txt", 4, None, "not UTF-8 at byte 1"),
        ("c.txt.gz", 7, "label", "the label is not 0 or 1"),
    ]
    assert [(log.lines, log.rows, log.rejects) for log in staging.logs] == [
        (5, 3, 2),
        (3, 1, 2),
        (6, 5, 1),
    ]
    assert staging.reasons == {
        "1 fields, not 2": 1,
        "label: the label is not 0 or 1": 2,
        "not UTF-8 at byte 1": 1,
        "the line is empty": 1,
    }


@pytest.mark.parametrize("block_bytes", [1, 9, 1000])
def test_rows_keep_the_order_of_the_lines_in_any_blocks(tmp_path: Path, block_bytes: int) -> None:
    files = {
        f"{name}.txt": "".join(f"{i % 2},{name}{i}\n" for i in range(20)) for name in ("b", "a")
    }
    staging = stage(tmp_path, files, block_bytes=block_bytes)
    assert staged_rows(staging) == [(i % 2, f"{n}{i}") for n in ("b", "a") for i in range(20)]
    assert staging.rows == 40
    sizes = [part.rows for part in staging.parts]
    firsts = [staging.first_row(part) for part in range(len(sizes))]
    assert firsts == [sum(sizes[:i]) for i in range(len(sizes))]


def test_only_the_parts_depend_on_the_blocks(tmp_path: Path) -> None:
    text = SHOP_LOG.replace("c,0", "c,2").replace("Lima", "")
    (tmp_path / "one").mkdir()
    one = stage(tmp_path / "one", {"a.csv": text}, schema=SHOP)
    two = stage(tmp_path / "two", {"a.csv": text}, schema=SHOP, block_bytes=30)
    assert len(one.parts) == 1 < len(two.parts)
    assert staged_rows(one) == staged_rows(two)
    assert (one.logs, one.reasons) == (two.logs, two.reasons)
    assert digests(one.directory.path / "rejects") == digests(two.directory.path / "rejects")


def test_parts_keep_the_split_that_their_file_was_named_for(tmp_path: Path) -> None:
    paths = written(tmp_path, {"a.txt": GOOD, "b.txt": GOOD * 2})
    found = find_logs(paths[:1], SCHEMA) + find_logs(paths[1:], SCHEMA, "test")
    staging = staged(found, SCHEMA, tmp_path / "staging")
    assert [(part.rows, part.split) for part in staging.parts] == [(1, None), (2, "test")]


def test_too_many_malformed_lines_are_an_error_that_lists_them(
    tmp_path: Path,
) -> None:
    text = GOOD * 90 + "2,b\n" * 10
    with pytest.raises(LogError) as caught:
        stage(tmp_path, {"a.txt": text}, max_reject_share=0.099)
    message = str(caught.value)
    assert "10 of 100 lines (10.00%) are malformed" in message
    assert "more than --max-reject-share 0.099 allows" in message
    assert "a.txt, line 91, column label: the label is not 0 or 1" in message
    assert str(tmp_path / "staging.rejects" / "rejects.jsonl") in message
    assert len(rejects_of(tmp_path / "staging.rejects")) == 10
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.txt", "staging.rejects"]


def test_rejects_of_a_former_try_are_removed(tmp_path: Path) -> None:
    with pytest.raises(LogError, match="malformed"):
        stage(tmp_path, {"a.txt": GOOD + "x\n"}, max_reject_share=0)
    assert (tmp_path / "staging.rejects").is_dir()
    stage(tmp_path, {"a.txt": GOOD})
    assert not (tmp_path / "staging.rejects").exists()


def test_the_allowed_share_of_malformed_lines_is_accepted(tmp_path: Path) -> None:
    staging = stage(tmp_path, {"a.txt": GOOD * 90 + "2,b\n" * 10}, max_reject_share=0.1)
    assert (staging.rows, staging.logs[0].rejects) == (90, 10)


def test_by_default_one_line_in_a_thousand_may_be_malformed(tmp_path: Path) -> None:
    assert IngestParameters.of().max_reject_share == 0.001
    share = IngestParameters.of().max_reject_share
    staging = stage(tmp_path, {"a.txt": GOOD * 1998 + "x\ny\n"}, max_reject_share=share)
    assert staging.rows == 1998
    with pytest.raises(LogError, match=r"3 of 2,001 lines"):
        stage(tmp_path / "more", {"a.txt": GOOD * 1998 + "x\ny\nz\n"}, max_reject_share=share)


@pytest.mark.parametrize(("data", "schema"), [("label,city\n", HEADED), (b"\xef\xbb\xbf", SCHEMA)])
def test_logs_without_lines_are_an_error(tmp_path: Path, data: Any, schema: Any) -> None:
    with pytest.raises(LogError, match="hold no rows"):
        stage(tmp_path, {"a.txt": data}, schema=schema)
    assert not (tmp_path / "staging").exists()


def test_a_file_of_malformed_lines_adds_no_rows(tmp_path: Path) -> None:
    staging = stage(tmp_path, {"a.txt": "x\ny\n", "b.txt": GOOD})
    assert staged_rows(staging) == [(1, "a")]
    assert [(log.lines, log.rows) for log in staging.logs] == [(2, 0), (1, 1)]


@pytest.mark.parametrize(
    ("train", "test", "named"),
    [
        (
            GOOD,
            "x\ny\n",
            r"the logs given for test hold no rows: 2 lines, all malformed\. .*b\.txt, line 1",
        ),
        (
            "x\n",
            GOOD,
            r"the logs given for training hold no rows: 1 lines, all malformed\. .*a\.txt",
        ),
    ],
)
def test_logs_given_for_a_split_that_hold_no_rows_are_an_error(
    tmp_path: Path, train: str, test: str, named: str
) -> None:
    paths = written(tmp_path, {"a.txt": train, "b.txt": test})
    logs = find_logs_by_split(paths[:1], [], paths[1:], SCHEMA)
    with pytest.raises(LogError, match=named):
        staged(logs, SCHEMA, tmp_path / "staging")
    assert not (tmp_path / "staging").exists()


def test_a_staging_is_made_once_for_the_same_logs_and_again_for_others(tmp_path: Path) -> None:
    first = stage(tmp_path, {"a.txt": GOOD})
    before = (first.directory.path / "_SUCCESS").stat().st_mtime_ns
    # The limit of malformed lines does not change what is staged.
    assert stage(tmp_path, {"a.txt": GOOD}, max_reject_share=0.5) == first
    assert (first.directory.path / "_SUCCESS").stat().st_mtime_ns == before
    with pytest.raises(DatasetError, match="--overwrite"):
        stage(tmp_path, {"a.txt": GOOD * 2})
    found = find_logs(written(tmp_path, {"a.txt": GOOD * 3}), SCHEMA)
    parameters = IngestParameters.of()
    again = ingest(found, SCHEMA, first.directory, Executor(1), parameters, overwrite=True)
    assert again.rows == 3


@pytest.mark.parametrize("change", ["order", "split", "schema", "name"])
def test_whatever_decides_the_rows_decides_the_fingerprint(tmp_path: Path, change: str) -> None:
    paths = written(tmp_path, {"a.txt": GOOD, "b.txt": GOOD * 2})
    staging = staged(find_logs(paths, SCHEMA), SCHEMA, tmp_path / "staging")
    schema, found = SCHEMA, find_logs(paths, SCHEMA)
    if change == "order":
        found = find_logs(paths[::-1], SCHEMA)
    elif change == "split":
        found = find_logs(paths[:1], SCHEMA) + find_logs(paths[1:], SCHEMA, "valid")
    elif change == "name":
        found = find_logs([paths[0], *written(tmp_path, {"c.txt": GOOD * 2})], SCHEMA)
    else:
        schema = schema_of([LABEL, CITY], embedding={"dim": 8})
    with pytest.raises(DatasetError, match="other inputs or parameters"):
        staged(found, schema, staging.directory)


@pytest.mark.parametrize("typed", [True, False])
def test_a_parquet_log_is_staged_like_the_same_text(tmp_path: Path, typed: bool) -> None:
    schema = SHOP.model_copy(update={"quote": None})
    rows = [line.split(",") for line in SHOP_LOG.splitlines()]
    columns: dict[str, Any] = dict(zip(rows[0], zip(*rows[1:], strict=True), strict=True))
    text = staged_rows(stage(tmp_path, {"a.csv": SHOP_LOG}, schema=schema))
    if typed:
        columns["click"] = [int(one) for one in columns["click"]]
        columns["time"] = [int(one) for one in columns["time"]]
        columns["price"] = [float(one) if one else None for one in columns["price"]]
        columns["city"] = [one or None for one in columns["city"]]
        columns["item"] = [int(one) for one in columns["item"]]
        columns["seen"] = [[int(one) for one in cell.split()] for cell in columns["seen"]]
    table = pa.table({name: pa.array(list(values)) for name, values in columns.items()})
    path = tmp_path / "a.parquet"
    pq.write_table(table, path, row_group_size=7)
    staging = staged(find_logs([str(path)], schema), schema, tmp_path / "parquet")
    assert staged_rows(staging) == text
    assert len(staging.parts) == 3


def test_line_numbers_of_a_parquet_log_are_row_numbers(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    table = pa.table({"label": [1, 0, 2, 1, 3], "city": ["a", "b", "c", "d", "e"]})
    pq.write_table(table, path, row_group_size=2)
    staging = staged(find_logs([str(path)], SCHEMA), SCHEMA, tmp_path / "staging")
    assert [r["line"] for r in rejects_of(staging.directory.path / "rejects")] == [3, 5]


@FEW_EXAMPLES
@given(log=logs())
def test_rows_and_rejects_of_each_log_are_those_of_the_oracle(
    tmp_path_factory: pytest.TempPathFactory, log: RandomLog
) -> None:
    directory = tmp_path_factory.mktemp("staging")
    staging = staged(log.find(directory), log.schema, directory / "staging", block_bytes=64)
    for file, found in zip(log.files, staging.logs, strict=True):
        rows, rejects = oracle.read_log(file.plain, log.schema)
        assert (found.name, found.rows, found.rejects) == (file.name, len(rows), len(rejects))
        assert found.lines == found.rows + found.rejects


def test_a_large_row_group_is_read_in_pieces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fae.ingestion.stage.MAX_ROWS_AT_ONCE", 3)
    rows = pl.DataFrame({"label": [0, 1] * 4, "city": [f"c{i}" for i in range(8)]})
    rows.write_parquet(tmp_path / "a.parquet")
    schema = schema_of([LABEL, {"name": "city", "role": "sparse"}], format="parquet")
    staging = staged(find_logs([str(tmp_path / "a.parquet")], schema), schema, tmp_path / "out")
    assert [part.rows for part in staging.parts] == [3, 3, 2]
    assert staged_rows(staging) == [(row[0], row[1]) for row in rows.iter_rows()]
