"""Prefetching keeps the order, bounds what is ahead, and ends with its context."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator

import pytest

from fae.format.errors import DatasetError
from fae_trainer.data.prefetch import prefetch


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
