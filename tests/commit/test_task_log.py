"""A task log tells a later run what is done, and never what is not."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from pathlib import Path

import pytest
from pydantic import PydanticSchemaGenerationError

from fae.commit.task_log import make_steps, perform_step, read_finished
from fae.execution.executor import Executor
from fae.format.errors import LogError, StorageError
from fae.storage.folder import Folder


@dataclass(frozen=True)
class Sum:
    """Numbers to add up, and a folder that a file of each doing goes to."""

    numbers: tuple[int, ...]
    folder: Path
    fails: bool = False


@dataclass(frozen=True)
class Total:
    value: int
    parts: tuple[tuple[str, int | None], ...]


def total(task: Sum) -> Total:
    if task.fails and not (task.folder / "mended").exists():
        raise LogError("not yet")
    (task.folder / f"did-{sum(task.numbers)}").touch(exist_ok=False)
    return Total(sum(task.numbers), tuple((f"é\n{n}", n or None) for n in task.numbers))


def opaque(task: int) -> memoryview:
    return memoryview(bytes(task))


def kept(task: Sum) -> int:
    with Folder.of(task.folder).write(f"kept-{sum(task.numbers)}") as path:
        path.touch()
    return sum(task.numbers)


def done(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("did-*"))


def entries(output: Path) -> list[Path]:
    return sorted((output / "journal.partial" / "sums").iterdir())


@pytest.fixture
def tasks(tmp_path: Path) -> list[Sum]:
    return [Sum(tuple(range(n)), tmp_path, fails=n == 3) for n in range(1, 6)]


def test_what_is_recorded_is_read_and_not_done_again(tmp_path: Path, tasks: list[Sum]) -> None:
    output = tmp_path / "output"
    Executor(1).run("sums", total, tasks[:2], task_log=output)
    with pytest.raises(LogError, match="not yet"):
        Executor(1).run("sums", total, tasks, task_log=output)
    assert {"did-0", "did-1"} <= set(done(tmp_path)) < {f"did-{n}" for n in (0, 1, 3, 6, 10)}
    (tmp_path / "mended").touch()
    found = Executor(2).run("sums", total, tasks, task_log=output)
    assert [one.value for one in found] == [0, 1, 3, 6, 10]
    assert done(tmp_path) == ["did-0", "did-1", "did-10", "did-3", "did-6"]
    assert Executor(2).run("sums", total, tasks, task_log=output) == found


def test_a_task_whose_result_was_lost_is_read(tmp_path: Path, tasks: list[Sum]) -> None:
    (step,) = make_steps("sums", total, tasks[:1], tmp_path / "output")
    assert perform_step(step) == perform_step(step)
    assert done(tmp_path) == ["did-0"]


@pytest.mark.parametrize("threads", [1, 2])
def test_a_disk_that_fails_a_finished_task_is_told_and_the_task_is_done_again(
    tmp_path: Path, tasks: list[Sum], threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "output"

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr("fae.format.atomic_files.flush", full)
        patch.setattr("fae.commit.task_log.flush", full)
        with pytest.raises(StorageError, match=r"cannot write .*kept-\d: No space left"):
            Executor(threads).run("kept", kept, tasks[:2], task_log=output)
    assert not list(output.rglob("*.json"))
    assert Executor(threads).run("kept", kept, tasks[:2], task_log=output) == [0, 1]
    assert len(list(output.rglob("*.json"))) == 2


def test_a_changed_task_is_done(tmp_path: Path, tasks: list[Sum]) -> None:
    output = tmp_path / "output"
    Executor(1).run("sums", total, tasks[3:4], task_log=output)
    changed = Sum((1, 2, 4), tmp_path)
    (found,) = Executor(1).run("sums", total, [changed], task_log=output)
    assert found.value == 7
    assert len(entries(output)) == 2


@pytest.mark.parametrize("kept", [0, 1, 20, -1])
def test_an_entry_that_is_cut_short_counts_as_not_done(
    tmp_path: Path, tasks: list[Sum], kept: int
) -> None:
    output = tmp_path / "output"
    (right,) = Executor(1).run("sums", total, tasks[3:4], task_log=output)
    (entry,) = entries(output)
    entry.write_bytes(entry.read_bytes()[:kept])
    (tmp_path / "did-6").unlink()
    assert read_finished(make_steps("sums", total, tasks[3:4], output)) == {}
    assert Executor(1).run("sums", total, tasks[3:4], task_log=output) == [right]
    assert done(tmp_path) == ["did-6"]
    assert read_finished(make_steps("sums", total, tasks[3:4], output)) == {0: right}


def test_an_entry_is_text_in_the_form_of_the_functions_result(
    tmp_path: Path, tasks: list[Sum]
) -> None:
    output = tmp_path / "output"
    Executor(1).run("sums", total, tasks[:1], task_log=output)
    (entry,) = entries(output)
    assert entry.read_text(encoding="utf-8") == '{"value":0,"parts":[["é\\n0",null]]}'
    entry.write_text('{"value":"many","parts":[]}')
    assert read_finished(make_steps("sums", total, tasks[:1], output)) == {}


def test_a_result_that_json_cannot_hold_is_not_logged(tmp_path: Path) -> None:
    with pytest.raises(PydanticSchemaGenerationError):
        Executor(1).run("opaque", opaque, [1], task_log=tmp_path)
