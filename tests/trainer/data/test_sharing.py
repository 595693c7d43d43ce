"""Processes of one machine decode each window once; without one another they decode everything."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import torch

from fae.format.errors import DatasetError
from fae_trainer.data import leaf_reader, sharing
from fae_trainer.data.batches import Batch
from fae_trainer.data.loader import HotColdLoader
from fae_trainer.data.sharing import WindowName, WindowSharing, share_windows
from tests.support.forked import forked
from tests.support.trainer_data import RAGGED, Shape, write_dataset

BUDGET = 1 << 30
PLAIN = Shape(tables={"a": (50, 10), "b": (7, 7), "c": (30, 3), "d": (40, 15)})
SMALL = {"batch_size": 16, "buffer_rows": 40, "threads": 2}


def contents(batch: Batch) -> tuple[Any, ...]:
    offsets = None if batch.offsets is None else tuple(batch.offsets.tolist())
    dense = tuple(batch.dense.flatten().tolist())
    return batch.hot, tuple(batch.label.tolist()), dense, tuple(batch.ids.tolist()), offsets


@pytest.fixture(autouse=True)
def memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of the test's own in the place of the machine's memory."""
    (tmp_path / "memory").mkdir()
    monkeypatch.setattr(sharing, "MEMORY", tmp_path / "memory")
    return tmp_path / "memory"


