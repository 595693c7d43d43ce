"""A `fae` with small tasks that can kill itself at a chosen system call.

`python -m faults.killable prepare …` is `fae prepare …` with blocks of 2 KiB and files of a hundred
rows, so that a log of a few hundred lines makes several tasks in each stage, and has all rounds. If
FAE_KILL_AT is `NAME N`, the process gets the signal NAME at the Nth event of its calls to the file
system, before or after the call; SIGKILL goes to its whole group. If FAE_COUNT names a file, the
number of these events is written there at the end. The events of one thread always come in the same
order, so such a moment can be repeated.
"""

from __future__ import annotations

import itertools
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import FrameType
from typing import Any
from unittest import mock

KILL_AT, COUNT = "FAE_KILL_AT", "FAE_COUNT"
_BLOCK_BYTES, _ROWS_PER_FILE = 2 << 10, 100
#: Few enough for dictionaries to be merged and rows to be rescattered.
_FAN_IN = 4
#: C functions that change or read the file system, as a profile hook names them.
_CALLS = {
    *("open", "write", "close", "fsync", "rename", "replace", "link", "unlink", "remove"),
    *("rmdir", "mkdir", "scandir", "listdir", "copyfile", "sendfile", "truncate"),
}


@contextmanager
def small_tasks() -> Iterator[None]:
    """Cut logs and data sets in small pieces during the block."""
    from fae.dataset.shuffle import rounds
    from fae.ingestion import stage
    from fae.profiling import dictionary_tree

    defaults = stage.ingest.__kwdefaults__
    assert defaults is not None
    with (
        mock.patch.dict(defaults, {"block_bytes": _BLOCK_BYTES}),
        mock.patch.object(rounds, "ROWS_PER_FILE", _ROWS_PER_FILE),
        mock.patch.object(rounds, "MAX_SCATTERED_FILES", _FAN_IN),
        mock.patch.object(dictionary_tree, "MAX_FAN_IN", _FAN_IN),
    ):
        yield


@contextmanager
def count_calls() -> Iterator[list[int]]:
    """Count the file system events of the block; the list holds their number when it ends."""
    events: Iterator[int] = itertools.count(1)
    found: list[int] = []
    _watch(events, 0, "")
    try:
        yield found
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
        found.append(next(events))


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command line, the process's own by default, watched once all of it is loaded."""
    if arguments is not None:
        sys.argv[1:] = arguments
    from fae import cli
    from fae.cli import commands  # noqa: F401

    kill_at, count = os.environ.pop(KILL_AT, ""), os.environ.pop(COUNT, "")
    calls: list[int] = []
    try:
        with small_tasks(), count_calls() if count else nullcontext(calls) as calls:
            if kill_at:
                name, _, number = kill_at.partition(" ")
                _watch(itertools.count(1), int(number), name)
            sys.exit(cli.main())
    finally:
        if count:
            Path(count).write_text(str(calls[0]), encoding="utf-8")


def _watch(events: Iterator[int], at: int, name: str) -> None:
    """Send the signal `name` at the event numbered `at`."""

    def profile(_frame: FrameType, event: str, function: Any) -> None:
        if event not in ("c_call", "c_return") or function.__name__ not in _CALLS:
            return
        if next(events) == at:
            sent = signal.Signals[name]
            if sent == signal.SIGKILL:
                os.killpg(os.getpgid(0), sent)
            os.kill(os.getpid(), sent)

    threading.setprofile(profile)
    sys.setprofile(profile)


if __name__ == "__main__":
    main()
