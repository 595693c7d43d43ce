"""One process at a time holds a lock file; one that has ended holds none."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fae.format import file_lock
from fae.format.file_lock import Holder, LockedError, hold_lock
from tests.support.project import PYTHONPATH


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "folder" / "lock"


def test_a_second_block_is_refused_and_told_who_holds_the_lock(path: Path) -> None:
    with hold_lock(path):
        with pytest.raises(LockedError, match=r"on .*, since 2") as refused, hold_lock(path):
            pass
        with hold_lock(path.with_name("other")):
            pass
    assert refused.value.holder is not None
    assert refused.value.holder.pid == os.getpid()
    assert list(path.parent.iterdir()) == []
    with hold_lock(path):
        pass


def test_the_lock_of_a_killed_process_is_free(path: Path) -> None:
    program = (
        "import sys, time; from pathlib import Path; from fae.format.file_lock import hold_lock\n"
        "with hold_lock(Path(sys.argv[1])): print(flush=True); time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, path],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": PYTHONPATH},
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        with pytest.raises(LockedError, match=f"process {process.pid} "), hold_lock(path):
            pass
        process.kill()
    assert path.exists()
    with hold_lock(path):
        assert json.loads(path.read_text())["pid"] == os.getpid()
    assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize("text", [b"", b"{", b"{}", b"[1]", b"\xff\xfe", b"[" * 100_000])
def test_a_file_that_no_process_holds_is_no_lock(path: Path, text: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(text)
    with hold_lock(path):
        pass
    assert not path.exists()


def test_the_file_of_a_process_on_another_host_is_a_lock(path: Path) -> None:
    path.parent.mkdir()
    path.write_text(replace(Holder(), host="elsewhere").to_json())
    with pytest.raises(LockedError, match="on elsewhere"), hold_lock(path):
        pass
    assert path.exists()


def test_on_a_file_system_without_locks_the_file_is_the_lock(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with hold_lock(path), pytest.raises(LockedError, match="process"), hold_lock(path):
        pass
    with hold_lock(path):
        pass


def test_a_lock_that_was_removed_by_hand_and_taken_by_another_stays_the_others(path: Path) -> None:
    with hold_lock(path):
        path.unlink()
        path.write_text("the other's")
    assert path.read_text() == "the other's"


def test_a_file_that_its_holder_removes_just_then_is_made_anew(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, removed = fcntl.flock, []

    def flock(*arguments: Any) -> None:
        if not removed:
            removed.append(path.unlink())
        real(*arguments)

    monkeypatch.setattr(fcntl, "flock", flock)
    with hold_lock(path):
        assert json.loads(path.read_text())["pid"] == os.getpid()


@pytest.mark.parametrize("step", ["_acquire", "_release"])
@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_a_lock_is_taken_or_released_leaves_none(
    path: Path, monkeypatch: pytest.MonkeyPatch, step: str, kind: int
) -> None:
    class AskedError(Exception):
        pass

    def asked(*_: object) -> None:
        raise AskedError

    real, before = getattr(file_lock, step), signal.signal(kind, asked)

    def disturbed(*arguments: Any) -> Any:
        signal.raise_signal(kind)
        result = real(*arguments)
        signal.raise_signal(kind)
        return result

    monkeypatch.setattr(file_lock, step, disturbed)
    try:
        with pytest.raises(AskedError), hold_lock(path):
            assert step == "_release"
        assert signal.getsignal(kind) is asked
    finally:
        signal.signal(kind, before)
    assert list(path.parent.iterdir()) == []
