"""One run at a time makes an output; a dead run is no run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from fae.commit import lock as locks
from fae.commit.lock import Holder, lock_output
from fae.format.errors import DatasetError
from tests.support.project import PYTHONPATH


def hold(path: Path, holder: Holder) -> Path:
    """The lock file of an output at `path` that `holder` has."""
    lock = path.with_name(f"{path.name}.lock")
    lock.write_text(json.dumps(asdict(holder)))
    return lock


def test_a_second_run_is_refused_and_told_who_has_it(tmp_path: Path) -> None:
    me = Holder.me()
    with lock_output(tmp_path / "out"):
        with (
            pytest.raises(DatasetError, match="another run is making") as refused,
            lock_output(tmp_path / "out"),
        ):
            pass
        assert (tmp_path / "out.lock").exists()
        with lock_output(tmp_path / "other"):
            pass
    assert f"process {me.pid} on {me.host}, since 2" in str(refused.value)
    assert f"if it is dead, remove {tmp_path / 'out.lock'}." in str(refused.value)
    assert list(tmp_path.iterdir()) == []
    with lock_output(tmp_path / "out"):
        pass


def test_the_lock_of_a_killed_process_is_taken_over(tmp_path: Path) -> None:
    program = (
        "import sys, time; from pathlib import Path; from fae.commit.lock import lock_output\n"
        "with lock_output(Path(sys.argv[1])): print(flush=True); time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, tmp_path / "out"],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": PYTHONPATH},
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        with (
            pytest.raises(DatasetError, match=f"process {process.pid}"),
            lock_output(tmp_path / "out"),
        ):
            pass
        process.kill()
    assert (tmp_path / "out.lock").exists()
    with lock_output(tmp_path / "out"):
        assert json.loads((tmp_path / "out.lock").read_text())["pid"] == os.getpid()
    assert list(tmp_path.iterdir()) == []


def test_a_process_that_got_a_dead_ones_number_does_not_hold_its_lock(tmp_path: Path) -> None:
    hold(tmp_path / "out", replace(Holder.me(), born=1.0))
    with lock_output(tmp_path / "out"):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["", "{", "{}", "[1]", json.dumps({"pid": 1})])
def test_a_lock_that_tells_nothing_is_a_lock(tmp_path: Path, text: str) -> None:
    (tmp_path / "out.lock").write_text(text)
    with pytest.raises(DatasetError, match=r"remove .*out\.lock"), lock_output(tmp_path / "out"):
        pass
    assert (tmp_path / "out.lock").read_text() == text


def test_nothing_is_known_of_the_processes_of_another_host(tmp_path: Path) -> None:
    lock = hold(tmp_path / "out", replace(Holder.me(), host="elsewhere", born=1.0))
    with pytest.raises(DatasetError, match="on elsewhere"), lock_output(tmp_path / "out"):
        pass
    assert lock.exists()


def test_a_lock_that_was_cleared_by_hand_and_taken_by_another_stays_the_others(
    tmp_path: Path,
) -> None:
    with lock_output(tmp_path / "out"):
        lock = hold(tmp_path / "out", replace(Holder.me(), host="elsewhere"))
    assert lock.exists()


@pytest.mark.parametrize("step", ["_created", "_text"])
@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_a_lock_is_taken_or_released_leaves_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, kind: int
) -> None:
    class AskedError(Exception):
        pass

    def asked(*_: object) -> None:
        raise AskedError

    real, before = getattr(locks, step), signal.signal(kind, asked)

    def disturbed(*arguments: Any) -> Any:
        signal.raise_signal(kind)
        found = real(*arguments)
        signal.raise_signal(kind)
        return found

    monkeypatch.setattr(locks, step, disturbed)
    try:
        with pytest.raises(AskedError), lock_output(tmp_path / "out"):
            assert step == "_text"
        assert signal.getsignal(kind) is asked
    finally:
        signal.signal(kind, before)
    assert list(tmp_path.iterdir()) == []
