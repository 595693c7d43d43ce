"""Running a stage's tasks: threads here by default, a Dask cluster where one is named.

Either way a stage is a list of independent tasks and one function, and the results come in the
order of the tasks, so what runs where never shows in the output.
"""

from __future__ import annotations

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
from dask.base import compute
from dask.callbacks import Callback
from dask.delayed import delayed

from fae.arrays.buffers import free_buffers
from fae.commit import task_log as journals
from fae.commit.task_log import Step, perform_step
from fae.execution.dask_backend import run_steps
from fae.execution.progress import RunProgress, StageProgress, console
from fae.format.errors import ClusterError, ParameterError
from fae.format.units import parse_bytes
from fae.storage.folder import FolderLike

Task = TypeVar("Task")
Result = TypeVar("Result")

_CONNECT = "30s"


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
        self._board = RunProgress()

    def run(
        self,
        stage: str,
        function: Callable[[Task], Result],
        tasks: Sequence[Task],
        *,
        task_log: FolderLike | None = None,
        rows: Callable[[Result], int] | None = None,
        needs: int = 0,
    ) -> list[Result]:
        """`function` of each task, in the order of the tasks; the first error stops the stage.

        One task `needs` so many bytes: no more threads work than memory holds, but one always. With
        `task_log`, an unfinished output, results are recorded in it, and tasks whose results an
        earlier run has recorded are not run. `rows` tells the rows behind a result, for the rate.
        """
        if not tasks:
            return []
        steps = journals.make_steps(stage, function, tasks, task_log)
        results = journals.read_finished(steps)
        left = [number for number in range(len(steps)) if number not in results]
        todo = [steps[number] for number in left]
        with self._board.stage(stage, len(steps), kept=len(results)) as shown:
            if self.client is None:
                threads = min(self.threads, max(self.memory // max(needs, 1), 1))
                found = self._run_threads(todo, shown, rows, threads)
            else:
                found = run_steps(self.client, todo, shown, rows)
        results |= zip(left, found, strict=True)
        return [results[number] for number in range(len(steps))]

    def _run_threads(
        self,
        steps: Sequence[Step[Task, Result]],
        shown: StageProgress,
        rows: Callable[[Result], int] | None,
        threads: int,
    ) -> list[Result]:
        def ended(_key: object, result: Result, *_rest: object) -> None:
            shown.end_task(rows(result) if rows else 0)

        def later(record: Callable[[], None]) -> None:
            records.append(recorder.submit(record))

        records: list[Future[None]] = []
        doing = perform_step if threads == 1 else partial(perform_step, later=later)
        call = delayed(doing, pure=False, traverse=False)
        last = len(steps)  # Dask takes independent tasks by their names, the greatest first
        names = [f"{last - number:0{len(str(last))}}" for number in range(last)]
        calls = [call(s, dask_key_name=name) for s, name in zip(steps, names, strict=True)]
        with (
            ThreadPoolExecutor(1, "task-log") as recorder,
            Callback(pretask=lambda *_: shown.begin_task(), posttask=ended),
        ):
            results = compute(
                *calls, scheduler=threaded.get, num_workers=threads, optimize_graph=False
            )
        for record in records:
            record.result()
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
    """Where one of the options says: threads here, a local cluster of `workers`, or another.

    `memory`, such as 8GiB, is for this process, and shared out among a local cluster's workers.
    Without options, the cluster that DASK_SCHEDULER_ADDRESS (or Dask's configuration) names, or
    else threads. Raises ParameterError for two options and where no scheduler answers.
    """
    options = {
        "--threads": threads,
        "--workers": workers,
        "--scheduler": scheduler,
        "--scheduler-file": scheduler_file,
    }
    given = [name for name, value in options.items() if value]
    if len(given) > 1:
        raise ParameterError(f"give one of {' or '.join(given)}: each says where to run.")
    address = _address_in(scheduler_file) if scheduler_file else scheduler
    if not given:
        address = dask.config.get("scheduler-address", None)
    allowed = _bytes_of(memory) if memory else None
    if not workers and not address:
        yield Executor(threads, memory=allowed)
        return
    import distributed.client  # noqa: F401  it sets its loggers' levels

    logging.getLogger("distributed").setLevel(logging.WARNING)
    for told_here in ("distributed.client", "tornado.application"):
        logging.getLogger(told_here).setLevel(logging.CRITICAL)
    with ExitStack() as stack:
        client = stack.enter_context(_local(workers, allowed) if workers else _remote(str(address)))
        if "dashboard" in client.scheduler_info(n_workers=0)["services"]:
            console.print(f"dashboard: {client.dashboard_link}", soft_wrap=True)
        yield Executor(threads, client, allowed)


@contextmanager
def _local(workers: int, memory: int | None) -> Iterator[Any]:
    """A client of a new cluster of processes of this machine, of one thread each."""
    import distributed

    nannies = logging.getLogger("distributed.nanny")
    before = nannies.level
    try:
        nannies.setLevel(logging.CRITICAL)  # why none could be started is told below
        with _without_interrupts():
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
            f"the {workers} worker processes could not be started ({first}). Look at the limits on "
            "open files, processes and memory (ulimit -a), give fewer --workers, or use --threads."
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
    """Have Ctrl-C wait for the end of the block, and not reach processes begun by threads of it.

    A terminal sends it to all processes alike, and the workers' ends are this process's to see to.
    Python's resource tracker lets it through again in the thread that starts it, so it starts here.
    """
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _remote(address: str) -> Iterator[Any]:
    """A client of the cluster at `address`."""
    import distributed

    class Client(distributed.Client):
        """A client that is closed where it cannot be opened.

        Otherwise the garbage collector does it, in any thread and while any lock is held: a thread
        that was just starting has been seen to wait for itself.
        """

        def __init__(self) -> None:
            try:
                super().__init__(address, timeout=_CONNECT)  # type: ignore[no-untyped-call]
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


def _bytes_of(memory: str) -> int:
    """Return the bytes of the option --memory; ParameterError where it is none."""
    try:
        if size := parse_bytes(memory):
            return size
    except ValueError as error:
        raise ParameterError(f"--memory {memory!r} {error}.") from None
    raise ParameterError(f"--memory {memory!r} is not above 0.")


def _address_in(file: Path) -> str:
    """The address in the file that `dask scheduler --scheduler-file` writes."""
    try:
        return str(json.loads(file.read_text(encoding="utf-8"))["address"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ParameterError(
            f"{file} tells no scheduler's address ({error}). Start one that writes it: "
            f"dask scheduler --scheduler-file {file}"
        ) from None
