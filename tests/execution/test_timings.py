"""Where the time goes is known without gaps, and lies beside an output, never in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from fae.execution.executor import Executor
from fae.execution.timings import (
    DRIVER,
    Round,
    TaskUsage,
    Timings,
    Usage,
    add_up_workers,
    measure_shortage,
    read_timings,
)
from fae.format.atomic_files import flush
from tests.support.quick_workers import quick_workers


def task(
    began: float, ended: float, process: str = "a", used: tuple[float, float] = (0, 0)
) -> TaskUsage:
    return TaskUsage(process, Usage(began, used[0]), Usage(ended, used[1]), 0.0)


def test_seconds_with_too_few_tasks_are_those_before_between_and_after_them() -> None:
    # Two threads: both work from 1 to 3 and from 4 to 5.
    tasks = [task(0, 3), task(1, 5), task(4, 7)]
    assert measure_shortage(tasks, 2, 8.0) == 8.0 - 3.0
    assert measure_shortage(tasks, 1, 8.0) == 1.0
    assert measure_shortage([], 2, 8.0) == 8.0


def test_what_overlapping_tasks_of_a_worker_use_is_counted_once() -> None:
    tasks = [task(1, 4, used=(10, 14)), task(2, 6, used=(12, 17)), task(8, 9, used=(20, 21))]
    other = [task(1, 3, process="b", used=(5, 5.5))]
    assert add_up_workers([*tasks, *other]).processor_seconds == pytest.approx(7 + 1 + 0.5)
    assert add_up_workers(list(reversed(tasks))).processor_seconds == pytest.approx(7 + 1)
    assert add_up_workers([]) == Usage()


def spin(_: int) -> int:
    """Use the processor for a while."""
    return sum(range(200_000))


def write_and_flush(path: str) -> int:
    """Write a file of 100,000 bytes, read it, and have the disk hold it."""
    Path(path).write_bytes(b"x" * 100_000)
    flush(Path(path))
    return len(Path(path).read_bytes())


def timings_of(executor: Executor, out: Path) -> list[Round]:
    """Write what an executor measured beside `out`, and read it."""
    executor.timings.write(out)
    rounds = read_timings(out)
    assert rounds is not None
    return rounds


def test_rounds_and_what_lies_between_them_are_in_order_and_leave_no_gap(tmp_path: Path) -> None:
    executor = Executor(2)
    began = Usage.now()
    executor.timings.begin_stage("count")
    executor.run("first", spin, range(5))
    with executor.timings.measure_step("rank"):
        spin(0)
    executor.run("second", spin, range(3))
    whole = Usage.now() - began
    rounds = timings_of(executor, tmp_path / "out")
    names = [(one.stage, one.name) for one in rounds]
    assert names[:4] == [
        ("start-up", DRIVER), ("count", DRIVER), ("count", "first"), ("count", "rank")
    ]  # fmt: skip
    assert names[4:] == [("count", "second")]
    assert [one.tasks for one in rounds] == [0, 0, 5, 0, 3]
    seconds = sum(one.usage.seconds for one in rounds)
    assert seconds >= whole.seconds
    assert sum(one.usage.processor_seconds for one in rounds) >= whole.processor_seconds
    for one in rounds:
        assert 0 <= one.serial_seconds <= one.usage.seconds
        assert 0 <= one.threads_at_work <= one.threads
        assert one.longest_thread_seconds <= one.thread_seconds


def test_bytes_and_waits_for_the_disk_are_those_of_the_round(tmp_path: Path) -> None:
    executor = Executor(2)
    executor.timings.begin_stage("stage")
    executor.run("write", write_and_flush, [str(tmp_path / str(n)) for n in range(4)])
    written = timings_of(executor, tmp_path / "out")[-1].usage
    assert written.bytes_written >= 400_000
    assert written.bytes_read >= 400_000
    assert written.flush_seconds > 0


def test_what_worker_processes_use_is_counted(tmp_path: Path) -> None:
    with quick_workers(2) as executor:
        executor.timings.begin_stage("stage")
        executor.run("write", write_and_flush, [str(tmp_path / str(n)) for n in range(4)])
        rounds = timings_of(executor, tmp_path / "out")
    (done,) = (one for one in rounds if one.tasks)
    assert (done.tasks, done.threads) == (4, 2)
    assert done.usage.bytes_written >= 400_000
    assert done.usage.flush_seconds > 0
    assert done.task_seconds > 0


def test_tasks_of_an_earlier_run_are_told_apart(tmp_path: Path) -> None:
    executor = Executor(1)
    executor.timings.begin_stage("stage")
    executor.run("spin", spin, range(2), task_log=tmp_path / "partial")
    executor.run("spin", spin, range(3), task_log=tmp_path / "partial")
    done = [one for one in timings_of(executor, tmp_path / "out") if one.name == "spin"]
    assert [(one.tasks, one.kept) for one in done] == [(2, 0), (1, 2)]


def test_nothing_is_written_where_no_stage_had_work(tmp_path: Path) -> None:
    timings = Timings()
    with timings.measure_step("look"):
        pass
    timings.write(tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_an_executor_that_is_used_again_counts_anew(tmp_path: Path) -> None:
    executor = Executor(1)
    for out in ("first", "second"):
        executor.timings.begin_stage(out)
        executor.run(out, spin, range(1))
        names = [one.name for one in timings_of(executor, tmp_path / out) if one.tasks]
        assert names == [out]


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"version": 99}', '{"version": 1}', "\xff"])
def test_a_file_that_cannot_be_read_tells_nothing(tmp_path: Path, text: str) -> None:
    assert read_timings(tmp_path / "out") is None
    (tmp_path / "out.timings.json").write_bytes(text.encode("latin-1"))
    assert read_timings(tmp_path / "out") is None


def test_a_task_that_raises_ends_its_round(tmp_path: Path) -> None:
    executor = Executor(2)
    executor.timings.begin_stage("stage")

    def fail(_: int) -> int:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        executor.run("fail", fail, range(3))
    executor.run("spin", spin, range(2))
    rounds = timings_of(executor, tmp_path / "out")
    assert [one.name for one in rounds if one.tasks] == ["spin"]
