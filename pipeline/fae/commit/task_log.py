"""Journals: the results of finished tasks, kept in an unfinished output until it is whole.

A run that dies leaves its output's journal behind, and the next run of the same stage reads there
what need not be done again. A task's files are whole before its entry is written, and an entry is
found by the content of its task, so nothing is taken for done that is not.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, Generic, TypeVar, get_type_hints

from pydantic import TypeAdapter, ValidationError

from fae.format.atomic_files import flush, flushes_deferred
from fae.format.errors import disk_errors_reported
from fae.storage.folder import Folder, FolderLike

Task = TypeVar("Task")
Result = TypeVar("Result")

#: Has a call be made soon, by another thread.
Later = Callable[[Callable[[], None]], None]
#: The journal's folder in an unfinished output; what is so named is gone once that is whole.
FOLDER = "journal.partial"


@dataclass(frozen=True)
class Step(Generic[Task, Result]):
    """One task to do, whose result goes to the file `entry` unless that is None."""

    function: Callable[[Task], Result]
    task: Task
    entry: str | None


def make_steps(
    stage: str, function: Callable[[Task], Result], tasks: Sequence[Task], output: FolderLike | None
) -> list[Step[Task, Result]]:
    """The steps of a stage, recorded in the journal of the unfinished `output` if one is given.

    A journaled function is one of a module, annotated with a type that pydantic can write as JSON.
    """
    if output is None:
        return [Step(function, task, None) for task in tasks]
    folder = Folder.of(output) / FOLDER / stage
    return [Step(function, task, str(folder / _name(task))) for task in tasks]


def read_finished(of: Sequence[Step[Task, Result]]) -> dict[int, Result]:
    """The results of those steps, by their number, that an earlier run has recorded."""
    folders = {Folder(step.entry).parent for step in of if step.entry}
    known = {str(folder / name) for folder in folders for name in folder.list_files()}
    found: dict[int, Result] = {}
    for number, step in enumerate(of):
        if step.entry in known:
            result = _read(step)
            if result is not None:
                found[number] = result.value
    return found


def perform_step(step: Step[Task, Result], later: Later | None = None) -> Result:
    """Do a step where it has not been done, and record its result; files first, entry last.

    With `later`, which is to call what it is given, the thread need not wait for the disk. A
    cluster does a task again when the worker that held its result is lost: then it is read.
    """
    done = _read(step)
    if done is not None:
        return done.value
    if later is None or step.entry is None:
        result = step.function(step.task)
        _record(step, result, [])
        return result
    with flushes_deferred() as files:
        result = step.function(step.task)
    later(partial(_record, step, result, files))
    return result


def _record(step: Step[Task, Result], result: Result, files: Sequence[Path]) -> None:
    """Have the disk hold a step's files, and then its entry."""
    for file in files:
        with disk_errors_reported(file):
            flush(file)
    if step.entry is not None:
        entry = Folder(step.entry)
        entry.parent.write_text(entry.name, _results(step.function).dump_json(result).decode())


@dataclass(frozen=True)
class _Done(Generic[Result]):
    value: Result


def _read(step: Step[Task, Result]) -> _Done[Result] | None:
    """What the entry of a step holds; None where there is none, or one that is cut short."""
    if step.entry is None:
        return None
    try:
        entry = Folder(step.entry)
        return _Done(_results(step.function).validate_json(entry.parent.read_text(entry.name)))
    except (FileNotFoundError, UnicodeDecodeError, ValidationError):
        return None


def _name(task: Any) -> str:
    """A name for a task's entry that depends on all of its content."""
    kind: Any = type(task)
    document = _tasks(kind).dump_json(task)
    return hashlib.sha256(document).hexdigest()[:32] + ".json"


@cache
def _tasks(kind: type) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


@cache
def _results(function: Callable[..., Any]) -> TypeAdapter[Any]:
    return TypeAdapter(get_type_hints(function)["return"])
