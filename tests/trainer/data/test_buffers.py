"""Memory is used again once nobody holds what is in it, and never before."""

from __future__ import annotations

import gc
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from fae_trainer.data.buffers import Buffers, allocate_pinned, round_up
from fae_trainer.data.loader import HotColdLoader
from tests.support.trainer_data import RAGGED, Shape, write_dataset


def test_memory_is_used_again_when_its_bytes_are_gone() -> None:
    buffers = Buffers()
    memory = buffers.allocate(120)
    assert (memory.shape, memory.dtype) == ((120,), torch.uint8)
    first = memory.data_ptr()
    assert buffers.allocate(120).data_ptr() != first
    del memory
    assert buffers.allocate(60).data_ptr() == first


@pytest.mark.parametrize("hold", [lambda view: view, lambda view: view.numpy()[2:]])
def test_views_of_torch_and_numpy_hold_their_memory(hold: object) -> None:
    buffers = Buffers()
    memory = buffers.allocate(2400)
    memory.view(torch.int64).fill_(5)
    view = hold(memory.view(torch.int64)[7:19])  # type: ignore[operator]
    del memory
    gc.collect()
    buffers.allocate(2400).fill_(6)
    assert set(view.tolist()) == {5}


def test_what_is_larger_than_any_memory_gets_its_own() -> None:
    buffers = Buffers()
    buffers.allocate(10)
    large = buffers.allocate(3 << 20)
    large.fill_(1)
    assert len(large) == 3 << 20
    assert len(buffers.allocate(0)) == 0


@given(st.integers(0, 1 << 40))
def test_blocks_are_little_larger_than_asked_and_of_few_sizes(size: int) -> None:
    rounded = round_up(size)
    assert size <= rounded <= max(size * 9 // 8 + 1, size + 4096)
    assert round_up(rounded) == rounded


@given(sizes=st.lists(st.integers(1, 16000), min_size=1, max_size=60))
def test_bytes_that_are_held_share_no_memory(sizes: list[int]) -> None:
    buffers = Buffers()

    def fill(number: int) -> Tensor:
        buffers.allocate(sizes[number]).fill_(255)  # gone at once
        return buffers.allocate(sizes[number]).fill_(number)

    with ThreadPoolExecutor(4) as pool:
        filled = list(pool.map(fill, range(len(sizes))))
    for number, (memory, size) in enumerate(zip(filled, sizes, strict=True)):
        assert memory.tolist() == [number] * size


def test_a_copy_has_no_memory_yet() -> None:
    buffers = Buffers()
    buffers.allocate(4)
    assert len(pickle.loads(pickle.dumps(buffers)).allocate(4)) == 4


@pytest.mark.usefixtures("cuda")
def test_memory_for_a_gpu_is_page_locked() -> None:
    assert allocate_pinned(100).is_pinned()


def test_batches_that_are_kept_stay_as_they_came(tmp_path: Path) -> None:
    for name, shape in (("plain", Shape()), ("ragged", RAGGED)):
        write_dataset(tmp_path / name, shape)
        loader = HotColdLoader(tmp_path / name, batch_size=8, cache="none", buffer_rows=8)
        kept = list(loader)
        loader.set_epoch(0)
        for before, batch in zip(kept, loader, strict=True):
            assert torch.equal(before.ids, batch.ids)
            assert torch.equal(before.dense, batch.dense)
            assert torch.equal(before.label, batch.label)
