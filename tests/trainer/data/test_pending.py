"""Batches are cut from windows without gaps, and assembled once, whoever comes last."""

from __future__ import annotations

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fae_trainer.data.pending import Part, PendingBatch, cut_batches
from fae_trainer.data.windows import MixSlice, Window


def mixes(lengths: list[list[int]], skipped: int, dropped: int) -> list[MixSlice]:
    """Mixes of windows of so many rows, without the first and last rows of the first and last."""
    rng, found = np.random.default_rng(0), []
    for file, rows in enumerate(lengths):
        windows = [Window(file, n, range(n, n + 1), count) for n, count in enumerate(rows)]
        sources = rng.permutation(np.repeat(np.arange(len(rows)), rows))
        found.append(MixSlice(windows, sources, 0, len(sources)))
    found[0] = replace(found[0], start=min(skipped, found[0].stop - 1))
    found[-1] = replace(found[-1], stop=max(found[-1].stop - dropped, found[-1].start + 1))
    return found


@given(
    st.lists(st.lists(st.integers(1, 30), min_size=1, max_size=4), min_size=1, max_size=6),
    st.integers(1, 25),
    st.integers(0, 40),
    st.integers(0, 40),
)
def test_batches_take_every_row_once_in_order_and_end_in_order(
    lengths: list[list[int]], size: int, skipped: int, dropped: int
) -> None:
    slices = mixes(lengths, skipped, dropped)
    epoch = [  # the window that each row comes from, and its number there
        (window, int(np.sum(mix.sources[:at] == source)))
        for mix in slices
        for at, source in enumerate(mix.sources)
        if mix.start <= at < mix.stop
        for window in [mix.windows[source]]
    ]
    expected = [Counter(epoch[at : at + size]) for at in range(0, len(epoch), size)]
    shares = list(cut_batches(slices, [expected_rows.total() for expected_rows in expected]))
    taken: dict[PendingBatch, Counter[tuple[Window, int]]] = {}
    ended: list[PendingBatch] = []
    for share in shares:
        for part in share.parts:
            rows = Counter((share.window, row) for row in range(part.start, part.stop))
            taken.setdefault(part.batch, Counter()).update(rows)
        for batch in share.ended:  # has got all of its parts
            assert taken[batch] == expected[len(ended)]
            ended.append(batch)
        assert share.parts
    assert len(ended) == len(expected)
    assert set(ended) == set(taken)


def test_a_batch_has_its_pieces_window_by_window() -> None:
    (mix,) = mixes([[30, 20, 40]], 0, 0)
    shares = list(cut_batches([mix], [90]))
    assert [part.number for share in shares for part in share.parts] == [0, 1, 2]
    assert [(part.start, part.stop) for share in shares for part in share.parts] == [
        (0, 30),
        (0, 20),
        (0, 40),
    ]


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_the_last_piece_assembles_all_in_their_order(order: tuple[int, ...]) -> None:
    batch: Any = PendingBatch(6)
    parts = [Part(batch, 0, 4, 5), Part(batch, 1, 0, 2), Part(batch, 2, 0, 3)]
    assembled: list[list[str]] = []

    def assemble(pieces: Any) -> Any:
        assembled.append(pieces)
        return "whole"

    for number in order:
        assert not assembled
        batch.add(parts[number], f"piece {number}", assemble)
    assert assembled == [["piece 0", "piece 1", "piece 2"]]
    assert batch.take() == "whole"


def test_of_many_threads_one_assembles() -> None:
    barrier = threading.Barrier(8)
    counts: list[int] = []
    for _ in range(50):
        batch = PendingBatch(8)

        def add(number: int, batch: PendingBatch = batch) -> None:
            barrier.wait(30)
            part = Part(batch, number, number, number + 1)
            batch.add(part, number, lambda pieces: counts.append(len(pieces)))  # type: ignore[arg-type,func-returns-value]

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(add, range(8)))
    assert counts == [8] * 50
