"""Where tasks run never shows: threads and processes give the same results in the same order."""

from __future__ import annotations

import gc
import os
import pickle
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import distributed
import pytest

from fae.commit.task_log import make_steps
from fae.execution.executor import Executor, open_executor
from fae.format.errors import LogError, ParameterError
from fae.ingestion.parameters import IngestParameters
from fae.ingestion.stage import ingest
from fae.logs.files import find_logs
from tests.support.oracle import Options
from tests.support.project import PYTHONPATH
from tests.support.small_logs import (
    SHOP,
    SHOP_BUDGET,
    SHOP_LOG,
    Stages,
    digests,
    rejects_of,
    stages,
    written,
)


def process_of(task: int) -> tuple[int, int]:
    return task, os.getpid()


def fails_at_3(task: int) -> int:
    if task == 3:
        raise LogError("the third")
    return task


@pytest.mark.parametrize("threads", [1, 2, 7])
def test_threads_give_results_in_the_order_of_the_tasks(threads: int) -> None:
    tasks = list(range(20))
    assert Executor(threads).run("test", lambda task: task * task, tasks) == [t * t for t in tasks]


def test_the_first_tasks_are_done_first() -> None:
    done: list[int] = []
    Executor(1).run("test", done.append, list(range(150)))
    assert done == list(range(150))


def test_no_tasks_give_no_results() -> None:
    assert Executor(1).run("test", process_of, []) == []


def test_one_thread_is_one_thread() -> None:
    running: list[int] = []
    most = []
    lock = threading.Lock()

    def task(number: int) -> None:
        with lock:
            running.append(number)
            most.append(len(running))
        running.remove(number)

    Executor(1).run("test", task, range(50))
    assert max(most) == 1


def test_the_default_is_a_thread_for_each_core_that_may_be_used() -> None:
    assert Executor().threads == len(os.sched_getaffinity(0))


def test_an_error_in_a_thread_is_the_stages_error() -> None:
    with pytest.raises(LogError, match="the third"):
        Executor(2).run("test", fails_at_3, range(6))


def test_workers_are_processes_and_keep_the_order(workers: Executor) -> None:
    found = workers.run("test", process_of, range(12))
    assert [task for task, _ in found] == list(range(12))
    assert os.getpid() not in {process for _, process in found}


def test_an_error_in_a_worker_is_the_stages_error(workers: Executor) -> None:
    with pytest.raises(LogError, match="the third"):
        workers.run("test", fails_at_3, range(6))


def test_processes_write_the_same_bytes_as_threads(
    workers: Executor, shop: Stages, tmp_path: Path
) -> None:
    found = find_logs(written(tmp_path, {"shop.csv": SHOP_LOG}), SHOP)
    options = Options(budget=SHOP_BUDGET)
    made = stages(found, SHOP, tmp_path, options, executor=workers, block_bytes=64)
    assert len(made.staging.parts) > 4
    assert digests(made.dataset) == digests(shop.dataset)


def test_rejects_come_from_processes_too(workers: Executor, tmp_path: Path) -> None:
    found = find_logs(written(tmp_path, {"shop.csv": SHOP_LOG + "x\n" * 3}), SHOP)
    with pytest.raises(LogError, match="3 of 23 lines"):
        ingest(found, SHOP, tmp_path / "out", workers, IngestParameters.of(), block_bytes=100)
    assert [reject["line"] for reject in rejects_of(tmp_path / "out.rejects")] == [22, 23, 24]


class Weighed(Executor):
    """Threads, and the bytes of the largest of each stage's tasks as they would be sent."""

    def __init__(self) -> None:
        super().__init__(1)
        self.bytes: dict[str, int] = {}

    def run(
        self, stage: str, function: Callable[[Any], Any], tasks: Sequence[Any], **options: Any
    ) -> list[Any]:
        sent = make_steps(stage, function, tasks, options.get("task_log"))
        self.bytes[stage] = max((len(pickle.dumps(step)) for step in sent), default=0)
        return super().run(stage, function, tasks, **options)


