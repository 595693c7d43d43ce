"""Locks: one run at a time makes an output."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import psutil

from pipeline.errors import DatasetError


@dataclass(frozen=True)
class Holder:
    """The run that holds a lock; `born` is when its process began, in seconds since 1970."""

    host: str
    pid: int
    born: float
    since: str

    @classmethod
    def me(cls) -> Holder:
        """The process that asks."""
        now = datetime.now(UTC).isoformat(sep=" ", timespec="seconds")
        return cls(socket.gethostname(), os.getpid(), psutil.Process().create_time(), now)

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
def locked(output: Path) -> Iterator[None]:
    """Hold `OUTPUT.lock` during the block; DatasetError where another run holds it.

    The lock of a dead process of this host is taken over. The directory around is made.
    """
    path = output.with_name(f"{output.name}.lock")
    me = json.dumps(asdict(Holder.me()))
    while not _created(output, path, me):
        text = _text(path)
        holder = _holder(text)
        if text is not None and (holder is None or not holder.dead):
            raise DatasetError(_refusal(output, path, holder))
        _clear(path, text)
    try:
        yield
    finally:
        if _text(path) == me:
            path.unlink()


def _created(output: Path, path: Path, text: str) -> bool:
    """Write the lock unless there is one."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        if path.exists():
            return False
        raise DatasetError(f"cannot write beside {output}: {error.strerror}.") from None
    return True


def _clear(path: Path, dead: str | None) -> None:
    """Remove the lock of a dead process, unless another run has taken it over since it was read."""
    aside = path.with_name(f"{path.name}.{os.getpid()}-{os.urandom(4).hex()}")
    with suppress(FileNotFoundError):
        path.rename(aside)
        if _text(aside) == dead:
            aside.unlink()
        else:
            aside.rename(path)


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None


def _holder(text: str | None) -> Holder | None:
    try:
        return Holder(**json.loads(text or ""))
    except (TypeError, ValueError):
        return None


def _refusal(output: Path, path: Path, holder: Holder | None) -> str:
    who = f"process {holder.pid} on {holder.host}, since {holder.since}" if holder else "unknown"
    return f"another run is making {output} ({who}). Wait for it, or if it is dead, remove {path}."
