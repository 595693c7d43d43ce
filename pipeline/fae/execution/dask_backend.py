"""Workers: a stage's steps on a Dask cluster, whose machines come, go and die.

Dask does the tasks of a lost worker again elsewhere. What it cannot mend ends the stage with a
ClusterError, which leaves the unfinished output for the next run to go on from.
"""

from __future__ import annotations

import atexit
import gc
import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar

import dask.config
from dask.utils import parse_timedelta

from fae.commit import task_log
from fae.commit.task_log import Step
from fae.execution.progress import StageProgress
from fae.format.errors import ClusterError, FaeError

Task = TypeVar("Task")
Result = TypeVar("Result")

_POLL = 0.02
_LOOK = 1.0
_REMEDY = "What is finished is kept: run it again to go on."


def run_steps(
    client: Any,
    steps: Sequence[Step[Task, Result]],
    stage: StageProgress,
    rows: Callable[[Result], int] | None,
) -> list[Result]:
    """The results of `steps` in their order; the first error of a task is raised.

    Keys are STAGE-RUN-NUMBER, which Dask's dashboard shows as STAGE. Results come over one by one,
    so a worker that dies takes few of them with it. Raises ClusterError where the scheduler is
    lost, no worker is there for `fae.worker-timeout` of Dask's configuration (10 minutes), or a
    task has taken too many workers with it.
    """
    from distributed import as_completed

    run = os.urandom(4).hex()
    numbers = {f"{stage.name}-{run}-{number}": number for number in range(len(steps))}
    futures = client.map(_tried, steps, key=list(numbers), pure=False)
    arriving = as_completed(futures, with_results=True, raise_errors=False)
    results: dict[int, Result] = {}
    watch = _Watch(client, stage)
    try:
        while len(results) < len(steps):
            batch = arriving.next_batch(block=False)
            for future, result in batch:
                if future.status != "finished":
                    raise _failure(future, result)
                if isinstance(result, _Failed):
                    raise result.error
                results[numbers[future.key]] = result
                stage.end_task(rows(result) if rows else 0)
                future.release()
            watch.look()
            if not batch:
                if arriving.is_empty() and len(results) < len(steps):
                    raise _lost()
                time.sleep(_POLL)
    finally:
        if client.status == "running":
            with suppress(Exception):
                client.cancel([future for future in futures if not future.done()])
    return [results[number] for number in range(len(steps))]


@dataclass(frozen=True)
class _Failed:
    """What came of a step that could not be done for a reason that a user can see to."""

    error: Exception


def _tried(step: Step[Task, Result]) -> Result | _Failed:
    """Do a step; a user's error is returned, as workers log what is raised with a traceback."""
    _end_quickly()
    try:
        return task_log.perform_step(step)
    except (FaeError, OSError, MemoryError) as error:
        return _Failed(error)


@cache
def _end_quickly() -> None:
    """Have this process, when it ends, not look through all that it loaded for garbage."""
    atexit.register(gc.freeze)


class _Watch:
    """Sees that the cluster has workers, and how many tasks they can run at a time."""

    def __init__(self, client: Any, stage: StageProgress) -> None:
        self._client = client
        self._stage = stage
        self._limit = worker_timeout()
        self._looked = 0.0
        self._seen = time.monotonic()

    def look(self) -> None:
        """Look, now and then; ClusterError where no worker has been there for too long."""
        now = time.monotonic()
        if self._client.status != "running":
            raise _lost()
        if now - self._looked < _LOOK:
            return
        self._looked = now
        with suppress(OSError):
            info = self._client.scheduler_info(n_workers=0)
            unfinished = self._stage.left + self._stage.running
            self._stage.running = min(info["total_threads"], unfinished)
            if info["n_workers"]:
                self._seen = now
                self._stage.waiting = ""
                return
        waited = now - self._seen
        if waited > self._limit:
            raise ClusterError(
                f"the cluster at {self._client.scheduler.address} had no worker for {waited:.0f} s "
                f"in the stage {self._stage.name}. Start workers: "
                f"dask worker {self._client.scheduler.address}. {_REMEDY}"
            )
        self._stage.wait_for(f"waiting for workers, up to {self._limit:.0f} s")


def worker_timeout() -> float:
    """Seconds to wait for a first worker, or for another once all are lost."""
    return float(parse_timedelta(dask.config.get("fae.worker-timeout", "10 minutes")))


def _lost() -> ClusterError:
    return ClusterError(f"the connection to the Dask scheduler is lost. {_REMEDY}")


def _failure(future: Any, result: Any) -> BaseException:
    """Why a task has no result: its own error, or a ClusterError."""
    from distributed import KilledWorker

    if future.status != "error":
        return _lost()
    error: BaseException = result[1]
    if isinstance(error, KilledWorker):
        return ClusterError(
            f"the task {error.task} was on {error.allowed_failures + 1} workers when they died, so "
            "it is not tried again. Most often memory ran out: give each worker more of it, or "
            "fewer threads. Where machines are taken away at any time, raise "
            f"distributed.scheduler.allowed-failures of the scheduler. {_REMEDY}"
        )
    return error
