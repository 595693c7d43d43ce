"""Share decoded windows among the processes of one machine, so that each is decoded once.

Processes that train together read the same windows in the same order, and each window has an owner
among them. The owner decodes it, writes it to a file in memory, and links that file under the
window's name into the inbox of every other process. A reader waits for the name, maps the file, and
removes the name: the kernel frees the memory with the last name and mapping.

Why this is right, whatever happens to whom:

- A file is whole before it has a name that a reader looks for, and nobody changes it afterwards.
- A window's rows do not depend on who decodes it. So a reader that gives up waiting decodes the
  window itself, and gets the same rows. It gives up if the owner is gone, if the owner says by an
  empty file that it will not share the window, and after `PATIENCE_SECONDS`. The owner waits for
  nobody. So no process waits for ever, and an error in a file is found by every process.
- Names have the number of the reading (of an epoch or a part of it), so that a name that is left
  over from an earlier reading is not taken for a new one; readers remove such names.
- A process is there as long as it holds the lock on its file, which ends with the process, however
  that ends. Whoever leaves last removes the folder. Where all are killed, the next ones do: they
  remove each folder whose locks are all free. A folder has its name only after a lock in it.
- A process's files that readers have not taken yet have at most `budget` bytes; further windows are
  not shared.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fae_trainer.data.batches import Batch, BatchShape

#: Where files are kept in memory on Linux; elsewhere nothing is shared.
MEMORY = Path("/dev/shm")  # noqa: S108

#: The share of the free bytes of MEMORY that all processes together may take.
MEMORY_SHARE = 1 / 4

#: How long a reader waits for a window before it decodes it itself.
PATIENCE_SECONDS = 10.0

#: How often a reader looks for a window, and whether its owner is still there.
_POLL_SECONDS, _LOCK_CHECK_SECONDS = 0.005, 0.5

#: In front of the rows: the numbers of a BatchShape, and whether the rows are hot.
_HEADER_BYTES = 64

_PREFIX = "fae-windows-"


@dataclass(frozen=True)
class WindowName:
    """A window of a leaf, in a reading of it."""

    leaf: str
    reading: int
    file: int
    number: int

    def __str__(self) -> str:
        """Return the name of its file."""
        return f"{self.leaf}-{self.reading}-{self.file}-{self.number}"


class WindowSharing:
    """One process's part in sharing windows with others of the machine."""

    def __init__(self, folder: Path, lock: int, rank: int, size: int, budget: int) -> None:
        """Use `found` or `join`; `lock` is the descriptor of this process's lock in `folder`."""
        self.folder, self.rank, self.size = folder, rank, size
        self.budget, self._lock = budget, lock
        self._inbox(rank).mkdir()
        self._mutex = threading.Lock()
        self._published: list[tuple[list[Path], int]] = []
        self._kept_bytes = 0
        self._lost: dict[int, tuple[str, int]] = {}

    @classmethod
    def found(cls, size: int, budget: int) -> WindowSharing:
        """Make a folder for `size` processes and enter it as the first; remove abandoned ones.

        Raises OSError where MEMORY cannot be written.
        """
        for path in MEMORY.glob(f"{_PREFIX}*"):
            _remove_if_abandoned(path)
        draft = Path(tempfile.mkdtemp(prefix="fae-", dir=MEMORY))
        lock = _hold_lock(draft, 0)
        folder = draft.rename(MEMORY / draft.name.replace("fae-", _PREFIX, 1))
        return cls(folder, lock, 0, size, budget)

    @classmethod
    def join(cls, folder: Path, rank: int, size: int, budget: int) -> WindowSharing:
        """Enter the first process's folder as process `rank`; raise OSError where that fails."""
        return cls(folder, _hold_lock(folder, rank), rank, size, budget)

    def begin_reading(self, leaf: str, reading: int) -> None:
        """Remove what is left over from earlier readings of a leaf."""
        with suppress(FileNotFoundError):
            for path in self._inbox(self.rank).iterdir():
                name, number, *_ = path.name.rsplit("-", 3)
                if name == leaf and int(number) < reading:
                    path.unlink(missing_ok=True)

    def read(
        self,
        name: WindowName,
        position: int,
        decode: Callable[[], Batch],
        keep: bool,
        stopped: threading.Event,
    ) -> Batch:
        """Return a window's rows: decode it for all if it is this process's, else wait for it.

        `position` counts the windows of the reading and decides the owner. With `keep`, the rows
        stay in the shared memory as long as they are used. Waiting ends when `stopped` is set.
        """
        owner = position % self.size
        if owner == self.rank:
            return self._decode_for_all(name, decode, keep)
        shared = self._receive(name, owner, stopped)
        return decode() if shared is None else shared

    def close(self) -> None:
        """Leave; the last process removes the folder."""
        os.close(self._lock)
        _remove_if_abandoned(self.folder)

    def _decode_for_all(self, name: WindowName, decode: Callable[[], Batch], keep: bool) -> Batch:
        """Decode a window and publish it, or an empty file where that cannot be."""
        published: Path | None = None
        try:
            batch = decode()
            size = _HEADER_BYTES + batch.shape.bytes
            if not self._reserve(size, name, keep):
                return batch
            published = self._write(name, batch)
            return _map(published) or batch if keep else batch
        finally:
            self._link(name, published)

    def _reserve(self, size: int, name: WindowName, keep: bool) -> bool:
        """Tell whether a file of `size` bytes is within the budget, and count it if so."""
        with self._mutex:
            self._published = [
                (names, bytes_)
                for names, bytes_ in self._published
                if any(path.exists() for path in names)
            ]
            used = self._kept_bytes + sum(bytes_ for _, bytes_ in self._published)
            if used + size > self.budget:
                return False
            if keep:
                self._kept_bytes += size
            else:
                self._published.append((self._names(name), size))
            return True

    def _write(self, name: WindowName, batch: Batch) -> Path | None:
        """Write a window to a file that no reader looks for; return None where there is no room."""
        shape, buffer = batch.shape, batch.buffer
        assert buffer is not None
        header = np.zeros(_HEADER_BYTES // 8, dtype=np.int64)
        numbers = (shape.samples, shape.dense, shape.ids, shape.bounds, shape.id_type.itemsize)
        header[:7] = (*numbers, batch.hot, shape.weighted)
        path = self._draft(name)
        try:
            with path.open("xb", buffering=0) as file:
                for part in (header.data, buffer.numpy().data):
                    rest = part.cast("B")
                    while rest:
                        rest = rest[file.write(rest) :]
        except OSError:  # the memory is full: others decode the window themselves
            path.unlink(missing_ok=True)
            return None
        return path

    def _link(self, name: WindowName, published: Path | None) -> None:
        """Link the file, or an empty one, into the others' inboxes, and drop its own name."""
        path = self._draft(name) if published is None else published
        with suppress(OSError):  # readers whose name is missing lose patience
            if published is None:
                path.touch()
            for inbox in self._names(name):
                with suppress(FileExistsError):
                    os.link(path, inbox)
        path.unlink(missing_ok=True)

    def _receive(self, name: WindowName, owner: int, stopped: threading.Event) -> Batch | None:
        """Return a window that its owner shares, or None if this process has to decode it."""
        path = self._inbox(self.rank) / str(name)
        reading = (name.leaf, name.reading)
        begin = checked = time.monotonic()
        while not path.exists():
            now = time.monotonic()
            if self._lost.get(owner) == reading or stopped.wait(_POLL_SECONDS):
                return None
            gone = False
            if now - checked > _LOCK_CHECK_SECONDS:
                gone, checked = not _is_held(self.folder, owner), now
            if gone or now - begin > PATIENCE_SECONDS:
                self._lost[owner] = reading  # wait no more for it in this reading
                return None
        batch = _map(path)
        path.unlink(missing_ok=True)
        return batch

    def _inbox(self, rank: int) -> Path:
        return self.folder / f"to-{rank}"

    def _names(self, name: WindowName) -> list[Path]:
        """Return the names that a window has for its readers."""
        others = (rank for rank in range(self.size) if rank != self.rank)
        return [self._inbox(rank) / str(name) for rank in others]

    def _draft(self, name: WindowName) -> Path:
        return self.folder / f"{self.rank}-{name}"


@contextmanager
def share_windows(
    rank: int, size: int, gather: Callable[[Any], list[Any]], cache: str
) -> Iterator[WindowSharing | None]:
    """Yield this process's sharing with those of `size` on the same machine and of the same cache.

    `gather` returns what each process gave it, by rank, and all processes make the same calls. What
    is yielded is None for a process that is alone, and where not all of a group can write MEMORY.
    """
    sharing: WindowSharing | None = None
    if size > 1:
        memory = _describe_memory()
        kinds = gather((memory, cache))
        group = [other for other in range(size) if kinds[other] == (memory, cache)]
        place, budget = group.index(rank), _free_bytes() // len(group)
        usable = bool(memory) and len(group) > 1
        if usable and place == 0:
            with suppress(OSError):
                sharing = WindowSharing.found(len(group), budget)
        folder = gather(sharing.folder if sharing else None)[group[0]]
        if usable and place and folder is not None:
            with suppress(OSError):
                sharing = WindowSharing.join(folder, place, len(group), budget)
        entered = gather(sharing is not None)
        if sharing and not all(entered[other] for other in group):
            sharing.close()
            sharing = None
    try:
        yield sharing
    finally:
        if sharing:
            sharing.close()


def _describe_memory() -> str:
    """Return what two processes have in common if they share MEMORY, or "" where none is usable."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {MEMORY.stat().st_dev}" if os.access(MEMORY, os.W_OK) else ""
    except OSError:
        return ""


def _free_bytes() -> int:
    """Return the bytes of MEMORY that all processes together may take."""
    try:
        found = os.statvfs(MEMORY)
    except OSError:
        return 0
    return int(found.f_bavail * found.f_frsize * MEMORY_SHARE)


def _hold_lock(folder: Path, rank: int) -> int:
    """Return the descriptor of a process's lock, which it holds until that is closed."""
    descriptor = os.open(folder / f"lock-{rank}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_EX)  # waits only for those who look whether it is held
    return descriptor


def _is_held(folder: Path, rank: int) -> bool:
    """Tell whether process `rank` holds its lock."""
    try:
        descriptor = os.open(folder / f"lock-{rank}", os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _remove_if_abandoned(folder: Path) -> None:
    """Remove a folder in which no process holds a lock."""
    with suppress(OSError):
        ranks = [int(path.name.removeprefix("lock-")) for path in folder.glob("lock-*")]
        if not any(_is_held(folder, rank) for rank in ranks):
            shutil.rmtree(folder, ignore_errors=True)


def _map(path: Path | None) -> Batch | None:
    """Return the rows in a file, mapped; None for an empty file, or none."""
    if path is None:
        return None
    with suppress(FileNotFoundError), path.open("r+b") as file:
        size = os.fstat(file.fileno()).st_size
        if not size:
            return None
        # Nobody writes. A writable mapping only spares a warning of torch, and MAP_POPULATE a fault
        # for each page.
        flags = mmap.MAP_SHARED | getattr(mmap, "MAP_POPULATE", 0)
        mapped = np.frombuffer(mmap.mmap(file.fileno(), size, flags=flags), dtype=np.uint8)
        header = mapped[:_HEADER_BYTES].view(np.int64).tolist()
        samples, dense, ids, bounds, wide, hot, weighted = header[:7]
        kind = torch.int32 if wide == 4 else torch.int64
        shape = BatchShape(samples, dense, ids, bounds, kind, bool(weighted))
        return shape.view(torch.from_numpy(mapped[_HEADER_BYTES:]), bool(hot))
    return None
