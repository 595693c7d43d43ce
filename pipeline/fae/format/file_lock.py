"""Hold a local file's lock: the operating system's, which ends with the process that holds it."""

import errno
import fcntl
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from fae.format.signals import signals_deferred

#: What flock fails with on a file system that has no locks.
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}


@dataclass(frozen=True)
class Holder:
    """The process that holds a lock, by default this one, and since when (UTC)."""

    host: str = field(default_factory=socket.gethostname)
    pid: int = field(default_factory=os.getpid)
    since: str = field(
        default_factory=lambda: datetime.now(UTC).isoformat(sep=" ", timespec="seconds")
    )

    @classmethod
    def parse(cls, text: str | bytes) -> Self | None:
        """Return the holder that a lock's text names; None where it names none."""
        try:
            document, own = json.loads(text), asdict(cls())
            values = {name: document[name] for name in own}
        except (LookupError, TypeError, ValueError, RecursionError):
            return None
        well_typed = all(type(value) is type(own[name]) for name, value in values.items())
        return cls(**values) if well_typed and values["pid"] > 0 else None

    def to_json(self) -> str:
        """Return the text of a lock that this process holds."""
        return json.dumps(asdict(self))

    @property
    def here(self) -> bool:
        """Whether the process runs, or ran, on this host."""
        return self.host == socket.gethostname()

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}, since {self.since}"


class LockedError(Exception):
    """Another holds the lock: `holder`, or None where that is unknown."""

    def __init__(self, holder: Holder | None) -> None:
        super().__init__(str(holder or "unknown"))
        self.holder = holder


@contextmanager
def hold_lock(path: Path) -> Iterator[None]:
    """Hold the lock file at `path` during the block; the folders around it are made.

    The file names its holder, and is removed afterwards. A killed process leaves it behind, but not
    the lock, which is free for the next. Where the system's locks may not reach, that is, on
    another host or a file system without locks, the file alone counts as a lock.

    Raises LockedError where another block, in whatever process, holds the lock, and OSError where
    the file cannot be written.
    """
    descriptor = -1
    try:
        with signals_deferred():
            descriptor = _acquire(path)
        yield
    finally:
        with signals_deferred():
            if descriptor >= 0:
                _release(path, descriptor)


def _acquire(path: Path) -> int:
    """Return the descriptor of the locked file, which names this process."""
    path.parent.mkdir(parents=True, exist_ok=True)
    while (descriptor := _try(path)) < 0:
        pass  # the file's former holder was just removing it
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, Holder().to_json().encode(), 0)
    except BaseException:
        _release(path, descriptor)
        raise
    return descriptor


def _try(path: Path) -> int:
    """Return the descriptor of the locked file, or -1 where it is no longer at `path`."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    locked = False
    try:
        reliable = _flock(descriptor)
        if not _is_at(path, descriptor):
            return -1
        holder = _read(descriptor)
        if holder is not None and not (reliable and holder.here):
            raise LockedError(holder)
        locked = True
    finally:
        if not locked:
            os.close(descriptor)
    return descriptor


def _read(descriptor: int) -> Holder | None:
    return Holder.parse(os.pread(descriptor, 1 << 12, 0))


def _flock(descriptor: int) -> bool:
    """Lock a file, or return False where its file system has no locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise LockedError(_read(descriptor)) from None
    except OSError as error:
        if error.errno in _NO_LOCKS:
            return False
        raise
    return True


def _release(path: Path, descriptor: int) -> None:
    """Remove the file, unless someone has replaced it, and then let go of its lock.

    In the other order, a file that another process has locked in between would be removed.
    """
    try:
        if _is_at(path, descriptor):
            path.unlink()
    finally:
        os.close(descriptor)


def _is_at(path: Path, descriptor: int) -> bool:
    """Whether the open file is the one at `path`."""
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False
