"""Log the results of finished tasks in an unfinished output, for a later run to resume it.

A run that dies leaves the task log of its output behind, and the next run of the same stage skips
the tasks in it. A task's files are on the disk before its entry is, and an entry is named by the
content of its task, so no unfinished or changed task is skipped.
"""

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

#: Takes a call that another thread makes soon.
Later = Callable[[Callable[[], None]], None]
#: The task log's folder in an unfinished output; its suffix has it removed when that is finished.
FOLDER = "journal.partial"


@dataclass(frozen=True)
class Step(Generic[Task, Result]):
    """A task of a stage, whose result goes to the file `entry` unless that is None."""

    function: Callable[[Task], Result]
    task: Task
    entry: str | None


def make_steps(
    stage: str, function: Callable[[Task], Result], tasks: Sequence[Task], output: FolderLike | None
) -> list[Step[Task, Result]]:
    """Return the steps of a stage, logged in the unfinished `output` unless that is None.

    A logged function is one of a module, annotated with a type that pydantic can write as JSON.
    """
    if output is None:
        return [Step(function, task, None) for task in tasks]
    folder = Folder.of(output) / FOLDER / stage
    return [Step(function, task, str(folder / _name(task))) for task in tasks]


def read_finished(steps: Sequence[Step[Task, Result]]) -> dict[int, Result]:
    """Return the results that earlier runs have logged, by the number of their step."""
    folders = {Folder(step.entry).parent for step in steps if step.entry}
    known = {str(folder / name) for folder in folders for name in folder.list_files()}
    results: dict[int, Result] = {}
    for number, step in enumerate(steps):
        if step.entry in known and (logged := _read(step)) is not None:
            results[number] = logged.value
    return results


def perform_step(step: Step[Task, Result], later: Later | None = None) -> Result:
    """Return the result of a step, performed and logged unless the log has it already.

    With `later`, another thread waits for the disk. A Dask cluster repeats a task when the worker
    that held its result is lost: then the result comes from the log.
    """
    logged = _read(step)
    if logged is not None:
        return logged.value
    if later is None or step.entry is None:
        result = step.function(step.task)
        _record(step, result, [])
        return result
    with flushes_deferred() as files:
        result = step.function(step.task)
    later(partial(_record, step, result, files))
    return result


def _record(step: Step[Task, Result], result: Result, files: Sequence[Path]) -> None:
    """Flush a step's files to the disk, and then write its entry."""
    for file in files:
        with disk_errors_reported(file):
            flush(file)
    if step.entry is not None:
        entry = Folder(step.entry)
        entry.parent.write_text(entry.name, _results(step.function).dump_json(result).decode())


@dataclass(frozen=True)
class _Logged(Generic[Result]):
    """A result from the log, which may itself be None."""

    value: Result


def _read(step: Step[Task, Result]) -> _Logged[Result] | None:
    """Return the logged result of a step; None where there is no entry, or a damaged one."""
    if step.entry is None:
        return None
    try:
        entry = Folder(step.entry)
        return _Logged(_results(step.function).validate_json(entry.parent.read_text(entry.name)))
    except (FileNotFoundError, UnicodeDecodeError, ValidationError):
        return None


def _name(task: Any) -> str:
    """Return a name for a task's entry that depends on all of its content."""
    kind: Any = type(task)
    document = _tasks(kind).dump_json(task)
    return hashlib.sha256(document).hexdigest()[:32] + ".json"


_tasks = cache(TypeAdapter)


@cache
def _results(function: Callable[..., Any]) -> TypeAdapter[Any]:
    return TypeAdapter(get_type_hints(function)["return"])
