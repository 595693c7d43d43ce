"""Run a stage's tasks: on threads by default, on a Dask cluster where one is named.

Either way a stage is a list of independent tasks and one function, and the results come in the
order of the tasks, so where they run never shows in the output.
"""

import json
import logging
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any, TypeVar

import dask.config
import psutil
from dask import threaded
from dask.callbacks import Callback

from fae.arrays.buffers import free_buffers
from fae.commit.task_log import make_steps, perform_step, read_finished
from fae.execution.dask_backend import CountRows, Steps, run_steps
from fae.execution.progress import RunProgress, StageProgress, console
from fae.execution.timings import OpenRound, Timings, measure_task
from fae.format.errors import ClusterError, ParameterError
from fae.format.memory import parse_bytes
from fae.storage.folder import FolderLike

Task = TypeVar("Task")
Result = TypeVar("Result")

_CONNECT_TIMEOUT = "30s"


class Executor:
    """Where tasks run: `threads` of this process, or the workers behind `client`.

    `memory` is what this process may use, in bytes; by default half of the machine's.
    """

    def __init__(
        self, threads: int | None = None, client: Any = None, memory: int | None = None
    ) -> None:
        self.threads = threads or len(os.sched_getaffinity(0))
        self.client = client
        self.memory = memory or psutil.virtual_memory().total // 2
        self.timings = Timings()
        self._progress = RunProgress()

    def run(
        self,
        stage: str,
        function: Callable[[Task], Result],
        tasks: Sequence[Task],
        *,
        task_log: FolderLike | None = None,
        rows: CountRows[Result] = None,
        needs: int = 0,
    ) -> list[Result]:
        """Return `function` of each task, in the order of the tasks; the first error is raised.

        A task `needs` so many bytes: no more threads run than memory allows, but always one. With
        `task_log`, an unfinished output, results are logged in it, and tasks whose results an
        earlier run has logged are skipped. `rows` counts the rows behind a result, for the rate.
        """
        if not tasks:
            return []
        steps = make_steps(stage, function, tasks, task_log)
        results = read_finished(steps)
        left = {number: step for number, step in enumerate(steps) if number not in results}
        left_steps = list(left.values())
        with (
            self.timings.measure_round(stage, len(left), len(results)) as measured,
            self._progress.stage(stage, len(steps), kept=len(results)) as progress,
        ):
            if self.client is None:
                measured.threads = min(self.threads, max(self.memory // max(needs, 1), 1))
                new = _run_threads(left_steps, progress, rows, measured)
            else:
                new = run_steps(self.client, left_steps, progress, rows, measured)
        results |= zip(left, new, strict=True)
        return [results[number] for number in range(len(steps))]

    @contextmanager
    def track(self, stage: str, steps: int) -> Iterator[Callable[[], None]]:
        """Show a stage of at most so many steps of this thread; yield what to call after each."""
        with self.timings.measure_step(stage), self._progress.stage(stage, steps) as progress:
            progress.begin_task()

            def end_step() -> None:
                progress.end_task()
                progress.begin_task()

            yield end_step
            progress.total, progress.running = progress.done, 0


def _run_threads(
    steps: Steps[Task, Result], stage: StageProgress, rows: CountRows[Result], measured: OpenRound
) -> list[Result]:
    """Return the results of `steps`, run by Dask's scheduler of threads.

    One more thread flushes files and writes the task log, so that the others need not wait for
    the disk; a single thread does it all itself.
    """

    def end_task(_key: object, result: Result, *_rest: object) -> None:
        stage.end_task(rows(result) if rows else 0)

    def record_later(record: Callable[[], None]) -> None:
        records.append(recorder.submit(record))

    records: list[Future[None]] = []
    threads = measured.threads
    perform = perform_step if threads == 1 else partial(perform_step, later=record_later)

    def measure_step(number: int) -> Result:
        with measure_task(measured.tasks):
            return perform(steps[number])

    # Dask runs independent tasks in descending order of their names. The graph has the steps'
    # numbers: Dask would look for collections in all that a step holds, a millisecond for each.
    count = len(steps)
    names = [f"{count - number:0{len(str(count))}}" for number in range(count)]
    graph = {name: (measure_step, number) for number, name in enumerate(names)}
    with (
        ThreadPoolExecutor(1, "task-log") as recorder,
        Callback(pretask=lambda *_: stage.begin_task(), posttask=end_task),
    ):
        results = threaded.get(graph, names, num_workers=threads)
    for future in records:
        future.result()  # raises what the other thread raised
    free_buffers()
    return list(results)


@contextmanager
def open_executor(
    threads: int | None = None,
    workers: int | None = None,
    scheduler: str | None = None,
    scheduler_file: Path | None = None,
    memory: str | None = None,
) -> Iterator[Executor]:
    """Yield the executor that one of the options names: threads, `workers` here, or a cluster.

    `memory`, such as 8GiB, is for this process, or divided among the local `workers`. Without
    options, tasks run on the cluster that DASK_SCHEDULER_ADDRESS (or Dask's configuration) names,
    or else on threads. Raises ParameterError for two options and where no scheduler answers, and
    ClusterError where local workers cannot start.
    """
    options = ("--threads", "--workers", "--scheduler", "--scheduler-file")
    values = (threads, workers, scheduler, scheduler_file)
    given = [name for name, value in zip(options, values, strict=True) if value]
    if len(given) > 1:
        raise ParameterError(f"use only one of {' and '.join(given)}: each says where to run.")
    address = _read_address(scheduler_file) if scheduler_file else scheduler
    if not given:
        address = dask.config.get("scheduler-address", None)
    allowed = _parse_memory(memory) if memory else None
    if not workers and not address:
        yield Executor(threads, memory=allowed)
        return
    import distributed.client  # noqa: F401  it sets its loggers' levels

    logging.getLogger("distributed").setLevel(logging.WARNING)
    for name in ("distributed.client", "tornado.application"):  # errors are raised as ClusterError
        logging.getLogger(name).setLevel(logging.CRITICAL)
    with ExitStack() as stack:
        cluster = _start_workers(workers, allowed) if workers else _connect(str(address))
        client = stack.enter_context(cluster)
        if "dashboard" in client.scheduler_info(n_workers=0)["services"]:
            console.print(f"dashboard: {client.dashboard_link}", soft_wrap=True)
        yield Executor(threads, client, allowed)


@contextmanager
def _start_workers(workers: int, memory: int | None) -> Iterator[Any]:
    """Yield a client of a new cluster of processes on this machine, of one thread each."""
    import distributed

    nannies = logging.getLogger("distributed.nanny")
    before = nannies.level
    preload = [*dask.config.get("distributed.worker.preload"), "fae.execution.local_worker"]
    try:
        nannies.setLevel(logging.CRITICAL)  # the error below says why none could start
        with _without_interrupts(), dask.config.set({"distributed.worker.preload": preload}):
            local = distributed.LocalCluster(
                n_workers=workers,
                threads_per_worker=1,
                memory_limit=memory // workers if memory else "auto",
                dashboard_address="127.0.0.1:0",
            )
    except (OSError, RuntimeError) as error:
        first: BaseException = error
        while first.__cause__ is not None and not isinstance(first, OSError):
            first = first.__cause__
        first = first if isinstance(first, OSError) else error
        raise ClusterError(
            f"cannot start {workers} worker processes ({first}). Check the limits on open files, "
            "processes and memory (ulimit -a), use fewer --workers, or use --threads."
        ) from None
    finally:
        nannies.setLevel(before)
    with local, distributed.Client(local) as client:
        try:
            yield client
        except (KeyboardInterrupt, SystemExit):
            logging.getLogger("distributed").setLevel(logging.CRITICAL)
            raise


@contextmanager
def _without_interrupts() -> Iterator[None]:
    """Defer Ctrl-C to the end of the block, and block it in processes that the block starts.

    A terminal sends it to all processes, but this one ends its workers itself. Python's resource
    tracker would unblock it in the thread that starts it, so it is started first.
    """
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _connect(address: str) -> Iterator[Any]:
    """Yield a client of the cluster at `address`."""
    import distributed

    class Client(distributed.Client):
        """A client that closes itself where it cannot connect.

        Otherwise the garbage collector closes it, in any thread and while any lock is held; a
        starting thread has deadlocked on itself that way.
        """

        def __init__(self) -> None:
            try:
                super().__init__(address, timeout=_CONNECT_TIMEOUT)  # type: ignore[no-untyped-call]
            except BaseException:
                with suppress(Exception):
                    self.close()  # type: ignore[no-untyped-call]
                raise

    try:
        client = Client()
    except (OSError, ValueError) as error:
        raise ParameterError(f"no Dask scheduler answers at {address}: {error}") from None
    with client:
        yield client


def _parse_memory(memory: str) -> int:
    """Return the bytes of the option --memory; raises ParameterError where it is invalid."""
    try:
        if size := parse_bytes(memory):
            return size
    except ValueError as error:
        raise ParameterError(f"--memory {memory!r} {error}.") from None
    raise ParameterError(f"--memory {memory!r} is not above 0.")


def _read_address(file: Path) -> str:
    """Return the address in the file that `dask scheduler --scheduler-file` writes."""
    try:
        return str(json.loads(file.read_text(encoding="utf-8"))["address"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ParameterError(
            f"{file} has no scheduler's address ({error}). Start a scheduler that writes it: "
            f"dask scheduler --scheduler-file {file}"
        ) from None
