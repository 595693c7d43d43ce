"""A batch lies in one buffer, and comes out of it as it went in."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fae_trainer.data.bags import select_features
from fae_trainer.data.batches import (
    ALIGNMENT_BYTES,
    Batch,
    BatchShape,
    Block,
    Piece,
    gather,
)
from fae_trainer.data.buffers import Buffers


def make_batch(samples: int, features: int, dense: int, seed: int, ragged: bool) -> Batch:
    rng = np.random.default_rng(seed)
    lengths = rng.integers(0, 4, samples * features) if ragged else np.ones(samples * features)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    ids = rng.integers(0, 1000, offsets[-1]).astype(np.int32)
    return Batch(
        torch.from_numpy(rng.integers(0, 2, samples).astype(np.float32)),
        torch.from_numpy(rng.normal(size=(samples, dense)).astype(np.float32)),
        torch.from_numpy(ids),
        torch.from_numpy(offsets) if ragged else None,
        seed % 2 == 0,
    )


def samples_of(batch: Batch) -> list[tuple[object, ...]]:
    """Each sample's label, dense features and ids by feature."""
    offsets = (
        range(len(batch.ids) + 1) if batch.offsets is None else [int(at) for at in batch.offsets]
    )
    bags = [tuple(batch.ids[a:b].tolist()) for a, b in itertools.pairwise(offsets)]
    return [
        (
            batch.label[at].item(),
            tuple(batch.dense[at].tolist()),
            tuple(bags[at * batch.features : (at + 1) * batch.features]),
        )
        for at in range(len(batch))
    ]


@pytest.mark.parametrize("kind", [torch.int32, torch.int64])
@pytest.mark.parametrize("bounds", [0, 13])
@pytest.mark.parametrize("dense", [0, 3])
def test_arrays_of_a_buffer_are_aligned_and_share_no_byte(
    kind: torch.dtype, bounds: int, dense: int
) -> None:
    shape = BatchShape(6, dense, 17, bounds, kind)
    batch = shape.view(torch.zeros(shape.bytes, dtype=torch.uint8), hot=True)
    assert batch.shape == shape
    arrays = [batch.ids, batch.label, batch.dense, batch.offsets]
    arrays = [array for array in arrays if array is not None]
    for number, array in enumerate(arrays):
        array.fill_(number + 1)
        assert array.data_ptr() % ALIGNMENT_BYTES == 0
    assert all(set(array.flatten().tolist()) <= {n + 1} for n, array in enumerate(arrays))
    assert (bounds > 0) == (batch.offsets is not None)


@given(
    st.lists(st.tuples(st.integers(1, 9), st.integers(0, 3)), min_size=1, max_size=4),
    st.booleans(),
    st.integers(0, 3),
    st.data(),
)
def test_gathered_samples_are_those_of_the_pieces_in_their_order(
    blocks: list[tuple[int, int]], ragged: bool, dense: int, data: st.DataObject
) -> None:
    pieces, expected = [], []
    for samples, seed in blocks:
        batch = make_batch(samples, 3, dense, 2 * seed, ragged)
        rows = data.draw(st.lists(st.integers(0, samples - 1), min_size=1, max_size=12))
        pieces.append(Piece(Block.on_host(batch), np.array(rows)))
        expected += [samples_of(batch)[row] for row in rows]
    found = gather(pieces, Buffers().allocate)
    assert samples_of(found) == expected
    assert found.hot
    assert found.buffer is not None


@given(
    st.integers(1, 9),
    st.integers(0, 5),
    st.booleans(),
    st.lists(st.integers(0, 3), min_size=1, max_size=4, unique=True),
)
def test_selected_features_have_their_ids_and_their_samples(
    samples: int, seed: int, ragged: bool, columns: list[int]
) -> None:
    batch = make_batch(samples, 4, 2, seed, ragged)
    found = select_features(batch, torch.tensor(columns))
    if found.offsets is not None:  # ids behind the last offset belong to no bag
        assert len(found.ids) == len(batch.ids)
        found = dataclasses.replace(found, ids=found.ids[: found.offsets[-1]])
        assert found.offsets.dtype == batch.offsets.dtype
    expected = [
        (label, dense, tuple(bags[column] for column in columns))
        for label, dense, bags in samples_of(batch)
    ]
    assert samples_of(found) == expected
    assert found.ids.dtype == batch.ids.dtype


@pytest.mark.usefixtures("cuda")
@pytest.mark.parametrize("ragged", [False, True])
def test_a_block_on_the_device_is_permuted_and_cut_as_on_the_host(ragged: bool) -> None:
    block = Block.on_host(make_batch(9, 3, 2, 0, ragged))
    order = np.random.default_rng(0).permutation(9)
    there = block.to(torch.device("cuda")).permute_on_device(order)
    for start, stop in ((0, 9), (2, 7), (8, 9)):
        found = there.slice(start, stop)
        assert found.ids.is_cuda
        expected = gather([Piece(block, order[start:stop])], Buffers().allocate)
        assert samples_of(found.to("cpu")) == samples_of(expected)


@pytest.mark.usefixtures("cuda")
@pytest.mark.parametrize("in_buffer", [False, True])
def test_a_part_stays_one_wherever_it_goes(in_buffer: bool) -> None:
    batch = make_batch(9, 3, 2, 0, False)
    if in_buffer:
        batch = gather([Piece(Block.on_host(batch), np.arange(9))], Buffers().allocate)
    part = dataclasses.replace(batch, part_of=20)
    for moved in (part.pin_memory(), part.to("cuda"), part.pin_memory().to("cuda").to("cpu")):
        assert moved.samples == 20


@pytest.mark.usefixtures("cuda")
def test_pinning_keeps_the_buffer_so_that_one_copy_takes_the_batch_to_the_device() -> None:
    block = Block.on_host(make_batch(9, 3, 2, 0, True))
    batch = gather([Piece(block, np.arange(9))], Buffers().allocate)
    there = batch.pin_memory().to("cuda", non_blocking=True)
    assert there.buffer is not None
    assert there.buffer.is_cuda
    assert samples_of(there.to("cpu")) == samples_of(batch)


def test_where_a_batch_already_is_nothing_is_copied() -> None:
    batch = gather([Piece(Block.on_host(make_batch(9, 3, 2, 0, False)), np.arange(9))], _bytes)
    assert batch.to("cpu") is batch


def _bytes(size: int) -> torch.Tensor:
    return torch.empty(size, dtype=torch.uint8)
