"""Refusals: what `fae` refuses before it starts, with nothing touched."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from faults.workloads import WORKLOADS, run_fae
from tests.support.small_logs import digests

_PREPARE, _TRAIN = WORKLOADS[0], WORKLOADS[3]
#: Lines of progress and of Dask, which are not the program's message.
_NO_MESSAGE = re.compile(
    r"^(\w+: [\d,]+ of [\d,]+ tasks done.*|dashboard: .*|warning: .*|.* - WARNING - .*|)$"
)


def message_lines(said: str) -> list[str]:
    """Return the lines of standard error that are not progress."""
    return [line for line in said.splitlines() if not _NO_MESSAGE.match(line)]


def _check_refused(arguments: list[str], *words: str) -> Iterator[str]:
    """Run a command in this process and yield what is wrong with how it is refused."""
    code, said = run_fae(arguments)
    lines = message_lines(said)
    if code != 1 or len(lines) != 1 or not all(word in lines[0] for word in words):
        yield f"{code}, {lines[-4:]}"


def _output_is_a_file(inputs: Path, place: Path) -> Iterator[str]:
    (place / "out").write_text("mine", encoding="utf-8")
    yield from _check_refused(_PREPARE.command(inputs, place), "is a file")
    yield from _check_refused(_TRAIN.command(inputs, place), "is a file")
    if (place / "out").read_text(encoding="utf-8") != "mine":
        yield "it was changed"


def _output_below_a_file(inputs: Path, place: Path) -> Iterator[str]:
    (place / "file").write_text("mine", encoding="utf-8")
    for workload in (_PREPARE, _TRAIN):
        yield from _check_refused(workload.command(inputs, place / "file"), "directory")


def _folder_of_the_users(inputs: Path, place: Path) -> Iterator[str]:
    (place / "out").mkdir()
    (place / "out" / "letter").write_text("mine", encoding="utf-8")
    yield from _check_refused(_PREPARE.command(inputs, place), "not replaced")
    if digests(place / "out").keys() != {"letter"}:
        yield "it was changed"


def _no_parent(inputs: Path, place: Path) -> Iterator[str]:
    for workload in (_PREPARE, _TRAIN):
        code, said = run_fae(workload.command(inputs, place / "a" / "b" / workload.arguments[0]))
        if code:
            yield f"{workload.name}: {code}, {said[-300:]}"


def _logs_that_are_none(inputs: Path, place: Path) -> Iterator[str]:
    (place / "folder.csv").mkdir()
    (place / "empty.csv").touch()
    (place / "short.csv.gz").write_bytes((inputs / "day0-0.csv.gz").read_bytes()[:-20])
    (place / "dangling.csv").symlink_to(place / "nowhere")
    for name, word in (
        ("folder.csv", "is a directory"),
        ("empty.csv", "is empty"),
        ("short.csv.gz", "damaged or truncated"),
        ("dangling.csv", "no log found at"),
    ):
        command = _PREPARE.command(inputs, place)
        command[1] = str(place / name)
        yield from _check_refused(command, word)


def _two_at_a_time(inputs: Path, place: Path) -> Iterator[str]:
    from fae.commit.lock import lock_output

    with lock_output(place / "out.work"):
        lock = str(place / "out.work.lock")
        yield from _check_refused(_PREPARE.command(inputs, place), f"process {os.getpid()}", lock)
    code, said = run_fae(_PREPARE.command(inputs, place))
    if code:
        yield f"afterwards: {code}, {said[-300:]}"


#: Functions of the inputs and an empty folder, which yield what is wrong with a refusal.
REFUSALS: dict[str, Callable[[Path, Path], Iterator[str]]] = {
    "the output is a file": _output_is_a_file,
    "the output's parent is a file": _output_below_a_file,
    "the output holds something else": _folder_of_the_users,
    "the output's parent is missing": _no_parent,
    "logs that are none": _logs_that_are_none,
    "two runs at a time": _two_at_a_time,
}
