"""Compressed logs give the rows of plain ones, and damaged ones are errors."""

from __future__ import annotations

import gzip
from pathlib import Path

import pyarrow as pa
import pytest

from fae.format.errors import LogError
from fae.logs.files import find_logs
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


COMPRESSED = {
    "a.txt": LINES.encode(),
    "a.csv.gz": gzip.compress(LINES.encode()),
    "a.csv.zst": zstd(LINES),
    "a.zstd": zstd(LINES),
    "members.gz": gzip.compress(LINES[:9].encode()) + gzip.compress(LINES[9:].encode()),
    "frames.zst": zstd(LINES[:9]) + zstd(LINES[9:]),
}


@pytest.mark.parametrize("name", COMPRESSED)
def test_every_compression_gives_the_same_rows(tmp_path: Path, name: str) -> None:
    assert rows_of(tmp_path, name, COMPRESSED[name]) == [(1, "Oslo"), (0, "Rome"), (1, "Bonn")]


def test_a_compressed_log_may_have_a_header_and_a_byte_order_mark(tmp_path: Path) -> None:
    data = gzip.compress("\ufefflabel,city,id\n1,Oslo,9\n".encode())
    assert rows_of(tmp_path, "a.gz", data, HEADED) == [(1, "Oslo")]


@pytest.mark.parametrize("lines", [3, 300_000])
@pytest.mark.parametrize("suffix", ["gz", "zst"])
def test_a_truncated_compressed_log_is_an_error(tmp_path: Path, suffix: str, lines: int) -> None:
    text = "".join(f"1,city {i}\n" for i in range(lines))
    compressed = gzip.compress(text.encode(), 1) if suffix == "gz" else zstd(text)
    paths = written(tmp_path, {f"a.{suffix}": compressed[: -len(compressed) // 3]})
    with pytest.raises(LogError, match=rf"a\.{suffix} is damaged or truncated") as caught:
        staged(find_logs(paths, PLAIN), PLAIN, tmp_path / "staging")
    assert {"gz": "gzip -t", "zst": "zstd -t"}[suffix] in str(caught.value)
    assert not (tmp_path / "staging").exists()


@pytest.mark.parametrize("name", ["a.gz", "a.zst"])
def test_a_log_not_compressed_as_its_name_says_is_an_error(tmp_path: Path, name: str) -> None:
    assert name in refusal(tmp_path, name, LINES)
