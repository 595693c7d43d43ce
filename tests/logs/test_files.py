"""Logs: found in order, opened whatever their packing, cut at line ends without gaps."""

from __future__ import annotations

import gzip
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fae.format.errors import LogError
from fae.logs.blocks import cut_blocks, read_block
from fae.logs.files import Log, find_logs, find_logs_by_split
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


def rows_of(directory: Path, name: str, data: bytes | str, schema: Schema = PLAIN) -> list[object]:
    """The staged rows of one log."""
    logs = find_logs(written(directory, {name: data}), schema)
    return list(staged_rows(staged(logs, schema, directory / "staging")))


def zstd(data: str) -> bytes:
    return bytes(pa.compress(data.encode(), codec="zstd", asbytes=True))


# ── Finding ──────────────────────────────────────────────────────────────────────────────────────


def test_logs_come_in_the_order_given_and_globs_by_name(tmp_path: Path) -> None:
    names = ["b10.txt", "b2.txt", "a.txt", "c.txt"]
    written(tmp_path, dict.fromkeys(names, LINES))
    found = find_logs([f"{tmp_path}/c.txt", f"{tmp_path}/b*.txt", f"{tmp_path}/a.txt"], PLAIN)
    assert [log.name for log in found] == ["c.txt", "b10.txt", "b2.txt", "a.txt"]
    assert {log.split for log in found} == {None}


def test_a_split_is_noted(tmp_path: Path) -> None:
    (log,) = find_logs(written(tmp_path, {"a.txt": LINES}), PLAIN, "test")
    assert (log.split, log.bytes, log.fields) == ("test", len(LINES), ("label", "city"))


@pytest.mark.parametrize("pattern", ["none.txt", "none*.txt"])
def test_a_log_that_is_not_there_is_an_error(tmp_path: Path, pattern: str) -> None:
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


def test_a_name_with_brackets_is_a_file_where_there_is_one(tmp_path: Path) -> None:
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
        ("1,Oslo,9", ["the header lacks label, city, id"]),
        ("", ["the header lacks"]),
        ("label;city;id", ["the header lacks"]),
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


def test_line_ends_of_an_old_macintosh_are_an_error(tmp_path: Path) -> None:
    assert "a.txt" in refusal(tmp_path, "a.txt", "label,city,id\r1,Oslo,9\r", HEADED)


def test_columns_are_found_by_name_in_each_file(tmp_path: Path) -> None:
    files = {"a.txt": "label,city,id\n1,Oslo,9\n", "b.txt": "city,id,label\nRome,9,0\n"}
    staging = staged(find_logs(written(tmp_path, files), HEADED), HEADED, tmp_path / "staging")
    assert staged_rows(staging) == [(1, "Oslo"), (0, "Rome")]


# ── Packing ──────────────────────────────────────────────────────────────────────────────────────


PACKED = {
    "a.txt": LINES.encode(),
    "a.csv.gz": gzip.compress(LINES.encode()),
    "a.csv.zst": zstd(LINES),
    "a.zstd": zstd(LINES),
    "members.gz": gzip.compress(LINES[:9].encode()) + gzip.compress(LINES[9:].encode()),
    "frames.zst": zstd(LINES[:9]) + zstd(LINES[9:]),
}


@pytest.mark.parametrize("name", PACKED)
def test_every_packing_holds_the_same_rows(tmp_path: Path, name: str) -> None:
    assert rows_of(tmp_path, name, PACKED[name]) == [(1, "Oslo"), (0, "Rome"), (1, "Bonn")]


def test_a_packed_log_may_have_a_header_and_a_byte_order_mark(tmp_path: Path) -> None:
    data = gzip.compress("\ufefflabel,city,id\n1,Oslo,9\n".encode())
    assert rows_of(tmp_path, "a.gz", data, HEADED) == [(1, "Oslo")]


