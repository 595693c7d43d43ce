"""Files that are written whole or not at all."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fae.format.errors import FaeError


@contextmanager
def held(directory: Path) -> Iterator[None]:
    """Keep other processes from training into a directory, which is made, during the block.

    The kernel's lock is gone with its process, so there is none to clear. FaeError where another
    process holds it; a directory that cannot be made or locked is held by nobody.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(directory, os.O_RDONLY)
    except OSError:
        yield  # who writes there tells why it cannot be done
        return
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise FaeError(
                f"another process is training into {directory}. Wait until it has ended, or give "
                "another directory by --out."
            ) from None
        except OSError:
            pass  # a file system without locks
        yield
    finally:
        os.close(descriptor)
