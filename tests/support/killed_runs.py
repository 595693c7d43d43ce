"""Start processes for tests to kill: the four stages on the twenty rows, and Dask's."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.forked import Forked, forked
from tests.support.project import PYTHONPATH

#: The stages with a task log, in order.
STAGES = ["ingest", "splits", "merge", "profile", "ranks", "calibrate"]
STAGES += ["scatter", "rescatter", "partition"]
BLOCK_BYTES = 64
#: Few enough for tables to be counted in several ranges.
MOST_ENTRIES = 4
#: Few enough for dictionaries to be merged, level by level, before they are counted.
FAN_IN = 2
#: Few enough for rows to be rescattered.
SCATTERED_FILES = 2


def run_stages(directory: Path, scheduler: str, workers: int) -> None:
    """Run the four stages in `directory` as a command would, holding tasks as HOLD says."""
    import dask.config

    import tests.support.holding  # noqa: F401
    from fae.dataset.shuffle import rounds
    from fae.execution.executor import open_executor
    from fae.format.program import run_program
    from fae.logs.files import find_logs
    from fae.profiling import dictionary_tree, value_ranges
    from tests.support.oracle import Options
    from tests.support.small_logs import SHOP, SHOP_BUDGET, stages

    dask.config.refresh()  # it was read in another environment
    value_ranges.MAX_ENTRIES_PER_RANGE, value_ranges.MIN_ENTRIES_PER_PART = MOST_ENTRIES, 0
    dictionary_tree.MAX_ENTRIES_PER_SMALL_GROUP, dictionary_tree.MAX_FAN_IN = 0, FAN_IN
    rounds.MAX_SCATTERED_FILES = SCATTERED_FILES

    def program() -> int:
        logs = find_logs([str(directory / "shop.csv")], SHOP)
        options = Options(budget=SHOP_BUDGET)
        threads = None if scheduler or workers else 1
        with open_executor(threads, workers or None, scheduler or None) as executor:
            stages(logs, SHOP, directory, options, executor=executor, block_bytes=BLOCK_BYTES)
        return 0

    sys.exit(run_program(program, "finished tasks are kept"))


def environment(hold: Path) -> dict[str, str]:
    """Return the environment of a process that holds tasks as the files in `hold` say."""
    preload = {"DASK_DISTRIBUTED__WORKER__PRELOAD": '["tests.support.holding"]'}
    return {**os.environ, **preload, "PYTHONPATH": PYTHONPATH, "HOLD": str(hold)}


@contextmanager
def driver(directory: Path, hold: Path, scheduler: str = "", workers: int = 0) -> Iterator[Forked]:
    """Run the stages in `directory` in a process that is killed when the block ends."""
    files = {"errors": hold / "errors", "output": hold / "output"}
    with forked(
        run_stages, directory, scheduler, workers, environment=environment(hold), **files
    ) as started:
        yield started


@contextmanager
def process(command: list[str], hold: Path) -> Iterator[subprocess.Popen[str]]:
    """Start a process in a group of its own, with pipes, and kill the group at the end."""
    started = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(hold),
        start_new_session=True,
    )
    try:
        with started:
            try:
                yield started
            finally:
                if started.poll() is None:
                    os.killpg(started.pid, signal.SIGKILL)
    finally:
        assert started.poll() is not None


def until(
    found: Callable[[], object], process: subprocess.Popen[str] | Forked | None = None
) -> None:
    """Wait until `found` is true; fail if the process ends before, or after five minutes."""
    for _ in range(30_000):
        if found():
            return
        assert process is None or process.poll() is None, process
        time.sleep(0.01)
    raise AssertionError("nothing came within five minutes")


def holders(hold: Path, stage: str) -> list[int]:
    """Return the ids of the processes that hold a task of a stage."""
    return [int(path.name.split(".")[1]) for path in hold.glob(f"{stage}.*")]


def done_twice(hold: Path) -> list[str]:
    """Return the tasks that were done more than once."""
    counts = Counter((hold / "done").read_text().splitlines())
    return [task for task, count in counts.items() if count > 1]


def entries(directory: Path, stage: str) -> int:
    """How many results the task log of a stage holds."""
    return len(list(directory.glob(f"*.partial/journal.partial/{stage}/*.json")))


@contextmanager
def dask_scheduler(folder: Path, name: str = "scheduler") -> Iterator[tuple[str, int]]:
    """Start a Dask scheduler; yield its address and the id of its process."""
    import json

    file = folder / f"{name}.json"
    command = [sys.executable, "-m", "dask", "scheduler", "--host", "127.0.0.1", "--port", "0"]
    command += ["--dashboard-address", "127.0.0.1:0", "--scheduler-file", str(file)]
    with process(command, folder) as started:
        until(lambda: file.exists() and file.read_text().endswith("}"), started)
        yield json.loads(file.read_text())["address"], started.pid


@contextmanager
def dask_worker(address: str, folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Start a Dask worker of one thread, which holds tasks as the files in `folder` say."""
    command = [sys.executable, "-m", "dask", "worker", address, "--nthreads", "1"]
    command += ["--no-dashboard", "--local-directory", str(folder)]
    with process(command, folder) as started:
        yield started
