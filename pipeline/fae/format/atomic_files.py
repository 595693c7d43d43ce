"""Write local files whole or not at all, and have the disk hold them before they count."""

import json
import os
import secrets
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from fae.format.errors import disk_errors_reported


@contextmanager
def replace_file(path: Path, *, shared: bool = False) -> Iterator[Path]:
    """Yield a path to write to; that file replaces `path` when the block ends well.

    A reader, and a crash at any moment, meets the former file or the new one, never a part of it.
    The new file lies beside `path` and ends in .partial. Its name is fixed, so that a killed
    process leaves at most one, which the next run overwrites; it is random where `path` is
    `shared`: other processes may write the same file at the same time.

    Raises StorageError where the disk is full or broken.
    """
    token = f".{secrets.token_hex(4)}" if shared else ""
    partial = path.with_name(f"{path.name}{token}.partial")
    try:
        with disk_errors_reported(path):
            yield partial
            if _deferred.files is None:
                flush(partial)
            else:
                _deferred.files.append(path)
            partial.replace(path)
    finally:
        with suppress(OSError):  # the error that a full or broken disk raised is on its way
            partial.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Replace the file at `path` by one with this text in UTF-8."""
    with replace_file(path) as partial:
        partial.write_text(text, encoding="utf-8")


def write_json(path: Path, document: Mapping[str, Any]) -> None:
    """Replace the file at `path` by a JSON document; a number that is not finite is an error."""
    write_text(path, json.dumps(document, indent=1, allow_nan=False) + "\n")


def flush(path: Path) -> None:
    """Have the operating system write a file, or a folder's own entries, to the disk."""
    began = time.perf_counter()
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
        FLUSHES.add(time.perf_counter() - began)


class _Flushes:
    """The seconds that all threads of this process have spent in `flush`."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._lock = threading.Lock()

    def add(self, seconds: float) -> None:
        """Count a flush."""
        with self._lock:
            self.seconds += seconds


FLUSHES = _Flushes()


class _Deferred(threading.local):
    """The files that this thread has replaced without flushing them; None where it flushes."""

    files: list[Path] | None = None


_deferred = _Deferred()


@contextmanager
def flushes_deferred() -> Iterator[list[Path]]:
    """Yield a list of the files that this thread replaces in the block, for the caller to flush."""
    files: list[Path] = []
    _deferred.files = files
    try:
        yield files
    finally:
        _deferred.files = None
