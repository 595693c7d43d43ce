"""One run at a time writes an output, on a disk and in an object store; a dead run is no run."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from fae.commit import lock as locks
from fae.commit.lock import lock_output
from fae.format.errors import DatasetError
from fae.storage.folder import Folder


@pytest.fixture
def store() -> Folder:
    """A folder of an object store, in this process's memory."""
    return Folder.of(f"memory://{uuid4()}/folder")


@pytest.fixture(params=["disk", "store"])
def folder(request: pytest.FixtureRequest, tmp_path: Path, store: Folder) -> Folder:
    return store if request.param == "store" else Folder.of(tmp_path / "folder")


def test_a_second_run_is_refused_and_told_who_has_the_lock(folder: Folder) -> None:
    out = folder / "out"
    with lock_output(out):
        with (
            pytest.raises(DatasetError, match="another run is writing") as refused,
            lock_output(out),
        ):
            pass
        assert folder.exists("out.lock")
        with lock_output(folder / "other"):
            pass
    assert f"process {os.getpid()} on " in str(refused.value)
    assert ", since 2" in str(refused.value)
    assert f"if that process is dead, remove {folder / 'out.lock'}." in str(refused.value)
    assert folder.list_files() == []
    with lock_output(out):
        pass


def test_a_lock_is_not_taken_from_a_process_of_another_host(folder: Folder) -> None:
    folder.write_text(
        "out.lock", replace(locks._ObjectHolder(), host="elsewhere", born=1.0).to_json()
    )
    with pytest.raises(DatasetError, match="on elsewhere"), lock_output(folder / "out"):
        pass
    assert folder.exists("out.lock")


def test_a_lock_that_was_removed_by_hand_and_taken_by_another_stays_the_others(
    folder: Folder,
) -> None:
    with lock_output(folder / "out"):
        folder.remove(["out.lock"])
        folder.write_text("out.lock", "the other's")
    assert folder.read_text("out.lock") == "the other's"


@pytest.mark.parametrize("dead", [{"pid": 2**22 + 1}, {"born": 1.0}])
def test_in_a_store_the_lock_of_a_dead_process_is_removed(
    store: Folder, dead: dict[str, Any]
) -> None:
    """Its number is of no process (Linux gives none so high), or of one that began later."""
    store.write_text("out.lock", replace(locks._ObjectHolder(), **dead).to_json())
    with lock_output(store / "out"):
        pass
    assert store.list_files() == []


@pytest.mark.parametrize(
    "text",
    [
        *(b"", b"{", b"{}", b"[1]", b'{"pid": 1}', b"[" * 100_000, b"\xff\xfe"),
        b'{"host": "h", "pid": "1", "since": "", "born": "x", "token": ""}',
    ],
)
def test_in_a_store_a_lock_that_names_no_process_is_held(store: Folder, text: bytes) -> None:
    with store.write("out.lock") as path:
        path.write_bytes(text)
    with (
        pytest.raises(DatasetError, match=r"\(unknown\).* remove .*out\.lock"),
        lock_output(store / "out"),
    ):
        pass
    assert store.read_bytes("out.lock") == text


@pytest.mark.parametrize("step", ["_create", "_read"])
@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM])
def test_in_a_store_a_signal_while_a_lock_is_taken_or_released_leaves_none(
    store: Folder, monkeypatch: pytest.MonkeyPatch, step: str, kind: int
) -> None:
    class AskedError(Exception):
        pass

    def asked(*_: object) -> None:
        raise AskedError

    real, before = getattr(locks, step), signal.signal(kind, asked)

    def disturbed(*arguments: Any) -> Any:
        signal.raise_signal(kind)
        result = real(*arguments)
        signal.raise_signal(kind)
        return result

    monkeypatch.setattr(locks, step, disturbed)
    try:
        with pytest.raises(AskedError), lock_output(store / "out"):
            assert step == "_read"
        assert signal.getsignal(kind) is asked
    finally:
        signal.signal(kind, before)
    assert store.list_files() == []
