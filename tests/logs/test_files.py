"""Logs are found in order, named, and checked against the schema."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fae.format.errors import LogError
from fae.logs.blocks import cut_blocks
from fae.logs.files import find_logs, find_logs_by_split
from fae.logs.forms import find_repeated
from fae.logs.schema import Schema
from tests.support.small_logs import LABEL, schema_of, staged, staged_rows, written

CITY = {"name": "city", "role": "sparse"}
PLAIN = schema_of([LABEL, CITY])
HEADED = schema_of([LABEL, CITY, {"name": "id", "role": "drop"}], header=True)
LINES = "1,Oslo\n0,Rome\n1,Bonn\n"


def refusal(directory: Path, name: str, data: bytes | str, schema: Schema = PLAIN) -> str:
    """The message that a log of these bytes gives when it is found."""
    with pytest.raises(LogError) as caught:
        find_logs(written(directory, {name: data}), schema)
    return str(caught.value)


# ── Finding ──────────────────────────────────────────────────────────────────────────────────────


def test_logs_come_in_the_order_listed_and_glob_matches_sorted(tmp_path: Path) -> None:
    names = ["b10.txt", "b2.txt", "a.txt", "c.txt"]
    written(tmp_path, dict.fromkeys(names, LINES))
    found = find_logs([f"{tmp_path}/c.txt", f"{tmp_path}/b*.txt", f"{tmp_path}/a.txt"], PLAIN)
    assert [log.name for log in found] == ["c.txt", "b10.txt", "b2.txt", "a.txt"]
    assert {log.split for log in found} == {None}


def test_a_log_knows_its_split_size_and_fields(tmp_path: Path) -> None:
    (log,) = find_logs(written(tmp_path, {"a.txt": LINES}), PLAIN, "test")
    assert (log.split, log.bytes, log.fields) == ("test", len(LINES), ("label", "city"))


@pytest.mark.parametrize("pattern", ["none.txt", "none*.txt"])
def test_a_missing_log_is_an_error(tmp_path: Path, pattern: str) -> None:
    with pytest.raises(LogError, match=r"no log found at .*none.*Check the path"):
        find_logs([f"{tmp_path}/{pattern}"], PLAIN)


def test_a_directory_is_an_error_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(LogError, match=r"is a directory\. Name its files: .*/\*"):
        find_logs([str(tmp_path)], PLAIN)


@pytest.mark.parametrize("again", ["a.txt", "./a.txt", "sub/../a.txt", "*.txt"])
def test_a_file_named_twice_is_an_error(tmp_path: Path, again: str) -> None:
    written(tmp_path, {"a.txt": LINES, "sub/b.txt": LINES})
    with pytest.raises(LogError, match=r"a\.txt is named twice"):
        find_logs([f"{tmp_path}/a.txt", f"{tmp_path}/{again}"], PLAIN)


def test_a_pattern_that_is_a_files_name_names_that_file(tmp_path: Path) -> None:
    (log,) = find_logs(written(tmp_path, {"day[1].txt": LINES}), PLAIN)
    assert log.name == "day[1].txt"


def test_an_empty_file_is_an_error(tmp_path: Path) -> None:
    assert "a.txt is empty (0 bytes)" in refusal(tmp_path, "a.txt", b"")


@pytest.mark.parametrize("codec", ["utf-16", "utf-16-be", "utf-16-le"])
def test_utf_16_is_an_error_with_the_remedy(tmp_path: Path, codec: str) -> None:
    data = "\ufeff".encode("utf-16-be" if codec == "utf-16-be" else "utf-16-le")
    data += LINES.encode("utf-16-be" if codec == "utf-16-be" else "utf-16-le")
    assert "a.txt is UTF-16. Convert it: iconv" in refusal(tmp_path, "a.txt", data)


# ── Headers ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("header", "found"),
    [
        ("label,city,id", ("label", "city", "id")),
        ("id,city,label", ("id", "city", "label")),
        ('"city","label",id', ("city", "label", "id")),
        (" label , city,id\r", ("label", "city", "id")),
        ("\ufefflabel,city,id", ("label", "city", "id")),
    ],
)
def test_a_header_names_the_columns_in_any_order(
    tmp_path: Path, header: str, found: tuple[str, ...]
) -> None:
    data = f"{header}\n"
    (log,) = find_logs(written(tmp_path, {"a.txt": data + "1,Oslo,9\n"}), HEADED)
    assert (log.fields, log.start, log.first_line) == (found, len(data.encode()), 2)


@pytest.mark.parametrize(
    ("header", "named"),
    [
        ("label,city", ["the header lacks id", "found: label, city", "'test'"]),
        ("label,town,id", ["lacks city", "found: label, town, id"]),
        ("label,city,id,age", ["the header has age, unknown", "`role: drop`"]),
        ("label,city,id,city", ["the header contains city twice"]),
        ("1,Oslo,9", ["the header lacks label, city, id", "write `header: false`"]),
        ("", ["the header lacks"]),
        ("label;city;id", ["one column where 3 are expected; is it separated by ';'?: label;city"]),
        ("label", ["the header has one column where 3 are expected: label"]),
    ],
)
def test_a_header_that_does_not_fit_is_an_error(
    tmp_path: Path, header: str, named: list[str]
) -> None:
    message = refusal(tmp_path, "a.txt", f"{header}\n1,Oslo,9\n", HEADED)
    for words in ["a.txt", *named]:
        assert words in message


def test_a_header_that_is_not_utf_8_is_an_error(tmp_path: Path) -> None:
    message = refusal(tmp_path, "a.txt", b"label,cit\xff,id\n", HEADED)
    assert "a.txt, line 1: the header is not UTF-8" in message


def test_carriage_returns_as_line_breaks_are_an_error(tmp_path: Path) -> None:
    assert "a.txt" in refusal(tmp_path, "a.txt", "label,city,id\r1,Oslo,9\r", HEADED)


def test_columns_are_found_by_name_in_each_file(tmp_path: Path) -> None:
    files = {"a.txt": "label,city,id\n1,Oslo,9\n", "b.txt": "city,id,label\nRome,9,0\n"}
    staging = staged(find_logs(written(tmp_path, files), HEADED), HEADED, tmp_path / "staging")
    assert staged_rows(staging) == [(1, "Oslo"), (0, "Rome")]


# ── Parquet ──────────────────────────────────────────────────────────────────────────────────────


def parquet(directory: Path, columns: dict[str, object], **options: object) -> str:
    path = directory / "a.parquet"
    pq.write_table(pa.table(columns), path, **options)
    return str(path)


def test_a_parquet_log_is_read_by_row_groups(tmp_path: Path) -> None:
    columns = {"city": ["Oslo", "Rome", None], "more": [1, 2, 3], "label": [1, 0, 1]}
    (log,) = find_logs([parquet(tmp_path, columns, row_group_size=2)], PLAIN)
    assert [(block.start, block.stop) for block in cut_blocks(log)] == [(0, 1), (1, 2)]
    staging = staged([log], PLAIN, tmp_path / "staging")
    assert staged_rows(staging) == [(1, "Oslo"), (0, "Rome"), (1, None)]
    assert staging.logs[0].lines == 3


def test_a_parquet_log_that_lacks_a_column_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(LogError, match=r"the columns lack city; found: label"):
        find_logs([parquet(tmp_path, {"label": [1]})], PLAIN)


def test_a_truncated_parquet_log_is_an_error(tmp_path: Path) -> None:
    path = Path(parquet(tmp_path, {"label": [1], "city": ["Oslo"]}))
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(LogError, match=r"a\.parquet is not a valid Parquet file"):
        find_logs([str(path)], PLAIN)


def test_a_damaged_parquet_log_is_an_error(tmp_path: Path) -> None:
    path = Path(parquet(tmp_path, {"label": [1] * 50, "city": ["Oslo"] * 50}))
    data = bytearray(path.read_bytes())
    data[8:40] = b"\xff" * 32
    path.write_bytes(data)
    with pytest.raises(LogError, match=r"a\.parquet is damaged"):
        staged(find_logs([str(path)], PLAIN), PLAIN, tmp_path / "staging")


# ── Logs of all splits ───────────────────────────────────────────────────────────────────────────


def test_logs_are_named_by_their_path_below_the_common_directory(tmp_path: Path) -> None:
    written(tmp_path, {"a/day.txt": LINES, "b/day.txt": LINES, "b/c/day.txt": LINES})
    logs = find_logs_by_split(
        [f"{tmp_path}/a/day.txt"], [f"{tmp_path}/b/day.txt"], [f"{tmp_path}/b/c/day.txt"], PLAIN
    )
    assert [log.name for log in logs] == ["a/day.txt", "b/day.txt", "b/c/day.txt"]
    assert [log.split for log in logs] == [None, "valid", "test"]
    (alone,) = find_logs_by_split([f"{tmp_path}/a/day.txt"], [], [], PLAIN)
    assert alone.name == "day.txt"


def test_a_file_named_for_two_splits_is_an_error(tmp_path: Path) -> None:
    written(tmp_path, {"a.txt": LINES})
    with pytest.raises(LogError, match=r"a\.txt is named twice"):
        find_logs_by_split([f"{tmp_path}/a.txt"], [], [f"{tmp_path}/a.txt"], PLAIN)


def test_repetitions_are_found_in_one_pass() -> None:
    names = [f"x{i}" for i in range(100_000)]
    assert find_repeated([*names, "x7", "x3", "x7"]) == ["x3", "x7"]
