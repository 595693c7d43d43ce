"""Locks: one run at a time makes an output."""

from __future__ import annotations

import glob
import json
import os
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

import psutil

from fae.format.errors import DatasetError, explain_disk_error
from fae.format.signals import signals_deferred
from fae.storage.folder import Folder, FolderLike


@dataclass(frozen=True)
class Holder:
    """The run that holds a lock, one of a kind by its `token`.

    `born` is when its process began, in seconds since 1970.
    """

    host: str
    pid: int
    born: float
    since: str
    token: str

    @classmethod
    def me(cls) -> Holder:
        """The process that asks."""
        now = datetime.now(UTC).isoformat(sep=" ", timespec="seconds")
        return cls(
            socket.gethostname(),
            os.getpid(),
            psutil.Process().create_time(),
            now,
            secrets.token_hex(8),
        )

    @property
    def dead(self) -> bool:
        """Whether its process is known to be no more; of another host, nothing is known."""
        if self.host != socket.gethostname():
            return False
        try:
            born: float = psutil.Process(self.pid).create_time()
        except psutil.NoSuchProcess:
            return True
        return abs(born - self.born) > 1


@contextmanager
def lock_output(place: FolderLike) -> Iterator[None]:
    """Hold `OUTPUT.lock` beside an output during the block; DatasetError where another run does.

    The lock of a dead process of this host is taken over. The directory around is made.
    """
    output = Folder.of(place)
    lock = output.beside(".lock")
    me = json.dumps(asdict(Holder.me()))
    taken = False
    try:
        with signals_deferred():
            _take(output, lock, me)
            taken = True
        yield
    finally:
        with signals_deferred():
            if taken and _text(lock) == me:
                lock.parent.remove([lock.name])


def _take(output: Folder, lock: Folder, me: str) -> None:
    """Create the lock; DatasetError where a run that is not known to be dead has it."""
    while not _created(lock, me):
        text = _text(lock)
        holder = _holder(text)
        if text is not None and (holder is None or not holder.dead):
            raise DatasetError(_refusal(output, lock, holder))
        _clear(lock, text)
    if not lock.remote:
        for left in lock.path.parent.glob(f"{glob.escape(lock.name)}.*.partial"):
            left.unlink(missing_ok=True)


def _created(lock: Folder, text: str) -> bool:
    """Write the lock unless there is one."""
    try:
        return lock.parent.create(lock.name, text)
    except (FileExistsError, NotADirectoryError):
        raise DatasetError(
            f"cannot write beside {lock}: a part of its path is a file and no directory. "
            "Choose another output directory."
        ) from None
    except OSError as error:
        reason = explain_disk_error(error) or error.strerror
        raise DatasetError(f"cannot write beside {lock}: {reason}.") from None


def _clear(lock: Folder, dead: str | None) -> None:
    """Remove the lock of a dead process, unless another run has taken it over since it was read.

    An object store cannot rename: there, two runs that begin at one moment could both go on.
    """
    if lock.remote:
        if _text(lock) == dead:
            lock.parent.remove([lock.name])
        return
    path = lock.path
    aside = path.with_name(f"{path.name}.{os.getpid()}-{os.urandom(4).hex()}")
    with suppress(FileNotFoundError):
        path.rename(aside)
        if _text(Folder.of(aside)) == dead:
            aside.unlink()
        else:
            aside.rename(path)


def _text(lock: Folder) -> str | None:
    try:
        return lock.parent.text(lock.name)
    except FileNotFoundError:
        return None
    except UnicodeDecodeError:  # no lock of ours: its holder is unknown
        return ""


def _holder(text: str | None) -> Holder | None:
    try:
        holder = Holder(**json.loads(text or ""))
        return holder if isinstance(holder.pid, int) and isinstance(holder.born, float) else None
    except (TypeError, ValueError, RecursionError):
        return None


def _refusal(output: Folder, lock: Folder, holder: Holder | None) -> str:
    who = f"process {holder.pid} on {holder.host}, since {holder.since}" if holder else "unknown"
    return f"another run is making {output} ({who}). Wait for it, or if it is dead, remove {lock}."
