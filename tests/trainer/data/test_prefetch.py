"""Prefetching keeps the order and ends with its context; uploads are complete and in order."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from fae.format.errors import DatasetError
from fae_trainer.data.batches import Batch
from fae_trainer.data.loader import HotColdLoader
from fae_trainer.data.prefetch import prefetch, upload_ahead
from tests.support.trainer_data import RAGGED, Shape, write_dataset


def test_prefetching_keeps_order_and_bounds_what_is_ahead() -> None:
    made = []

    def items() -> Iterator[int]:
        for i in range(50):
            made.append(i)
            yield i

    with prefetch(items(), depth=3) as ahead:
        for taken in ahead:
            assert len(made) <= taken + 1 + 3 + 1
    assert made == list(range(50))


def test_an_error_in_the_thread_comes_where_its_item_would() -> None:
    def items() -> Iterator[int]:
        yield 1
        yield 2
        raise DatasetError("file 3")

    seen = []
    with pytest.raises(DatasetError, match="file 3"), prefetch(items(), depth=8) as ahead:
        seen.extend(ahead)
    assert seen == [1, 2]


def test_the_thread_ends_with_its_context() -> None:
    before = threading.active_count()
    with pytest.raises(ZeroDivisionError), prefetch(itertools.count(), depth=2) as ahead:
        1 // next(ahead)
    assert threading.active_count() == before


def contents(batch: Batch) -> tuple[object, ...]:
    offsets = None if batch.offsets is None else batch.offsets.tolist()
    return batch.hot, batch.label.tolist(), batch.dense.tolist(), batch.ids.tolist(), offsets


@pytest.fixture(params=["plain", "ragged"])
def data(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    write_dataset(tmp_path / "data", RAGGED if request.param == "ragged" else Shape())
    return tmp_path / "data"


def test_on_the_cpu_batches_pass_untouched_and_none_is_taken_ahead(data: Path) -> None:
    batches = list(HotColdLoader(data, batch_size=16))
    taken = []

    def take() -> Iterator[Batch]:
        for batch in batches:
            taken.append(batch)
            yield batch

    for number, batch in enumerate(upload_ahead(take(), "cpu", 3)):
        assert batch is batches[number]
        assert len(taken) == number + 1
    assert len(taken) == len(batches)


@pytest.mark.usefixtures("cuda")
@pytest.mark.parametrize("cache", ["none", "host", "device"])
@pytest.mark.parametrize("depth", [0, 1, 5, 100])
@pytest.mark.parametrize("apart", [False, True])
def test_on_a_gpu_batches_arrive_whole_and_ahead(
    data: Path, cache: str, depth: int, apart: bool
) -> None:
    expected = [contents(batch) for batch in HotColdLoader(data, batch_size=16)]
    loader = HotColdLoader(data, batch_size=16, cache=cache, device="cuda")
    using = torch.cuda.Stream() if apart else torch.cuda.current_stream()
    found, sums = [], []
    with torch.cuda.stream(using):
        for batch in upload_ahead(loader, "cuda", depth):
            assert batch.ids.is_cuda
            assert (batch.buffer is not None) == (cache != "device")
            sums.append(batch.dense.sum() + batch.label.sum())  # reads on the stream, unwaited
            found.append(contents(batch))
    assert found == expected
    assert len(sums) == len(expected)


@pytest.mark.usefixtures("cuda")
def test_batches_without_a_buffer_are_copied_array_by_array(data: Path) -> None:
    batches = [batch.slice(0, 2) for batch in HotColdLoader(data, batch_size=16)]
    found = list(upload_ahead(batches, "cuda", 2))
    assert [contents(batch) for batch in found] == [contents(batch) for batch in batches]
    assert all(batch.label.is_cuda for batch in found)
