"""Running a stage's tasks: threads here by default, a Dask cluster where one is named.

Either way a stage is a list of independent tasks and one function, and the results come in the
order of the tasks, so what runs where never shows in the output.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import rich.console
from dask.base import compute
from dask.callbacks import Callback
from dask.delayed import delayed
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from pipeline.errors import ParameterError

Task = TypeVar("Task")
Result = TypeVar("Result")

#: Messages and progress go to standard error; standard output is for results.
console = rich.console.Console(stderr=True, highlight=False)


class Cluster:
    """Where tasks run: `threads` of this process, or the workers behind `client`."""

    def __init__(self, threads: int | None = None, client: Any = None) -> None:
        self.threads = threads or len(os.sched_getaffinity(0))
        self.client = client

    def run(
        self, stage: str, function: Callable[[Task], Result], tasks: Sequence[Task]
    ) -> list[Result]:
        """`function` of each task, in the order of the tasks; the first error stops the stage."""
        with _progress(stage, len(tasks)) as advance:
            if self.client is None:
                return self._run_threads(function, tasks, advance)
            return self._run_workers(stage, function, tasks, advance)

    def _run_threads(
        self,
        function: Callable[[Task], Result],
        tasks: Sequence[Task],
        advance: Callable[[], None],
    ) -> list[Result]:
        calls = [delayed(function, pure=False, traverse=False)(task) for task in tasks]
        with Callback(posttask=lambda *_: advance()):
            results = compute(
                *calls, scheduler="threads", num_workers=self.threads, optimize_graph=False
            )
        return list(results)

    def _run_workers(
        self,
        stage: str,
        function: Callable[[Task], Result],
        tasks: Sequence[Task],
        advance: Callable[[], None],
    ) -> list[Result]:
        keys = [f"{stage}-{os.urandom(4).hex()}-{number}" for number in range(len(tasks))]
        futures = self.client.map(function, tasks, key=keys, pure=False)
        for future in futures:
            future.add_done_callback(lambda _: advance())
        try:
            return list(self.client.gather(futures))
        finally:
            self.client.cancel(futures)


@contextmanager
def cluster(
    threads: int | None = None, workers: int | None = None, scheduler: str | None = None
) -> Iterator[Cluster]:
    """Threads of this process, `workers` local processes, or the cluster at `scheduler`."""
    if workers and scheduler:
        raise ParameterError("give --workers for a local cluster or --scheduler for another.")
    if not workers and not scheduler:
        yield Cluster(threads)
        return
    import distributed

    if scheduler:
        try:
            client = distributed.Client(scheduler, timeout="30s")
        except (OSError, ValueError) as error:
            raise ParameterError(f"no Dask scheduler answers at {scheduler}: {error}") from None
        with client:
            yield Cluster(threads, client)
        return
    with (
        distributed.LocalCluster(
            n_workers=workers, threads_per_worker=1, dashboard_address="127.0.0.1:0"
        ) as local,
        distributed.Client(local) as client,
    ):
        yield Cluster(threads, client)


@contextmanager
def _progress(stage: str, total: int) -> Iterator[Callable[[], None]]:
    """A bar on a terminal; nothing elsewhere."""
    columns = (
        TextColumn("{task.description:<10}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, disable=not sys.stderr.isatty()) as progress:
        bar = progress.add_task(stage, total=total)
        yield lambda: progress.advance(bar)
