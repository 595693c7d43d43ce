"""Run a stage's steps on a Dask cluster, whose machines come, go and die.

Dask repeats the tasks of a lost worker elsewhere. What it cannot recover from ends the stage with a
ClusterError, which keeps the unfinished output for the next run to resume.
"""

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

from fae.commit import task_log  # as a module, so that tests can replace perform_step
from fae.commit.task_log import Step
from fae.execution.cluster_versions import check_versions
from fae.execution.progress import StageProgress
from fae.execution.timings import OpenRound, TaskUsage, measure_task
from fae.format.errors import ClusterError, FaeError

Task = TypeVar("Task")
Result = TypeVar("Result")
Steps = Sequence[Step[Task, Result]]
#: Counts the rows behind a result, for the rate; None where a stage has no rate.
CountRows = Callable[[Result], int] | None

#: Seconds between looks for results, and for workers.
_POLL_SECONDS = 0.02
_WATCH_SECONDS = 1.0
_REMEDY = "Finished tasks are kept; run the same command to resume."


def run_steps(
    client: Any,
    steps: Steps[Task, Result],
    stage: StageProgress,
    rows: CountRows[Result],
    measured: OpenRound,
) -> list[Result]:
    """Return the results of `steps` in their order, or raise the first error of a task.

    Keys are STAGE-RUN-NUMBER, which Dask's dashboard shows as STAGE. Each result is fetched as soon
    as it is there, so a worker that dies loses few of them. Raises ClusterError where the scheduler
    is lost or another machine has other versions, where there is no worker for
    `fae.worker-timeout` of Dask's configuration (10 minutes), and where a task has killed too many
    workers.
    """
    from distributed import as_completed

    check_versions(client)
    run = os.urandom(4).hex()
    numbers = {f"{stage.name}-{run}-{number}": number for number in range(len(steps))}
    futures = client.map(_try_step, steps, key=list(numbers), pure=False)
    arriving = as_completed(futures, with_results=True, raise_errors=False)
    results: dict[int, Result] = {}
    watch = _Watch(client, stage)
    measured.workers = True
    measured.threads = max(sum(client.nthreads().values()), 1)
    try:
        while len(results) < len(steps):
            batch = arriving.next_batch(block=False)
            for future, result in batch:
                if future.status != "finished":
                    raise _failure(future, result)
                if isinstance(result, _Failed):
                    raise result.error
                result, usage = result
                measured.tasks.extend(usage)
                results[numbers[future.key]] = result
                stage.end_task(rows(result) if rows else 0)
                future.release()
            watch.look()
            if not batch:
                if arriving.is_empty() and len(results) < len(steps):
                    raise _connection_lost()
                time.sleep(_POLL_SECONDS)
    finally:
        if client.status == "running":
            with suppress(Exception):
                client.cancel([future for future in futures if not future.done()])
    return [results[number] for number in range(len(steps))]


@dataclass(frozen=True)
class _Failed:
    """The error of a step that failed for a reason that a user can fix."""

    error: Exception


def _try_step(step: Step[Task, Result]) -> tuple[Result, list[TaskUsage]] | _Failed:
    """Perform a step; return its result with what it used, or a user's error.

    Workers would log raised errors with a traceback.
    """
    _exit_quickly()
    usage: list[TaskUsage] = []
    try:
        with measure_task(usage, whole_process=True):
            result = task_log.perform_step(step)
        return result, usage
    except (FaeError, OSError, MemoryError) as error:
        return _Failed(error)


@cache
def _exit_quickly() -> None:
    """Keep this process from collecting the garbage of all that it loaded when it ends."""
    atexit.register(gc.freeze)


class _Watch:
    """Watches whether the cluster has workers, and how many tasks they run at a time."""

    def __init__(self, client: Any, stage: StageProgress) -> None:
        self._client = client
        self._stage = stage
        self._limit = worker_timeout()
        self._looked = 0.0
        self._missed: float | None = None  # when the first look found no worker

    def look(self) -> None:
        """Look once a second; raise ClusterError where there is no worker for too long."""
        now = time.monotonic()
        if self._client.status != "running":
            raise _connection_lost()
        if now - self._looked < _WATCH_SECONDS:
            return
        self._looked = now
        with suppress(OSError):
            info = self._client.scheduler_info(n_workers=0)
            unfinished = self._stage.left + self._stage.running
            self._stage.running = min(info["total_threads"], unfinished)
            if info["n_workers"]:
                self._missed = None
                self._stage.waiting = ""
                return
        self._missed = self._missed or now
        waited = now - self._missed
        if waited > self._limit:
            raise ClusterError(
                f"the cluster at {self._client.scheduler.address} had no worker for {waited:.0f} s "
                f"in the stage {self._stage.name}. Start workers: "
                f"dask worker {self._client.scheduler.address}. {_REMEDY}"
            )
        self._stage.wait_for(f"waiting for workers, up to {self._limit:.0f} s")


def worker_timeout() -> float:
    """Return the seconds to wait for a first worker, or for another once all are lost."""
    return float(parse_timedelta(dask.config.get("fae.worker-timeout", "10 minutes")))


def _connection_lost() -> ClusterError:
    return ClusterError(f"the connection to the Dask scheduler is lost. {_REMEDY}")


def _failure(future: Any, result: Any) -> BaseException:
    """Return why a task has no result: its own error, or a ClusterError."""
    from distributed import KilledWorker

    if future.status != "error":
        return _connection_lost()
    error: BaseException = result[1]
    if isinstance(error, KilledWorker):
        return ClusterError(
            f"the task {error.task} was on {error.allowed_failures + 1} workers when they died, so "
            "it is not retried. Most often they are out of memory: give each worker more, or fewer "
            "threads. Where machines can be taken away at any time, raise the scheduler's "
            f"distributed.scheduler.allowed-failures. {_REMEDY}"
        )
    if isinstance(error, ModuleNotFoundError):
        return ClusterError(
            f"a machine of the cluster lacks the module {error.name}. Install the same packages on "
            f"all machines. {_REMEDY}"
        )
    return error
