"""Blocks are whole lines, without gaps, of the size asked for."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fae.format.errors import LogError
from fae.logs.blocks import cut_blocks, read_block
from fae.logs.files import Log, find_logs
from tests.support.small_logs import LABEL, schema_of, written

CITY = {"name": "city", "role": "sparse"}
PLAIN = schema_of([LABEL, CITY])
HEADED = schema_of([LABEL, CITY, {"name": "id", "role": "drop"}], header=True)
LINES = "1,Oslo\n0,Rome\n1,Bonn\n"


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
    compressed = opened(directory, "a.gz", gzip.compress(data, mtime=0))
    (block,) = cut_blocks(compressed, block_bytes)
    runs = list(read_block(block, block_bytes))
    assert b"".join(runs) == data
    assert all(run.endswith(b"\n") for run in runs[:-1])


def test_blocks_exclude_a_byte_order_mark_and_a_header(tmp_path: Path) -> None:
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
