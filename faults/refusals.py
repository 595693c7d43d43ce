"""Refusals: what a run is told at once, with nothing touched."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from faults.victims import VICTIMS, fae
from tests.support.small_logs import digests

_PREPARE, _TRAIN = VICTIMS[0], VICTIMS[3]
#: Lines of progress and of a cluster, which are no message.
_NO_MESSAGE = re.compile(
    r"^(\w+: [\d,]+ of [\d,]+ tasks done.*|dashboard: .*|warning: .*|.* - WARNING - .*|)$"
)


def message_lines(said: str) -> list[str]:
    """The lines of a run's messages without those on its progress."""
    return [line for line in said.splitlines() if not _NO_MESSAGE.match(line)]


def _message(arguments: list[str], *words: str) -> Iterator[str]:
    """What is wrong with how a command is refused in this process."""
    code, said = fae(arguments)
    lines = message_lines(said)
    if code != 1 or len(lines) != 1 or not all(word in lines[0] for word in words):
        yield f"{code}, {lines[-4:]}"


def _output_is_a_file(inputs: Path, place: Path) -> Iterator[str]:
    (place / "out").write_text("mine", encoding="utf-8")
    yield from _message(_PREPARE.command(inputs, place), "is a file")
    yield from _message(_TRAIN.command(inputs, place), "is a file")
    if (place / "out").read_text(encoding="utf-8") != "mine":
        yield "it was changed"


def _output_below_a_file(inputs: Path, place: Path) -> Iterator[str]:
    (place / "file").write_text("mine", encoding="utf-8")
    for victim in (_PREPARE, _TRAIN):
        yield from _message(victim.command(inputs, place / "file"), "cannot", "directory")


def _folder_of_the_users(inputs: Path, place: Path) -> Iterator[str]:
    (place / "out").mkdir()
    (place / "out" / "letter").write_text("mine", encoding="utf-8")
    yield from _message(_PREPARE.command(inputs, place), "not replaced")
    if digests(place / "out").keys() != {"letter"}:
        yield "it was changed"


def _no_parent(inputs: Path, place: Path) -> Iterator[str]:
    for victim in (_PREPARE, _TRAIN):
        code, said = fae(victim.command(inputs, place / "a" / "b" / victim.arguments[0]))
        if code:
            yield f"{victim.name}: {code}, {said[-300:]}"


def _inputs_that_are_none(inputs: Path, place: Path) -> Iterator[str]:
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
        yield from _message(command, word)


def _two_at_a_time(inputs: Path, place: Path) -> Iterator[str]:
    from fae.commit.lock import lock_output

    with lock_output(place / "out.work"):
        lock = str(place / "out.work.lock")
        yield from _message(_PREPARE.command(inputs, place), f"process {os.getpid()}", lock)
    code, said = fae(_PREPARE.command(inputs, place))
    if code:
        yield f"afterwards: {code}, {said[-300:]}"


#: What is refused, by its name: a function of inputs and a folder, which tells what is wrong.
REFUSALS: dict[str, Callable[[Path, Path], Iterator[str]]] = {
    "the output is a file": _output_is_a_file,
    "the output's parent is a file": _output_below_a_file,
    "the output holds something else": _folder_of_the_users,
    "the output's parent is missing": _no_parent,
    "inputs that are none": _inputs_that_are_none,
    "two runs at a time": _two_at_a_time,
}
