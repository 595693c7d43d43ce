"""Memory is used again once nobody holds what is in it, and never before."""

from __future__ import annotations

import gc
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from fae_trainer.data.buffers import Buffers
from fae_trainer.data.loader import HotColdLoader
from tests.support.trainer_data import RAGGED, Shape, write_dataset


def address(array: np.ndarray) -> int:
    return int(array.__array_interface__["data"][0])


def test_memory_is_used_again_when_its_array_is_gone() -> None:
    buffers = Buffers()
    array = buffers.empty((10, 3), np.int32)
    assert (array.shape, array.dtype) == ((10, 3), np.int32)
    first = address(array)
    assert address(buffers.empty((10, 3), np.int32)) != first
    del array
    assert address(buffers.empty((5, 3), np.float32)) == first


def test_a_tensor_and_its_views_hold_their_memory() -> None:
    buffers = Buffers()
    tensor = torch.from_numpy(buffers.empty((100, 3), np.int64))
    view = tensor[7:9].flatten()
    tensor.fill_(5)
    del tensor
    gc.collect()
    buffers.empty((100, 3), np.int64).fill(6)
    assert view.tolist() == [5] * 6


def test_what_is_larger_than_any_memory_gets_its_own() -> None:
    buffers = Buffers()
    buffers.empty((10,), np.uint8)
    large = buffers.empty((3 << 20,), np.uint8)
    large.fill(1)
    assert large.size == 3 << 20
    assert buffers.empty((0, 4), np.float32).shape == (0, 4)


@given(sizes=st.lists(st.integers(1, 4000), min_size=1, max_size=60))
def test_arrays_that_are_held_share_no_memory(sizes: list[int]) -> None:
    buffers = Buffers()

    def filled(number: int) -> np.ndarray:
        buffers.empty((sizes[number],), np.int32).fill(-1)  # gone at once
        array = buffers.empty((sizes[number],), np.int32)
        array.fill(number)
        return array

    with ThreadPoolExecutor(4) as pool:
        arrays = list(pool.map(filled, range(len(sizes))))
    for number, (array, size) in enumerate(zip(arrays, sizes, strict=True)):
        assert array.tolist() == [number] * size


def test_a_copy_has_no_memory_yet() -> None:
    buffers = Buffers()
    buffers.empty((4,), np.int8)
    assert pickle.loads(pickle.dumps(buffers)).empty((4,), np.int8).shape == (4,)


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
