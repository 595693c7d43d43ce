"""Running a stage's tasks: threads here by default, a Dask cluster where one is named.

Either way a stage is a list of independent tasks and one function, and the results come in the
order of the tasks, so what runs where never shows in the output.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import rich.console
from dask.base import compute
from dask.callbacks import Callback
from dask.delayed import delayed
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from pipeline import journal as journals
from pipeline.errors import ParameterError
from pipeline.journal import Step, perform

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
        self,
        stage: str,
        function: Callable[[Task], Result],
        tasks: Sequence[Task],
        *,
        journal: Path | None = None,
    ) -> list[Result]:
        """`function` of each task, in the order of the tasks; the first error stops the stage.

        With `journal`, an unfinished output, results are recorded in it, and tasks whose results an
        earlier run has recorded are not run.
        """
        steps = journals.steps(stage, function, tasks, journal)
        results = journals.finished(steps)
        left = [number for number in range(len(steps)) if number not in results]
        with _progress(stage, len(steps)) as advance:
            for _ in results:
                advance()
            todo = [steps[number] for number in left]
            if self.client is None:
                found = self._run_threads(todo, advance)
            else:
                found = self._run_workers(stage, todo, advance)
        results |= zip(left, found, strict=True)
        return [results[number] for number in range(len(steps))]

    def _run_threads(
        self, steps: Sequence[Step[Task, Result]], advance: Callable[[], None]
    ) -> list[Result]:
        calls = [delayed(perform, pure=False, traverse=False)(step) for step in steps]
        with Callback(posttask=lambda *_: advance()):
            results = compute(
                *calls, scheduler="threads", num_workers=self.threads, optimize_graph=False
            )
        return list(results)

    def _run_workers(
        self, stage: str, steps: Sequence[Step[Task, Result]], advance: Callable[[], None]
    ) -> list[Result]:
        keys = [f"{stage}-{os.urandom(4).hex()}-{number}" for number in range(len(steps))]
        futures = self.client.map(perform, steps, key=keys, pure=False)
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