def test_tasks_carry_paths_and_not_data(tmp_path: Path) -> None:
    head, *lines = SHOP_LOG.splitlines(keepends=True)
    sizes = []
    for name, times in (("a", 1), ("b", 40)):
        log = head + "".join(line * times for line in lines)
        found = find_logs(written(tmp_path / name, {"shop.csv": log}), SHOP)
        weighed = Weighed()
        options = Options(budget=SHOP_BUDGET)
        block = len(log) // 5
        stages(found, SHOP, tmp_path / name, options, executor=weighed, block_bytes=block)
        sizes.append(weighed.bytes)
    few, many = sizes
    assert few.keys() == many.keys()
    assert set(many) > {"ingest", "profile", "calibrate", "scatter", "partition"}
    for stage, size in many.items():
        assert size < 10_000
        assert size - few[stage] < 20  # longer numbers


@pytest.fixture
def address(workers: Executor) -> str:
    """Where the scheduler of the two processes listens."""
    return str(workers.client.scheduler.address)


def test_a_scheduler_is_named_by_its_address(address: str, workers: Executor) -> None:
    with open_executor(scheduler=address) as here:
        assert os.getpid() not in {pid for _, pid in here.run("test", process_of, [1])}


def test_a_scheduler_is_named_by_the_environment_unless_an_option_says_otherwise(
    address: str,
) -> None:
    program = (
        "import os\nfrom fae.execution.executor import open_executor\n"
        "for options in ({}, {'threads': 1}):\n"
        "    with open_executor(**options) as here: print(here.client is None)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "DASK_SCHEDULER_ADDRESS": address, "PYTHONPATH": PYTHONPATH},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["False", "True"]
    assert "dashboard: http://127.0.0.1:" in done.stderr


@pytest.mark.parametrize("text", [None, "", "{}", "[]", "3"])
def test_a_file_that_names_no_scheduler_is_the_users_mistake(
    tmp_path: Path, text: str | None
) -> None:
    if text is not None:
        (tmp_path / "file.json").write_text(text)
    with (
        pytest.raises(ParameterError, match=r"file\.json has no scheduler's address"),
        open_executor(scheduler_file=tmp_path / "file.json"),
    ):
        pass


def test_tasks_are_named_by_their_stage(workers: Executor) -> None:
    for stage in ("ingest", "scatter"):
        workers.run(stage, process_of, range(4))
    prefixes = workers.client.run_on_scheduler(
        lambda dask_scheduler: [*dask_scheduler.task_prefixes]
    )
    assert {"ingest", "scatter"} <= set(prefixes)


def test_a_cluster_is_local_or_another() -> None:
    with (
        pytest.raises(ParameterError, match="use only one of --workers and --scheduler"),
        open_executor(workers=2, scheduler="tcp://127.0.0.1:1"),
    ):
        pass


@pytest.mark.parametrize("address", ["here", "nonsense://127.0.0.1:1"])
def test_what_is_no_address_is_the_users_mistake(address: str) -> None:
    with pytest.raises(ParameterError, match=r"here|nonsense"), open_executor(scheduler=address):
        pass
    left = [one for one in gc.get_objects() if issubclass(type(one), distributed.Client)]
    assert "connecting" not in {one.status for one in left}


def test_a_scheduler_that_does_not_answer_is_the_users_mistake(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def deaf(*_: object, **__: object) -> None:
        raise OSError("timed out")

    monkeypatch.setattr("distributed.Client.__init__", deaf)
    with (
        pytest.raises(ParameterError, match=r"no Dask scheduler answers at tcp://127\.0\.0\.1:1"),
        open_executor(scheduler="tcp://127.0.0.1:1"),
    ):
        pass


# ── Memory ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("needs", "most"), [(0, 3), (10, 3), (40, 2), (99, 1), (1000, 1)])
def test_no_more_tasks_run_at_a_time_than_memory_holds(needs: int, most: int) -> None:
    running: list[int] = []
    together: list[int] = []
    lock = threading.Lock()

    def task(number: int) -> int:
        with lock:
            running.append(number)
            together.append(len(running))
        time.sleep(0.02)
        with lock:
            running.remove(number)
        return number

    found = Executor(3, memory=100).run("test", task, range(12), needs=needs)
    assert found == list(range(12))
    assert max(together) <= most


@pytest.mark.parametrize("text", [" ", "0", "many", "1,5GiB", "-1GiB"])
def test_what_is_no_size_of_memory_is_refused(text: str) -> None:
    with pytest.raises(ParameterError, match=r"--memory .* is not"), open_executor(memory=text):
        pass


def test_steps_of_the_calling_thread_are_a_stage_that_may_end_early(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with Executor(1).track("rank", 5) as end_step:
        end_step()
        end_step()
    assert "rank: 2 of 2 tasks done" in capsys.readouterr().err