@pytest.mark.parametrize("lines", [3, 300_000])
@pytest.mark.parametrize("suffix", ["gz", "zst"])
def test_a_packed_log_that_is_cut_short_is_an_error(
    tmp_path: Path, suffix: str, lines: int
) -> None:
    text = "".join(f"1,city {i}\n" for i in range(lines))
    packed = gzip.compress(text.encode(), 1) if suffix == "gz" else zstd(text)
    paths = written(tmp_path, {f"a.{suffix}": packed[: -len(packed) // 3]})
    with pytest.raises(LogError, match=rf"a\.{suffix} is damaged or truncated") as caught:
        staged(find_logs(paths, PLAIN), PLAIN, tmp_path / "staging")
    assert {"gz": "gzip -t", "zst": "zstd -t"}[suffix] in str(caught.value)
    assert not (tmp_path / "staging").exists()


@pytest.mark.parametrize("name", ["a.gz", "a.zst"])
def test_a_log_that_is_not_packed_as_its_name_says_is_an_error(tmp_path: Path, name: str) -> None:
    assert name in refusal(tmp_path, name, LINES)


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


def test_a_parquet_log_that_is_cut_short_is_an_error(tmp_path: Path) -> None:
    path = Path(parquet(tmp_path, {"label": [1], "city": ["Oslo"]}))
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(LogError, match=r"a\.parquet is not a valid Parquet file"):
        find_logs([str(path)], PLAIN)


def test_a_parquet_log_that_is_damaged_inside_is_an_error(tmp_path: Path) -> None:
    path = Path(parquet(tmp_path, {"label": [1] * 50, "city": ["Oslo"] * 50}))
    data = bytearray(path.read_bytes())
    data[8:40] = b"\xff" * 32
    path.write_bytes(data)
    with pytest.raises(LogError, match=r"a\.parquet is damaged"):
        staged(find_logs([str(path)], PLAIN), PLAIN, tmp_path / "staging")


# ── Blocks ───────────────────────────────────────────────────────────────────────────────────────


def opened(directory: Path, name: str, data: bytes) -> Log:
    (log,) = find_logs(written(directory, {name: data}), PLAIN)
    return log


@given(
    lines=st.lists(st.text("ab,", max_size=9), min_size=1, max_size=20),
    end=st.sampled_from(["\n", "\r\n"]),
    last=st.booleans(),
    block_bytes=st.integers(1, 60),
)
def test_blocks_are_whole_lines_without_gaps(
    tmp_path_factory: pytest.TempPathFactory,
    lines: list[str],
    end: str,
    last: bool,
    block_bytes: int,
) -> None:
    directory = tmp_path_factory.mktemp("blocks")
    data = (end.join(lines) + (end if last else "x")).encode()
    log = opened(directory, "a.txt", data)
    found = cut_blocks(log, block_bytes)
    assert [block.start for block in found[1:]] == [block.stop for block in found[:-1]]
    pieces = [bytes(text) for block in found for text in read_block(block, block_bytes)]
    assert b"".join(pieces) == data
    assert all(piece.endswith(b"\n") for piece in pieces[:-1])
    longest = max(len(line) for line in data.split(b"\n")) + 1
    assert all(len(piece) <= block_bytes + longest for piece in pieces)
    packed = opened(directory, "a.gz", gzip.compress(data, mtime=0))
    (block,) = cut_blocks(packed, block_bytes)
    runs = list(read_block(block, block_bytes))
    assert b"".join(runs) == data
    assert all(run.endswith(b"\n") for run in runs[:-1])


def test_blocks_leave_out_a_byte_order_mark_and_a_header(tmp_path: Path) -> None:
    data = "\ufefflabel,city,id\n1,Oslo,9\n0,Rome,9\n".encode()
    (log,) = find_logs(written(tmp_path, {"a.txt": data}), HEADED)
    pieces = [bytes(text) for block in cut_blocks(log, 1) for text in read_block(block)]
    assert pieces == [b"1,Oslo,9\n", b"0,Rome,9\n"]


def test_a_log_that_shrinks_while_it_is_read_is_an_error(tmp_path: Path) -> None:
    log = opened(tmp_path, "a.txt", LINES.encode())
    found = cut_blocks(log)
    (tmp_path / "a.txt").write_bytes(b"1,Oslo\n")
    with pytest.raises(LogError, match=r"a\.txt shrank while it was read"):
        list(read_block(found[0]))


# ── Logs of all splits ───────────────────────────────────────────────────────────────────────────


def test_logs_are_named_below_the_folder_that_holds_them_all(tmp_path: Path) -> None:
    written(tmp_path, {"a/day.txt": LINES, "b/day.txt": LINES, "b/c/day.txt": LINES})
    logs = find_logs_by_split(
        [f"{tmp_path}/a/day.txt"], [f"{tmp_path}/b/day.txt"], [f"{tmp_path}/b/c/day.txt"], PLAIN
    )
    assert [log.name for log in logs] == ["a/day.txt", "b/day.txt", "b/c/day.txt"]
    assert [log.split for log in logs] == [None, "valid", "test"]
    (alone,) = find_logs_by_split([f"{tmp_path}/a/day.txt"], [], [], PLAIN)
    assert alone.name == "day.txt"


def test_a_file_of_two_splits_is_an_error(tmp_path: Path) -> None:
    written(tmp_path, {"a.txt": LINES})
    with pytest.raises(LogError, match=r"a\.txt is named twice"):
        find_logs_by_split([f"{tmp_path}/a.txt"], [], [f"{tmp_path}/a.txt"], PLAIN)
