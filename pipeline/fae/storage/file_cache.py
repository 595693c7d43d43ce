"""Scratch: this process's copies of remote files, under the system's directory for such (TMPDIR).

Copies take no more bytes than they leave free on that disk, however many processes share it; those
used least recently go first. A process that is killed leaves its copies to the next one's broom.
"""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass
class _Copy:
    """One remote file here: where, its bytes once it is whole, and who reads it now."""

    path: Path
    bytes: int = 0
    users: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


#: A process that lives for weeks reads ever new files.
MAX_COPIES = 1 << 12


class FileCache:
    """Copies of files by key, for the threads of one process.

    `most_bytes` bounds them; without it, the bytes that they leave free on their disk do. No more
    than MOST_COPIES are kept.
    """

    def __init__(self, most_bytes: int | None = None) -> None:
        self._most_bytes = most_bytes
        self._copies: dict[str, _Copy] = {}
        self._lock = threading.Lock()
        self._made = 0
        self._space: Any = None

    @contextmanager
    def copy(self, key: str, size: int, fetch: Callable[[Path], None]) -> Iterator[Path]:
        """The file `key` of `size` bytes, which `fetch` writes to a path where it is not here.

        It is not dropped within the block.
        """
        with self._lock:
            copy = self._copies.pop(key, None) or _Copy(self._new_path("copy"))
            self._copies[key] = copy  # the last is the most recently used
            copy.users += 1
        try:
            with copy.lock:
                if not copy.path.exists():
                    self._make_room(copy, size)
                    with self.temporary(copy.path.name) as partial:
                        fetch(partial)
                        partial.replace(copy.path)
            yield copy.path
        finally:
            with self._lock:
                copy.users -= 1

    @contextmanager
    def temporary(self, name: str) -> Iterator[Path]:
        """A path, ending in `name`, for a file that is gone after the block."""
        with self._lock:
            path = self._new_path(name)
        try:
            yield path
        finally:
            path.unlink(missing_ok=True)

    @property
    def bytes(self) -> int:
        """Bytes of all copies."""
        return sum(copy.bytes for copy in self._copies.values())

    def _make_room(self, coming: _Copy, size: int) -> None:
        """Drop copies that nobody reads, oldest first, until the coming one fits, and count it."""
        with self._lock:
            coming.bytes = size
            for key, copy in list(self._copies.items()):
                limit = self._most_bytes
                if limit is None:
                    limit = shutil.disk_usage(copy.path.parent).free
                if self.bytes <= limit and len(self._copies) <= MAX_COPIES:
                    return
                if not copy.users:
                    copy.path.unlink(missing_ok=True)
                    del self._copies[key]

    def _new_path(self, name: str) -> Path:
        if self._space is None:
            # Dask's own scratch space: locked while its process lives, swept when it does not.
            from distributed.diskutils import WorkSpace, logger

            logger.setLevel(logging.WARNING)  # sweeping is no news
            base = Path(tempfile.gettempdir()) / f"fae-scratch-{os.getuid()}"
            self._space = WorkSpace(str(base)).new_work_dir(prefix="process-")
        self._made += 1
        return Path(self._space.dir_path) / f"{self._made}-{name}"


FILE_CACHE = FileCache()
