"""Copies of remote files stay within bounds, are fetched once and end with their process."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fae.format.errors import StorageError
from fae.storage.file_cache import FileCache


class Source:
    """Files of ten bytes, and how often each was fetched."""

    def __init__(self) -> None:
        self.fetched: list[str] = []

    def read(self, cache: FileCache, key: str) -> bytes:
        def fetch(path: Path) -> None:
            self.fetched.append(key)
            path.write_bytes(key.encode() * 10)

        with cache.copy(key, 10, fetch) as path:
            return path.read_bytes()


def test_the_copy_used_least_recently_goes_first() -> None:
    source, cache = Source(), FileCache(max_bytes=25)
    for key in "aabacab":
        assert source.read(cache, key) == key.encode() * 10
        assert cache.bytes <= 25
    assert "".join(source.fetched) == "abcb"


def test_only_so_many_copies_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fae.storage.file_cache.MAX_COPIES", 2)
    source, cache = Source(), FileCache()
    for key in "abcabcc":
        assert source.read(cache, key) == key.encode() * 10
        assert cache.bytes <= 20
    assert "".join(source.fetched) == "abcabc"


def test_a_copy_in_use_is_not_dropped() -> None:
    source, cache = Source(), FileCache(max_bytes=10)
    with cache.copy("held", 10, lambda path: path.write_bytes(b"x" * 10)) as held:
        source.read(cache, "a")
        source.read(cache, "b")
        assert held.read_bytes() == b"x" * 10
    source.read(cache, "c")
    assert not held.exists()
    assert cache.bytes == 10


def test_threads_fetch_a_file_once() -> None:
    cache, fetched, barrier = FileCache(), [], threading.Barrier(8)

    def fetch(path: Path) -> None:
        fetched.append(1)
        path.write_bytes(b"x")

    def task(_: int) -> bytes:
        barrier.wait()
        with cache.copy("key", 1, fetch) as path:
            return path.read_bytes()

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(task, range(8))) == [b"x"] * 8
    assert len(fetched) == 1


def test_a_fetch_that_fails_leaves_no_copy() -> None:
    source, cache = Source(), FileCache()

    def fail(path: Path) -> None:
        path.write_bytes(b"half")
        raise StorageError("no")

    with pytest.raises(StorageError, match="no"), cache.copy("a", 10, fail):
        pass
    assert source.read(cache, "a") == b"a" * 10


def test_copies_are_gone_when_the_process_is(tmp_path: Path) -> None:
    program = (
        "from fae.storage.file_cache import FileCache\n"
        "with FileCache().copy('a', 1, lambda path: path.write_bytes(b'x')) as path: print(path)"
    )
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    copy = Path(done.stdout.strip())
    assert tmp_path in copy.parents
    assert not copy.parent.exists()


@pytest.mark.parametrize("fault", ["another user's", "a link", "in a folder of everybody"])
def test_a_folder_that_others_can_change_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    if fault == "another user's":
        user = os.getuid()
        monkeypatch.setattr("os.getuid", lambda: user + 1)
    elif fault == "a link":
        (tmp_path / "elsewhere").mkdir()
        (tmp_path / f"fae-scratch-{os.getuid()}").symlink_to("elsewhere")
    else:
        tmp_path.chmod(0o777)
    with pytest.raises(StorageError, match=r"fae-scratch-\d+ can be changed by other users"):
        Source().read(FileCache(), "a")


def test_a_folder_of_ones_own_is_closed_to_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    (tmp_path / f"fae-scratch-{os.getuid()}").mkdir(mode=0o775)
    assert Source().read(FileCache(), "a") == b"a" * 10
    assert next(tmp_path.iterdir()).stat().st_mode & 0o777 == 0o700