@pytest.fixture(params=["plain", "ragged"])
def data(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    write_dataset(tmp_path / "data", RAGGED if request.param == "ragged" else PLAIN)
    return tmp_path / "data"


@pytest.fixture
def pair() -> Iterator[tuple[WindowSharing, WindowSharing]]:
    with ExitStack() as stack:
        first = WindowSharing.found(2, BUDGET)
        stack.callback(first.close)
        second = WindowSharing.join(first.folder, 1, 2, BUDGET)
        stack.callback(second.close)
        yield first, second


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> Counter[tuple[Any, ...]]:
    """How often each window was decoded, by any loader."""
    found: Counter[tuple[Any, ...]] = Counter()
    decode = leaf_reader.decode_row_groups

    def count(path: Path, metadata: Any, groups: range, *rest: Any) -> Batch:
        found[path, groups] += 1
        return decode(path, metadata, groups, *rest)

    monkeypatch.setattr(leaf_reader, "decode_row_groups", count)
    return found


def read_together(loaders: list[HotColdLoader], epochs: int = 1) -> list[list[tuple[Any, ...]]]:
    """Iterate over loaders in step, as processes do that train together."""
    found: list[list[tuple[Any, ...]]] = [[] for _ in loaders]
    for _ in range(epochs):
        for batches in zip(*loaders, strict=True):
            for batch, into in zip(batches, found, strict=True):
                into.append(contents(batch))
    return found


@pytest.mark.parametrize("cache", ["none", "host"])
def test_each_window_is_decoded_once_and_all_read_the_same_batches(
    data: Path,
    cache: str,
    pair: tuple[WindowSharing, WindowSharing],
    decoded: Counter[tuple[Any, ...]],
    memory: Path,
) -> None:
    loaders = [HotColdLoader(data, sharing=one, cache=cache, **SMALL) for one in pair]
    found = read_together(loaders, epochs=3)
    assert len(decoded) > 4
    assert set(decoded.values()) == {1 if cache == "host" else 3}
    alone = HotColdLoader(data, cache="none", **SMALL)
    assert found[0] == found[1] == [contents(batch) for _ in range(3) for batch in alone]
    left = [path.name for path in memory.rglob("*") if path.is_file()]
    assert sorted(left) == ["lock-0", "lock-1"]


def test_mixed_windows_are_shared_too(
    tmp_path: Path, pair: tuple[WindowSharing, WindowSharing], decoded: Counter[tuple[Any, ...]]
) -> None:
    write_dataset(tmp_path / "data", PLAIN)
    chosen = {**SMALL, "cache": "none", "mixed_windows": 3}
    loaders = [HotColdLoader(tmp_path / "data", sharing=one, **chosen) for one in pair]
    with ThreadPoolExecutor(2) as pool:  # a batch needs windows of both, so none can wait
        found = list(pool.map(lambda one: [contents(batch) for batch in one], loaders))
    assert set(decoded.values()) == {1}
    assert found[0] == found[1]


def test_windows_beyond_the_budget_are_decoded_by_everyone(
    data: Path, decoded: Counter[tuple[Any, ...]]
) -> None:
    with ExitStack() as stack:
        first = WindowSharing.found(2, 0)
        stack.callback(first.close)
        second = WindowSharing.join(first.folder, 1, 2, 0)
        stack.callback(second.close)
        loaders = [
            HotColdLoader(data, sharing=one, cache="none", **SMALL) for one in (first, second)
        ]
        found = read_together(loaders)
    assert set(decoded.values()) == {2}
    assert found[0] == found[1]


def test_the_budget_counts_what_readers_have_not_taken(
    pair: tuple[WindowSharing, WindowSharing], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = pair
    monkeypatch.setattr(first, "budget", 2 * (64 + make_window().shape.bytes))
    stopped = threading.Event()
    stopped.set()  # wait for nothing

    def give(number: int) -> None:
        first.read(WindowName("leaf", 1, 0, number), 0, make_window, False, stopped)

    def take(number: int) -> bool:
        own = make_window()
        name = WindowName("leaf", 1, 0, number)
        return second.read(name, 0, lambda: own, False, stopped) is not own

    for number in range(3):
        give(number)
    assert [take(number) for number in range(3)] == [True, True, False]
    give(3)
    assert take(3)


def make_window() -> Batch:
    shape = sharing.BatchShape(100, 2, 300, 0, torch.int32)
    return shape.view(torch.arange(shape.bytes, dtype=torch.int64).to(torch.uint8), True)


def test_full_memory_is_no_error(
    pair: tuple[WindowSharing, WindowSharing], monkeypatch: pytest.MonkeyPatch, memory: Path
) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise OSError(28, "No space left on device")

    first, second = pair
    name, own = WindowName("leaf", 1, 0, 0), make_window()
    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", fail)
        assert len(first.read(name, 0, make_window, False, threading.Event())) == 100
    assert second.read(name, 0, lambda: own, False, threading.Event()) is own
    assert not [path for path in memory.rglob("*") if path.is_file() and "lock" not in path.name]


def test_an_error_of_the_owner_is_an_error_of_every_process(
    data: Path, pair: tuple[WindowSharing, WindowSharing], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sharing, "PATIENCE_SECONDS", 0.02)
    for path in data.glob("split=train/temperature=cold/*.parquet"):
        content = bytearray(path.read_bytes())
        content[30:400] = b"\xff" * 370
        path.write_bytes(content)
    for one in pair:
        with pytest.raises(DatasetError, match="cannot be read as Parquet"):
            list(HotColdLoader(data, sharing=one, cache="none", **SMALL))


def test_whoever_waits_in_vain_decodes(
    data: Path,
    pair: tuple[WindowSharing, WindowSharing],
    decoded: Counter[tuple[Any, ...]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sharing, "PATIENCE_SECONDS", 0.02)
    expected = [contents(batch) for batch in HotColdLoader(data, cache="none", **SMALL)]
    decoded.clear()
    late = HotColdLoader(data, sharing=pair[1], cache="none", **SMALL)
    assert [contents(batch) for batch in late] == expected
    assert set(decoded.values()) == {1}
    early = HotColdLoader(data, sharing=pair[0], cache="none", **SMALL)  # what it gives stays
    assert [contents(batch) for batch in early] == expected
    decoded.clear()
    monkeypatch.setattr(sharing, "PATIENCE_SECONDS", 60)
    read_together([early, late])  # nobody takes the earlier names
    assert sum(decoded.values()) < 2 * len(decoded)


def test_an_abandoned_epoch_waits_for_nobody(
    data: Path, pair: tuple[WindowSharing, WindowSharing], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sharing, "PATIENCE_SECONDS", 3600)
    begin = iter(HotColdLoader(data, sharing=pair[0], cache="none", **SMALL))
    threads = threading.active_count()
    other = iter(HotColdLoader(data, sharing=pair[1], cache="none", **SMALL))
    next(begin), next(other)
    del begin, other
    assert threading.active_count() == threads


def test_only_whole_windows_of_this_reading_are_taken(
    pair: tuple[WindowSharing, WindowSharing],
) -> None:
    first, second = pair
    stopped = threading.Event()
    first.read(WindowName("leaf", 1, 0, 0), 0, make_window, False, stopped)
    second.begin_reading("leaf", 2)
    assert not list((first.folder / "to-1").iterdir())
    first.read(WindowName("leaf", 2, 0, 0), 0, make_window, False, stopped)
    first.read(WindowName("leaf-x", 1, 0, 0), 0, make_window, False, stopped)
    second.begin_reading("leaf", 2)
    assert len(list((first.folder / "to-1").iterdir())) == 2


def _lead(data: Path, memory: Path, killed: bool) -> None:
    sharing.MEMORY = memory
    first = WindowSharing.found(2, BUDGET)
    (memory / "folder").write_text(str(first.folder))
    while not (first.folder / "lock-1").exists():
        time.sleep(0.01)
    for number, _ in enumerate(HotColdLoader(data, sharing=first, cache="none", **SMALL)):
        if killed and number == 2:
            os.kill(os.getpid(), signal.SIGKILL)
    first.close()


@pytest.mark.parametrize("killed", [False, True])
def test_processes_share_and_the_survivor_of_a_kill_goes_on(
    tmp_path: Path, memory: Path, decoded: Counter[tuple[Any, ...]], killed: bool
) -> None:
    write_dataset(tmp_path / "data", Shape(hot=900, cold=1300))
    alone = HotColdLoader(tmp_path / "data", cache="none", **SMALL)
    expected = [contents(batch) for batch in alone]
    every = len(decoded)
    decoded.clear()
    with forked(_lead, tmp_path / "data", memory, killed, errors=tmp_path / "errors") as leader:
        while not (memory / "folder").exists():
            assert leader.poll() is None, leader.errors
            time.sleep(0.01)
        second = WindowSharing.join(Path((memory / "folder").read_text()), 1, 2, BUDGET)
        loader = HotColdLoader(tmp_path / "data", sharing=second, cache="none", **SMALL)
        assert [contents(batch) for batch in loader] == expected
        leader.wait(60)
    assert leader.poll() == (-signal.SIGKILL if killed else 0), leader.errors
    assert (len(decoded) < every) or killed
    second.close()
    assert not second.folder.exists()


def _hold(memory: Path, count: int) -> None:
    sharing.MEMORY = memory
    first = WindowSharing.found(2, BUDGET)
    first.read(WindowName("leaf", 1, 0, 0), 0, make_window, False, threading.Event())
    (memory / f"ready-{count}").touch()
    time.sleep(600)


def test_the_next_one_removes_the_folders_of_killed_processes_alone(
    tmp_path: Path, memory: Path
) -> None:
    with forked(_hold, memory, 0, errors=tmp_path / "errors") as lives:
        with forked(_hold, memory, 1, errors=tmp_path / "errors") as dies:
            while len(list(memory.glob("ready-*"))) < 2:
                assert dies.poll() is None, dies.errors
                time.sleep(0.01)
            dies.kill()
        assert len(list(memory.glob("fae-windows-*"))) == 2
        WindowSharing.found(2, BUDGET).close()
        assert len(list(memory.glob("fae-windows-*"))) == 1
        lives.kill()
    WindowSharing.found(2, BUDGET).close()
    assert not list(memory.glob("fae-windows-*"))


def _gatherer(values: list[Any], barrier: threading.Barrier, rank: int) -> Any:
    def gather(value: Any) -> list[Any]:
        values[rank] = value
        barrier.wait(30)
        found = list(values)
        barrier.wait(30)
        return found

    return gather


def enter_all(size: int) -> list[tuple[int, int] | None]:
    """Have threads enter a sharing as processes do; return each one's place and group size."""
    values: list[Any] = [None] * size
    barrier = threading.Barrier(size)
    places: list[tuple[int, int] | None] = [None] * size

    def enter(rank: int) -> None:
        with share_windows(rank, size, _gatherer(values, barrier, rank), "none") as own:
            places[rank] = (own.rank, own.size) if own else None
            barrier.wait(30)

    threads = [threading.Thread(target=enter, args=(rank,)) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return places


def test_processes_of_a_machine_find_one_another(memory: Path) -> None:
    assert enter_all(3) == [(0, 3), (1, 3), (2, 3)]
    assert not list(memory.iterdir())


def test_processes_of_other_machines_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    machines = iter("ababc")
    lock = threading.Lock()

    def describe() -> str:
        with lock:
            return next(machines)

    monkeypatch.setattr(sharing, "_describe_memory", describe)
    places = enter_all(5)
    assert Counter(places) == Counter({(0, 2): 2, (1, 2): 2, None: 1})


def test_where_memory_cannot_be_written_nobody_shares(
    monkeypatch: pytest.MonkeyPatch, memory: Path
) -> None:
    join = WindowSharing.join

    def refuse(folder: Path, rank: int, size: int, budget: int) -> WindowSharing:
        if rank == 2:
            raise PermissionError(13, "Permission denied")
        return join(folder, rank, size, budget)

    monkeypatch.setattr(WindowSharing, "join", refuse)
    assert enter_all(3) == [None, None, None]
    assert not list(memory.iterdir())
    monkeypatch.setattr(sharing, "MEMORY", memory / "absent")
    assert enter_all(2) == [None, None]


def test_a_process_alone_asks_nobody() -> None:
    with share_windows(0, 1, lambda _: pytest.fail("asked"), "none") as own:
        assert own is None
