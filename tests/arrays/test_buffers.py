"""A thread uses its buffers again for the same use, and shares them with no other thread."""

from __future__ import annotations

import weakref
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import numpy as np

from fae.arrays.buffers import free_buffers, reuse_buffer


def test_a_buffer_is_used_again_for_the_same_use_alone() -> None:
    first = reuse_buffer("one", (3, 4), np.int32)
    other = reuse_buffer("two", (3, 4), np.int32)
    again = reuse_buffer("one", (6,), np.int64)
    assert first.shape == (3, 4)
    assert np.shares_memory(first, again)
    assert not np.shares_memory(first, other)
    assert reuse_buffer("one", (1000,), np.int8).size == 1000


def test_buffers_of_all_threads_are_freed() -> None:
    def allocate() -> weakref.ref[object]:
        return weakref.ref(reuse_buffer("mine", (100,), np.int64).base)

    with ThreadPoolExecutor(1) as pool:
        buffer = pool.submit(allocate).result()
        assert buffer() is not None
        free_buffers()
        assert buffer() is None
        assert pool.submit(allocate).result()() is not None


def test_each_thread_has_buffers_of_its_own() -> None:
    barrier = Barrier(2, timeout=30)

    def fill(value: int) -> bool:
        array = reuse_buffer("mine", (100,), np.int64)
        array[:] = value
        barrier.wait()
        return bool((array == value).all())

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(fill, [1, 2])) == [True, True]
