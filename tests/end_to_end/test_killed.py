"""Processes that are killed: what is finished stays finished, and the bytes are the same."""

from __future__ import annotations

import os
import shutil
import signal
import threading
from pathlib import Path

import dask.config
import distributed  # noqa: F401  its defaults would go with the first block of dask.config.set
import pytest

from fae.dataset.shuffle import rounds
from fae.execution.executor import Executor, open_executor
from fae.format.errors import ClusterError
from fae.logs.files import find_logs
from fae.profiling import dictionary_tree, value_ranges
from tests.support.killed_runs import (
    BLOCK_BYTES,
    FAN_IN,
    MOST_ENTRIES,
    SCATTERED_FILES,
    STAGES,
    dask_scheduler,
    dask_worker,
    done_twice,
    driver,
    entries,
    holders,
    until,
)
from tests.support.oracle import Options
from tests.support.quick_workers import quick_workers
from tests.support.small_logs import SHOP, SHOP_BUDGET, SHOP_LOG, Stages, digests, stages, written

OPTIONS = Options(budget=SHOP_BUDGET)


@pytest.fixture(autouse=True)
def _all_rounds_of_small_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(value_ranges, "MAX_ENTRIES_PER_RANGE", MOST_ENTRIES)
    monkeypatch.setattr(value_ranges, "MIN_ENTRIES_PER_PART", 0)
    monkeypatch.setattr(dictionary_tree, "MAX_FAN_IN", FAN_IN)
    monkeypatch.setattr(rounds, "MAX_SCATTERED_FILES", SCATTERED_FILES)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Make a directory with the twenty rows."""
    place = tmp_path / "place"
    written(place, {"shop.csv": SHOP_LOG})
    return place


@pytest.fixture
def hold(tmp_path: Path) -> Path:
    """Make the folder that says which stages' tasks are held."""
    hold = tmp_path / "hold"
    hold.mkdir()
    return hold


def run(place: Path, here: Executor) -> Stages:
    found = find_logs([str(place / "shop.csv")], SHOP)
    return stages(found, SHOP, place, OPTIONS, executor=here, block_bytes=BLOCK_BYTES)


def finished_files(place: Path) -> dict[Path, tuple[int, int]]:
    """Every file whose task is finished for sure: inode and time of its last change."""
    return {
        path: (path.stat().st_ino, path.stat().st_mtime_ns)
        for path in (place / "staging").rglob("*.arrow")
    }


def test_a_driver_killed_in_each_stage_goes_on_where_it_was(
    place: Path, hold: Path, shop: Stages
) -> None:
    staged = {}
    for stage in STAGES:
        (hold / stage).write_text("rest")
        with driver(place, hold) as process:
            until(lambda stage=stage: holders(hold, stage), process)  # type: ignore[misc]
            assert entries(place, stage) == 1
            process.kill()
        (hold / stage).unlink()
        if stage == "splits":
            staged = finished_files(place)
        assert finished_files(place) == staged
    assert len(staged) > 4
    made = run(place, Executor(1))
    assert done_twice(hold) == []
    assert finished_files(place) == staged
    assert digests(made.dataset) == digests(shop.dataset)
    names = ["dataset", "frequencies", "hot_set", "shop.csv", "staging"]
    assert sorted(path.name for path in place.iterdir()) == names


@pytest.mark.parametrize(
    ("workers", "number", "code", "says"),
    [
        (0, signal.SIGTERM, 143, "terminated"),
        (2, signal.SIGINT, 130, "interrupted"),
    ],
)
def test_a_signal_is_told_and_leaves_what_is_finished(
    place: Path,
    hold: Path,
    shop: Stages,
    workers: int,
    number: int,
    code: int,
    says: str,
) -> None:
    (hold / "scatter").write_text("rest")
    with driver(place, hold, workers=workers) as process:
        until(lambda: holders(hold, "scatter"), process)
        os.killpg(process.pid, number)  # as a terminal does it
        (hold / "scatter").unlink()
        assert process.wait(60) == code
    assert (hold / "output").read_text() == ""
    errors = process.errors
    assert errors.splitlines()[-1] == f"{says}; finished tasks are kept"
    assert "Traceback" not in errors
    assert entries(place, "scatter") >= 1
    assert not list(place.glob("*.lock"))
    assert digests(run(place, Executor(2)).dataset) == digests(shop.dataset)


def test_a_worker_killed_in_some_stages_does_not_show(
    place: Path, hold: Path, shop: Stages
) -> None:
    made: list[Stages] = []
    stages = ("ingest", "merge", "scatter", "rescatter")
    for stage in stages:
        (hold / stage).write_text("all")
    config = {"distributed.worker.preload": ["tests.support.holding"]}
    with dask.config.set(config), quick_workers(2, HOLD=str(hold)) as here:
        runner = threading.Thread(target=lambda: made.append(run(place, here)))
        runner.start()
        for stage in stages:
            until(lambda stage=stage: holders(hold, stage))  # type: ignore[misc]
            os.kill(holders(hold, stage)[0], signal.SIGKILL)
            (hold / stage).unlink()
        runner.join()
    assert digests(made[0].dataset) == digests(shop.dataset)
    assert not list(place.rglob("*.partial"))


def test_a_scheduler_that_dies_ends_the_run_and_the_next_goes_on(
    place: Path, hold: Path, shop: Stages
) -> None:
    (hold / "ingest").write_text("rest")
    with (
        dask_scheduler(hold) as (address, scheduler),
        dask_worker(address, hold),
        driver(place, hold, address) as process,
    ):
        until(lambda: holders(hold, "ingest"), process)
        os.kill(scheduler, signal.SIGKILL)
        assert process.wait(60) == 1
    assert "error: the connection to the Dask scheduler is lost. Finished tasks" in process.errors
    assert "Traceback" not in process.errors
    (hold / "ingest").unlink()
    with driver(place, hold) as process:
        assert process.wait(60) == 0, process
    assert "1 kept from an earlier run" in process.errors
    assert done_twice(hold) == []
    assert digests(place / "dataset") == digests(shop.dataset)


def suicide(task: int) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return task


def test_a_task_that_takes_its_workers_along_is_given_up() -> None:
    config = {"distributed.scheduler.allowed-failures": 1}
    with (
        dask.config.set(config),
        quick_workers(1) as here,
        pytest.raises(ClusterError, match=r"was on 2 workers when they died.*memory"),
    ):
        here.run("test", suicide, [1])


def test_a_cluster_without_workers_is_waited_for_and_then_given_up(
    hold: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with (
        dask_scheduler(hold) as (address, _),
        dask.config.set({"fae.worker-timeout": "2s"}),
        open_executor(scheduler_file=hold / "scheduler.json") as here,
        pytest.raises(
            ClusterError, match=rf"{address} had no worker .* Start workers: dask worker"
        ),
    ):
        here.run("test", suicide, [1])
    assert "waiting for workers, up to 2 s" in capsys.readouterr().err


def test_what_another_kind_of_error_leaves_can_be_gone_on_from(
    place: Path, shop: Stages, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as context:
        context.setattr(shutil, "copyfile", None)
        with pytest.raises(TypeError):
            run(place, Executor(2))
    assert entries(place, "partition") == 6
    assert digests(run(place, Executor(2)).dataset) == digests(shop.dataset)
