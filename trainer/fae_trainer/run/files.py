"""Files that are written whole or not at all."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from fae.format.errors import FaeError, disk_errors_reported


def replace_file(path: Path, write: Callable[[Path], None]) -> None:
    """Let `write` make the file under another name beside `path`, then move it there.

    A reader, and a crash at any moment, meets the former file or the new one, never a part. The
    other name is fixed, so a killed run leaves at most one such file, which the next replaces.
    Raises StorageError where the disk is full or broken.
    """
    partial = path.with_name(path.name + ".partial")
    try:
        with disk_errors_reported(path):
            write(partial)
            with partial.open("rb+") as file:
                os.fsync(file.fileno())
            partial.replace(path)
    finally:
        with suppress(OSError):  # a full or broken disk has been told of
            partial.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Make `path` hold `text` in UTF-8."""
    replace_file(path, lambda partial: _write(partial, text))


def write_json(path: Path, document: Mapping[str, Any]) -> None:
    """Make `path` hold `document`; a number that is not finite is an error."""
    write_text(path, json.dumps(document, indent=1, allow_nan=False) + "\n")


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


@contextmanager
def held(directory: Path) -> Iterator[None]:
    """Keep other processes from training into a directory, which is made, during the block.

    The kernel's lock is gone with its process, so there is none to clear. FaeError where another
    process holds it; a directory that cannot be made or locked is held by nobody.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(directory, os.O_RDONLY)
    except OSError:
        yield  # who writes there tells why it cannot be done
        return
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise FaeError(
                f"another process is training into {directory}. Wait until it has ended, or give "
                "another directory by --out."
            ) from None
        except OSError:
            pass  # a file system without locks
        yield
    finally:
        os.close(descriptor)
