"""A thread's workspace is taken again by its next task, and by no other thread's."""

from __future__ import annotations

import weakref
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import numpy as np

from fae.arrays.buffers import free_buffers, reuse_buffer


def test_memory_is_used_again_for_the_same_use_alone() -> None:
    first = reuse_buffer("one", (3, 4), np.int32)
    other = reuse_buffer("two", (3, 4), np.int32)
    again = reuse_buffer("one", (6,), np.int64)
    assert first.shape == (3, 4)
    assert np.shares_memory(first, again)
    assert not np.shares_memory(first, other)
    assert reuse_buffer("one", (1000,), np.int8).size == 1000


def test_what_threads_keep_is_given_back() -> None:
    def mine() -> weakref.ref[object]:
        return weakref.ref(reuse_buffer("mine", (100,), np.int64).base)

    with ThreadPoolExecutor(1) as pool:
        kept = pool.submit(mine).result()
        assert kept() is not None
        free_buffers()
        assert kept() is None
        assert pool.submit(mine).result()() is not None


def test_each_thread_has_its_own() -> None:
    barrier = Barrier(2, timeout=30)

    def mine(value: int) -> bool:
        array = reuse_buffer("mine", (100,), np.int64)
        array[:] = value
        barrier.wait()
        return bool((array == value).all())

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(mine, [1, 2])) == [True, True]
