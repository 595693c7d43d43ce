"""Let one process at a time train into a directory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from fae.format.errors import FaeError
from fae.format.file_lock import LockedError, hold_lock

#: In the directory while a process trains into it.
LOCK_FILE = "training.lock"


@contextmanager
def lock_run(directory: Path) -> Iterator[None]:
    """Keep other processes from training into a directory, which is made, during the block.

    Raises FaeError where another process does.
    """
    with ExitStack() as stack:
        try:
            stack.enter_context(hold_lock(directory / LOCK_FILE))
        except LockedError as error:
            raise FaeError(
                f"another run is training into {directory} ({error}). Wait for it to finish, or "
                f"choose another directory with --out; if that process is dead, remove "
                f"{directory / LOCK_FILE}."
            ) from None
        yield
