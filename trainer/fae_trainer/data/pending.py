"""Batches in the making: which rows of which windows they take, and who assembles them.

Threads read windows in any order, and a batch may take rows from several windows. Each window's
thread gives the batch its piece, and the thread whose piece completes the batch assembles it. So no
thread waits for another, and who uses the batches only has to wait for the windows in their order.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from fae_trainer.data.batches import Batch
from fae_trainer.data.windows import MixSlice, Window


class PendingBatch:
    """A batch that is made of pieces from different threads."""

    def __init__(self, samples: int, part_of: int | None = None) -> None:
        """Make a batch that lacks so many samples, or a part of one of `part_of` samples."""
        self._missing, self._part_of = samples, part_of
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
        return batch if self._part_of is None else replace(batch, part_of=self._part_of)


@dataclass(frozen=True)
class Part:
    """Rows `start` to before `stop` of a window's order: piece `number` of a batch."""

    batch: PendingBatch
    number: int
    start: int
    stop: int


@dataclass(frozen=True)
class WindowShare:
    """What batches take of a window, and those that are complete with it and the ones before."""

    window: Window
    parts: list[Part]
    ended: list[PendingBatch]


def cut_batches(
    slices: Iterable[MixSlice], sizes: Iterable[int], rank: int = 0, ranks: int = 1
) -> Iterator[WindowShare]:
    """Yield which rows of each window of consecutive mixes belong to which batches of `sizes` rows.

    The slices have as many rows as the batches. With several `ranks`, only those of the batches'
    parts of number `rank` count; they end where the whole batches do. A batch has a mix's rows
    window by window. Windows without rows in a slice are left out.
    """
    remaining = iter(sizes)
    size = seen = number = 0  # of the batch: its rows, those before `at`, and its pieces
    for mix in slices:
        shares = [WindowShare(window, [], []) for window in mix.windows]
        taken = mix.count_rows(0, mix.start)  # of each window, the rows before `at`
        ended, at = [], mix.start
        while at < mix.stop:
            if seen == size:
                size, seen, number = next(remaining), 0, 0
                first, last = cut_part(size, rank, ranks)
                batch = PendingBatch(last - first, size if ranks > 1 else None)
            end = min(at + size - seen, mix.stop)
            for window, count in enumerate(mix.count_rows(at, end)):
                start, stop = max(first - seen, 0), min(last - seen, count)
                if start < stop:
                    begin = taken[window]
                    part = Part(batch, number, begin + start, begin + stop)
                    shares[window].parts.append(part)
                    number += 1
                seen += count
                taken[window] += count
            at = end
            if seen == size:
                ended.append(batch)
        read = list(itertools.compress(shares, mix.count_rows(mix.start, mix.stop)))
        read[-1].ended.extend(ended)
        yield from read


def cut_part(samples: int, rank: int, ranks: int) -> tuple[int, int]:
    """Return the first sample of a rank's part of a batch, and the one behind the last.

    Parts differ by one sample at most. An empty part has the first sample instead, whose share in
    the batch is 0.
    """
    first, last = (samples * number // ranks for number in (rank, rank + 1))
    return (first, last) if first < last else (0, 1)
