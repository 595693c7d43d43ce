"""Folders on a disk and behind URLs are used in the same way."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pyarrow as pa
import pytest

from fae.format.errors import StorageError
from fae.storage.folder import Folder
from fae.storage.remote import open_file, redact_url
from tests.support.object_store import KEY, SECRET, asked, forget, object_store


@pytest.fixture(scope="module")
def store() -> Iterator[str]:
    with object_store() as endpoint:
        yield endpoint


@pytest.fixture(params=["disk", "s3"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Folder:
    """An empty folder, which is not there yet."""
    if request.param == "disk":
        return Folder.of(tmp_path / "new")
    request.getfixturevalue("store")
    return Folder.of(f"s3://data/{tmp_path.name}")


def half_written(folder: Folder) -> None:
    with folder.write("a/file") as path:
        path.write_text("half")
        raise ValueError("no")


# ── Disk or object store ─────────────────────────────────────────────────────────────────────────


def test_what_is_written_is_read(folder: Folder) -> None:
    assert folder.list_files() == []
    assert not folder.exists("a/file")
    with folder.write("a/file") as path:
        path.write_bytes(b"bytes")
        assert not folder.exists("a/file")
    folder.write_text("é.txt", "日本")
    assert folder.list_files() == ["a/file", "é.txt"]
    assert (folder / "a").list_files() == ["file"]
    assert (folder / "a").exists("file")
    assert folder.read_text("é.txt") == "日本"
    with folder.read("a/file") as path:
        assert path.read_bytes() == b"bytes"


def test_a_file_is_replaced_and_the_new_one_is_read(folder: Folder) -> None:
    for text in ("one", "two"):  # of one length, in one second
        folder.write_text("file", text)
        with folder.read("file") as path:
            assert path.read_text() == text
    assert folder.list_files() == ["file"]


def test_a_file_whose_writing_fails_does_not_appear(folder: Folder) -> None:
    folder.write_text("a/file", "whole")
    with pytest.raises(ValueError, match="no"):
        half_written(folder)
    assert folder.list_files() == ["a/file"]
    assert folder.read_text("a/file") == "whole"


def test_several_may_write_one_file(folder: Folder) -> None:
    with folder.write("file") as first, folder.write("file") as second:
        first.write_text("x")
        second.write_text("x")
        assert not folder.exists("file")
    assert folder.read_text("file") == "x"
    assert folder.list_files() == ["file"]


def test_what_is_not_there_is_not_found(folder: Folder) -> None:
    folder.write_text("file", "")
    for name in ("other", "fil", "file/below"):
        assert not folder.exists(name)
        with pytest.raises(OSError, match=r"(?i)no such|not|dir"):
            folder.read_text(name)


def test_a_neighbour_whose_name_begins_alike_is_not_in_the_folder(folder: Folder) -> None:
    folder.beside(".work").write_text("file", "")
    folder.write_text("mine", "")
    assert folder.list_files() == ["mine"]


def test_an_object_is_created_once() -> None:
    folder = Folder.of(f"memory://{uuid4()}/folder")
    assert folder.create("lock", "one")
    assert not folder.create("lock", "two")
    assert folder.read_text("lock") == "one"


def test_files_are_removed_those_that_are_there(folder: Folder) -> None:
    for name in ("a/one", "a/two", "three"):
        folder.write_text(name, name)
    folder.remove(["a/one", "three"])
    assert folder.list_files() == ["a/two"]
    folder.remove([])
    assert folder.list_files() == ["a/two"]


def test_arrow_reads_pieces(folder: Folder) -> None:
    schema = pa.schema([("x", pa.int64())])
    with folder.write("x.arrow") as path, pa.ipc.new_file(str(path), schema) as writer:
        for number in range(3):
            writer.write_batch(pa.record_batch([pa.array([number] * 1000)], schema=schema))
    with folder.open("x.arrow") as source:
        batch = pa.ipc.open_file(source).get_batch(1)
    assert batch.column(0).to_pylist() == [1] * 1000


def test_a_mapped_file_outlives_the_block(folder: Folder) -> None:
    folder.write_text("file", "mapped")
    with folder.read("file") as path, pa.memory_map(str(path)) as source:
        buffer = source.read_buffer()
    assert buffer.to_pybytes() == b"mapped"


def test_a_forgotten_file_is_still_there(folder: Folder) -> None:
    folder.write_text("some/file", "text")
    folder.forget("some/file")
    assert folder.read_text("some/file") == "text"


def test_the_state_of_a_local_file_changes_with_it(tmp_path: Path) -> None:
    folder = Folder.of(tmp_path)
    assert folder.read_state("file") == ()
    folder.write_text("file", "one")
    before = folder.read_state("file")
    assert folder.read_state("file") == before
    folder.write_text("file", "two")
    assert folder.read_state("file") != before


def test_a_folder_is_its_url(folder: Folder) -> None:
    assert Folder.of(str(folder)) == folder
    assert Folder.of(f"{folder}/") == folder
    assert Folder.of(str(folder / "a")) == folder / "a"


# ── Local files stay where they are ──────────────────────────────────────────────────────────────


def test_a_local_file_is_read_in_its_place(tmp_path: Path) -> None:
    folder = Folder.of(f"file://{tmp_path}")
    folder.write_text("file", "x")
    with folder.read("file") as path:
        assert path == tmp_path / "file"


def test_a_killed_writer_leaves_no_file_of_that_name(tmp_path: Path) -> None:
    program = (
        "import os; from fae.storage.folder import Folder\n"
        f"with Folder.of({str(tmp_path)!r}).write('file') as path:\n"
        "    path.write_text('half'); os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == -9
    (left,) = Folder.of(tmp_path).list_files()
    assert left.startswith("file.")
    assert left.endswith(".partial")


# ── Remote files ─────────────────────────────────────────────────────────────────────────────────


def test_a_remote_file_is_read_by_ranges(store: str) -> None:
    data = os.urandom(3 << 20)
    with Folder.of("s3://data/ranges").write("file") as path:
        path.write_bytes(data)
    before = asked(store, "/faults")["answered"]
    with open_file("s3://data/ranges/file") as stream:
        assert stream.seek(-5, os.SEEK_END) == len(data) - 5
        assert stream.read() == data[-5:]
        stream.seek(1000)
        assert stream.read(2 << 20) == data[1000 : 1000 + (2 << 20)]
    assert asked(store, "/faults")["answered"] - before <= 6


def test_a_whole_bucket_has_no_place_beside_it() -> None:
    with pytest.raises(StorageError, match=r"s3://data is a whole bucket\. Name a folder"):
        Folder.of("s3://data/").beside(".work")


def test_a_missing_bucket_is_named(store: str) -> None:
    with pytest.raises(StorageError, match=r"cannot write to s3://missing/out: .*bucket"):
        Folder.of("s3://missing/out").write_text("file", "")


def test_an_unknown_protocol_is_the_users_mistake() -> None:
    with pytest.raises(StorageError, match="nonsense"):
        Folder.of("nonsense://data/out").exists("file")


def test_wrong_credentials_are_told_at_once(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "wrong")
    forget()
    with pytest.raises(StorageError, match=r"s3://data/out/file: .*\. Check the cred") as e:
        Folder.of("s3://data/out").read_text("file")
    forget()
    assert "\n" not in str(e.value)
    assert SECRET not in str(e.value)


def test_no_credentials_are_told(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    forget()
    with pytest.raises(StorageError, match=r"locate credentials\. Check the credentials"):
        Folder.of("s3://data/out").write_text("file", "")
    forget()


@pytest.mark.parametrize("url", [f"s3://{KEY}:{SECRET}@data/out", f"ftp://me:{SECRET}@host/x"])
def test_a_password_in_a_url_is_refused_and_not_repeated(url: str) -> None:
    for use in (Folder.of, open_file):
        with pytest.raises(StorageError, match=r"carries a user or a password") as error:
            use(url)
        assert SECRET not in str(error.value)


def test_the_query_of_a_web_address_is_not_shown() -> None:
    assert redact_url(f"https://host/a.tsv?sig={SECRET}") == "https://host/a.tsv"
    assert redact_url("s3://data/a?.tsv") == "s3://data/a?.tsv"
