"""Let one run at a time write an output."""

import secrets
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

import psutil

from fae.format.errors import DatasetError, explain_disk_error
from fae.format.file_lock import Holder, LockedError, hold_lock
from fae.format.signals import signals_deferred
from fae.storage.folder import Folder, FolderLike


@contextmanager
def lock_output(location: FolderLike) -> Iterator[None]:
    """Hold `OUTPUT.lock` beside an output during the block; the folder around it is made.

    On a disk, that is a lock of the operating system's. In an object store, it is an object, which
    a killed process leaves there; on the same host, the next run removes it.

    Raises DatasetError where another run holds the lock, or where it cannot be written.
    """
    output = Folder.of(location)
    lock = output.beside(".lock")
    with ExitStack() as stack:
        try:
            stack.enter_context(_hold_object(lock) if lock.remote else hold_lock(lock.path))
        except LockedError as error:
            raise DatasetError(
                f"another run is writing {output} ({error}). Wait for it to finish; if that "
                f"process is dead, remove {lock}."
            ) from None
        except (FileExistsError, NotADirectoryError):
            raise DatasetError(
                f"cannot write beside {lock}: a part of its path is a file, not a directory. "
                "Choose another output directory."
            ) from None
        except OSError as error:
            reason = explain_disk_error(error) or error.strerror
            raise DatasetError(f"cannot write beside {lock}: {reason}.") from None
        yield


@dataclass(frozen=True)
class _ObjectHolder(Holder):
    """The process that holds a lock in an object store.

    `born` is when it started, in seconds since 1970, as another process may get its number later.
    The `token` tells its locks apart.
    """

    born: float = field(default_factory=lambda: psutil.Process().create_time())
    token: str = field(default_factory=lambda: secrets.token_hex(8))

    @property
    def dead(self) -> bool:
        """Whether the process is known to have ended; of another host, nothing is known."""
        if not self.here:
            return False
        try:
            born: float = psutil.Process(self.pid).create_time()
        except psutil.NoSuchProcess:
            return True
        return abs(born - self.born) > 1


@contextmanager
def _hold_object(lock: Folder) -> Iterator[None]:
    """Hold the lock that the object `lock` is; LockedError where another run does."""
    text = _ObjectHolder().to_json()
    acquired = False
    try:
        with signals_deferred():
            _create(lock, text)
            acquired = True
        yield
    finally:
        with signals_deferred():
            if acquired and _read(lock) == text:
                lock.parent.remove([lock.name])


def _create(lock: Folder, text: str) -> None:
    """Create the object, in place of a dead process's one.

    An object store cannot rename. Two runs that find a dead process's lock at the same moment could
    therefore both go on.
    """
    while not lock.parent.create(lock.name, text):
        former = _read(lock)
        if former is None:  # removed since
            continue
        holder = _ObjectHolder.parse(former)
        if holder is None or not holder.dead:
            raise LockedError(holder)
        if _read(lock) == former:
            lock.parent.remove([lock.name])


def _read(lock: Folder) -> str | None:
    try:
        return lock.parent.read_text(lock.name)
    except FileNotFoundError:
        return None
    except UnicodeDecodeError:  # not written by this program: its holder is unknown
        return ""
