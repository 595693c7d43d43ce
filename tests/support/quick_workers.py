"""Worker processes of Dask that are forked from one which has imported the libraries."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import forkserver

import dask.config
import distributed  # noqa: F401  its defaults would go with the first block of dask.config.set

from fae.execution.executor import Executor, open_executor
from tests.support import forked  # noqa: F401  says what they have imported


@contextmanager
def quick_workers(workers: int, **environment: str) -> Iterator[Executor]:
    """Yield an executor on so many new processes, which get these variables."""
    forkserver.ensure_running()  # else Dask says what it imports
    given = {
        "distributed.worker.multiprocessing-method": "forkserver",
        "distributed.nanny.environ": environment,
        # What idle processes do many times a second.
        "distributed.worker.profile.enabled": False,
        "distributed.admin.tick.interval": "1s",
        "distributed.admin.system-monitor.interval": "5s",
    }
    with dask.config.set(given), open_executor(workers=workers) as executor:
        yield executor
