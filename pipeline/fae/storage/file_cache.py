"""Cache remote files on the local disk, in the system's temporary directory (TMPDIR).

Copies take no more bytes than they leave free on that disk, however many processes share it; the
least recently used go first. The copies of a killed process are removed by the next one.
"""

import logging
import os
import shutil
import stat
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fae.format.errors import StorageError


@dataclass
class _Copy:
    """The local copy of a remote file: its bytes once it is whole, and how many read it now."""

    path: Path
    bytes: int = 0
    users: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


#: Bounds the files of a process that runs for weeks and reads ever new ones.
MAX_COPIES = 1 << 12


class FileCache:
    """Copies of files by key, for the threads of one process.

    `max_bytes` bounds them, by default the bytes that they leave free on their disk. No more
    than MAX_COPIES are kept.
    """

    def __init__(self, max_bytes: int | None = None) -> None:
        self._max_bytes = max_bytes
        self._copies: dict[str, _Copy] = {}
        self._lock = threading.Lock()
        self._paths_made = 0
        self._space: Any = None

    @contextmanager
    def copy(self, key: str, size: int, fetch: Callable[[Path], None]) -> Iterator[Path]:
        """Yield the file `key` of `size` bytes; `fetch` writes it to a path if it is not cached.

        It is not dropped during the block.
        """
        with self._lock:
            copy = self._copies.pop(key, None) or _Copy(self._new_path("copy"))
            self._copies[key] = copy  # the dictionary's last is the most recently used
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
        """Yield a path, ending in `name`, for a file that is removed after the block."""
        with self._lock:
            path = self._new_path(name)
        try:
            yield path
        finally:
            path.unlink(missing_ok=True)

    @property
    def bytes(self) -> int:
        """The bytes of all copies."""
        return sum(copy.bytes for copy in self._copies.values())

    def _make_room(self, coming: _Copy, size: int) -> None:
        """Drop unread copies, least recently used first, until `coming` fits, and count it."""
        with self._lock:
            coming.bytes = size
            for key, copy in list(self._copies.items()):
                limit = self._max_bytes
                if limit is None:
                    limit = shutil.disk_usage(copy.path.parent).free
                if self.bytes <= limit and len(self._copies) <= MAX_COPIES:
                    return
                if not copy.users:
                    copy.path.unlink(missing_ok=True)
                    del self._copies[key]

    def _new_path(self, name: str) -> Path:
        if self._space is None:
            # Dask's scratch space: locked while its process lives, and removed by others after.
            from distributed.diskutils import WorkSpace, logger

            logger.setLevel(logging.WARNING)  # its removals need no message
            base = Path(tempfile.gettempdir()) / f"fae-scratch-{os.getuid()}"
            _make_private(base)
            self._space = WorkSpace(str(base)).new_work_dir(prefix="process-")
        self._paths_made += 1
        return Path(self._space.dir_path) / f"{self._paths_made}-{name}"


def _make_private(folder: Path) -> None:
    """Make a folder that nobody else can change; raises StorageError where another user could."""
    around = folder.parent.stat().st_mode
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    replaceable = around & stat.S_IWOTH and not around & stat.S_ISVTX
    if replaceable or not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise StorageError(
            f"{folder} can be changed by other users, and copies of remote files in it. Set TMPDIR "
            "to a directory of your own."
        )
    folder.chmod(0o700)


FILE_CACHE = FileCache()
