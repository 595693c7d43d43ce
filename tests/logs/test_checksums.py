"""A log's checksum depends on its bytes alone, all of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from fae.execution.executor import Executor
from fae.logs import checksums as module
from fae.logs.checksums import checksum_logs
from fae.logs.files import find_logs
from fae.storage import remote
from tests.support.small_logs import LABEL, schema_of, written

SCHEMA = schema_of([LABEL, {"name": "city", "role": "sparse"}])
LINES = "1,Oslo\n0,Lima\n" * 50


def checksums_of(directory: Path, *texts: str) -> list[str]:
    paths = written(directory, {f"{i}.csv": text for i, text in enumerate(texts)})
    return checksum_logs(find_logs(paths, SCHEMA), Executor(2))


def test_a_checksum_is_of_the_bytes_alone(tmp_path: Path) -> None:
    one, same, other = checksums_of(tmp_path, LINES, LINES, LINES[::-1])
    assert one == same
    assert one != other
    assert len(one) == 32


def test_a_checksum_does_not_depend_on_how_much_is_read_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = checksums_of(tmp_path, LINES)
    monkeypatch.setattr(remote, "_BUFFER_BYTES", 7)
    assert checksums_of(tmp_path, LINES) == found


@pytest.mark.parametrize("chunk", [1, 7, 100])
def test_every_chunk_counts_in_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    monkeypatch.setattr(module, "_CHUNK_BYTES", chunk)
    swapped = LINES[100:200] + LINES[:100].replace("Oslo", "Rome") + LINES[200:]
    changed = [LINES[:at] + "x" + LINES[at + 1 :] for at in (0, 105, len(LINES) - 2)]
    found = checksums_of(tmp_path, LINES, swapped, LINES[:-1], *changed)
    assert len(set(found)) == len(found)
