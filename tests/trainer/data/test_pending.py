"""Batches are cut from windows without gaps, and assembled once, whoever comes last."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fae_trainer.data.pending import Part, PendingBatch, cut_batches
from fae_trainer.data.windows import Window, WindowSlice


def windows(lengths: list[int], skipped: int) -> list[WindowSlice]:
    """Slices of so many rows; the first one begins at row `skipped` of its window."""
    starts = [skipped, *[0] * len(lengths)]
    return [
        WindowSlice(
            Window(0, number, range(number, number + 1), start + length), start, start + length
        )
        for number, (length, start) in enumerate(zip(lengths, starts, strict=False))
    ]


@given(st.lists(st.integers(1, 30), min_size=1, max_size=12), st.integers(1, 25), st.integers(0, 9))
def test_batches_take_every_row_once_in_order_and_end_in_order(
    lengths: list[int], size: int, skipped: int
) -> None:
    rows = sum(lengths)
    sizes = [size] * (rows // size) + [rows % size] * (rows % size > 0)
    slices = windows(lengths, skipped)
    shares = list(cut_batches(slices, sizes))
    assert [share.window for share in shares] == [piece.window for piece in slices]
    taken: dict[PendingBatch, list[tuple[int, int]]] = {}
    for share, piece in zip(shares, slices, strict=True):
        at = piece.start
        for part in share.parts:
            assert part.start == at
            at = part.stop
            own = taken.setdefault(part.batch, [])
            assert part.number == len(own)
            own.append((part.start, part.stop))
        assert at == piece.stop
    assert [sum(stop - start for start, stop in own) for own in taken.values()] == sizes
    assert [batch for share in shares for batch in share.ended] == list(taken)


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
