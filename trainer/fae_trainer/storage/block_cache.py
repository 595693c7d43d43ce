"""Keep parts of remote files on the local disk, so that an epoch does not fetch them again.

All lie in one temporary file without a name, which ends with its process, however that ends. They
take no more bytes than they leave free on the disk of TMPDIR; the least recently used go first.
"""

from __future__ import annotations

import os
import tempfile
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Hashable

#: The size of a part; the last one of a file is shorter.
BLOCK_BYTES = 4 << 20


class BlockCache:
    """Blocks of files by key, for the threads of one process; `max_bytes` bounds them too."""

    def __init__(self, max_bytes: int | None = None) -> None:
        """Make an empty cache."""
        self._max_bytes = max_bytes
        self._slots: OrderedDict[Hashable, tuple[int, int]] = OrderedDict()  # place and bytes
        self._file = tempfile.TemporaryFile(prefix="fae-blocks-")  # noqa: SIM115
        weakref.finalize(self, self._file.close)
        self._lock = threading.Lock()

    def read(self, key: Hashable, fetch: Callable[[], bytes]) -> bytes:
        """Return the block `key`; `fetch` returns it where it is not kept."""
        with self._lock:
            if key in self._slots:
                self._slots.move_to_end(key)
                slot, size = self._slots[key]
                return os.pread(self._file.fileno(), size, slot * BLOCK_BYTES)
        block = fetch()
        with self._lock:
            free = None if key in self._slots else self._find_slot()
            if free is not None:
                os.pwrite(self._file.fileno(), block, free * BLOCK_BYTES)
                self._slots[key] = free, len(block)
        return block

    def _find_slot(self) -> int | None:
        """Return where a block may be written, if anywhere."""
        used = len(self._slots) * BLOCK_BYTES
        found = os.fstatvfs(self._file.fileno())
        limit = (used + found.f_bavail * found.f_frsize) // 2
        if self._max_bytes is not None:
            limit = min(limit, self._max_bytes)
        if used + BLOCK_BYTES <= limit:
            return len(self._slots)
        return self._slots.popitem(last=False)[1][0] if self._slots else None
