"""Batches in the making: which rows of which windows they take, and who assembles them.

Threads read windows in any order, and a batch may take rows from several windows. Each window's
thread gives the batch its piece, and the thread whose piece completes the batch assembles it. So no
thread waits for another, and who uses the batches only has to wait for the windows in their order.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from fae_trainer.data.batches import Batch
from fae_trainer.data.windows import Window, WindowSlice


class PendingBatch:
    """A batch that is made of pieces from different threads."""

    def __init__(self, samples: int) -> None:
        """Make a batch that lacks so many samples."""
        self._missing = samples
        self._lock = threading.Lock()
        self._pieces: dict[int, Any] = {}
        self._batch: Batch | None = None

    def add(self, part: Part, piece: Any, assemble: Callable[[Sequence[Any]], Batch]) -> None:
        """Add a part's piece; with the last one that is missing, `assemble` the batch."""
        with self._lock:
            self._pieces[part.number] = piece
            self._missing -= part.stop - part.start
            complete = not self._missing
        if complete:
            self._batch = assemble([piece for _, piece in sorted(self._pieces.items())])
            self._pieces.clear()

    def take(self) -> Batch:
        """Return the batch, which the threads of its windows have made, and forget it."""
        batch, self._batch = self._batch, None
        assert batch is not None
        return batch


@dataclass(frozen=True)
class Part:
    """Rows `start` to before `stop` of a window's order: piece `number` of a batch."""

    batch: PendingBatch
    number: int
    start: int
    stop: int


@dataclass(frozen=True)
class WindowShare:
    """What batches take of a window, and those whose last piece it has."""

    window: Window
    parts: list[Part]
    ended: list[PendingBatch]


def cut_batches(slices: Iterable[WindowSlice], sizes: Iterable[int]) -> Iterator[WindowShare]:
    """Yield which rows of each of the consecutive slices belong to which batches of `sizes` rows.

    The slices have as many rows as the batches.
    """
    remaining = iter(sizes)
    missing = number = 0
    for piece in slices:
        share, at = WindowShare(piece.window, [], []), piece.start
        while at < piece.stop:
            if not missing:
                missing, number = next(remaining), 0
                batch = PendingBatch(missing)
            stop = min(at + missing, piece.stop)
            share.parts.append(Part(batch, number, at, stop))
            missing, number, at = missing - (stop - at), number + 1, stop
            if not missing:
                share.ended.append(batch)
        yield share
