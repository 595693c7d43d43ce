"""A leaf's rows in an epoch's order: windows of row groups, shuffled, decoded ahead in threads.

A window is some consecutive row groups of one file, of a given number of rows or more. An epoch
takes the files in a random order, then each file's windows, then each window's rows, in runs of
eight. All three orders are functions of the seed, the epoch, and the file's and the window's number
alone. The rows on disk lie in a full shuffle already, so a run is eight random rows, and what an
epoch has to change is which of them meet in a batch; copying runs takes half the time of copying
rows.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from pipeline.manifest import Manifest
from trainer.batches import Batch, Ints, joined
from trainer.cache import Cache
from trainer.decoding import decoded, footer
from trainer.prefetch import mapped

#: Consecutive rows that stay together in a shuffle.
RUN = 8


@dataclass(frozen=True)
class Shuffle:
    """An order of rows: the one of a seed and an epoch."""

    seed: int
    epoch: int

    def order(self, items: int, *of: int) -> Ints:
        """The numbers below `items`, shuffled for the thing that the numbers `of` stand for."""
        return np.random.default_rng([self.seed, self.epoch, *of]).permutation(items)

    def rows(self, rows: int, *of: int) -> Ints:
        """The numbers below `rows`, shuffled in runs; what is too short for a run comes last."""
        runs = self.order(rows // RUN, *of)
        shuffled = (runs[:, np.newaxis] * RUN + np.arange(RUN)).ravel()
        return np.concatenate([shuffled, np.arange(len(shuffled), rows)])


@dataclass(frozen=True)
class Window:
    """Consecutive row groups of the leaf's file number `file`, together `rows` rows."""

    file: int
    number: int
    groups: range
    rows: int


@dataclass(frozen=True)
class Span:
    """The rows of a window from `start` to before `stop`, in the window's order of the epoch."""

    window: Window
    start: int
    stop: int


@dataclass(frozen=True)
class Block:
    """A decoded window, and the numbers of its rows that are to be taken, in their order."""

    rows: Batch
    order: Ints


class LeafReader:
    """Reads the rows of one split and temperature."""

    def __init__(
        self,
        directory: Path,
        manifest: Manifest,
        split: str,
        hot: bool,
        cache: Cache,
        window_rows: int,
        pin: bool = False,
    ) -> None:
        """A reader; a file is opened when its turn comes. `pin` is for copies to a GPU."""
        self._directory = directory
        self._manifest = manifest
        self._files = manifest.splits[split]["hot" if hot else "cold"].files
        self._hot = hot
        self._cache = cache
        self._window_rows = window_rows
        self._pin = pin
        self._footers: dict[int, pq.FileMetaData] = {}
        self._spare: deque[Batch] = deque()

    def batches(
        self,
        start: int,
        sizes: Sequence[int],
        shuffle: Shuffle | None,
        pool: ThreadPoolExecutor,
        ahead: int,
    ) -> Iterator[Batch]:
        """Batches of `sizes` rows from row `start` on, in the order of `shuffle` or of the files.

        `ahead` windows are decoded meanwhile. Files and windows outside the range are not read.
        Raises DatasetError where a file is absent, damaged or at odds with the manifest.
        """
        spans = self._spans(start, start + sum(sizes), shuffle)
        blocks = mapped(partial(self._block, shuffle), spans, pool, ahead)
        block: Block | None = None
        at = 0
        for size in sizes:
            pieces: list[Batch] = []
            while size:
                if block is None or at == len(block.order):
                    self._release(block)
                    block, at = next(blocks), 0
                order = block.order[at : at + size]
                pieces.append(block.rows.taken(order, self._pin))
                size, at = size - len(order), at + len(order)
            yield joined(pieces)

    def _spans(self, start: int, stop: int, shuffle: Shuffle | None) -> Iterator[Span]:
        """The range's parts of windows, in the epoch's order."""
        files = range(len(self._files))
        order = shuffle.order(len(files), self._hot).tolist() if shuffle else files
        begin = 0
        for file in order:
            end = begin + self._files[file].rows
            if begin < stop and start < end:
                for window in self._windows(file, shuffle):
                    first, last = max(start - begin, 0), min(stop - begin, window.rows)
                    if first < last:
                        yield Span(window, first, last)
                    begin += window.rows
            begin = end

    def _windows(self, file: int, shuffle: Shuffle | None) -> list[Window]:
        """A file's windows in the epoch's order."""
        if file not in self._footers:
            described = self._files[file]
            path = self._directory / described.path
            self._footers[file] = footer(path, described, self._manifest)
        metadata = self._footers[file]
        sizes = [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]
        found: list[Window] = []
        for number, groups in enumerate(windows(sizes, self._window_rows)):
            found.append(Window(file, number, groups, sum(sizes[group] for group in groups)))
        if shuffle is None:
            return found
        return [found[at] for at in shuffle.order(len(found), self._hot, file)]

    def _block(self, shuffle: Shuffle | None, span: Span) -> Block:
        """A span's window, decoded."""
        window = span.window
        path = self._directory / self._files[window.file].path

        def make() -> Batch:
            try:
                spare = self._spare.pop()
            except IndexError:
                spare = None
            metadata = self._footers[window.file]
            return decoded(path, metadata, window.groups, self._manifest, self._hot, spare)

        rows = self._cache.block((self._hot, window.file, window.number), make)
        if shuffle is None:
            return Block(rows, np.arange(span.start, span.stop))
        order = shuffle.rows(window.rows, self._hot, window.file, window.number)
        return Block(rows, order[span.start : span.stop])

    def _release(self, block: Block | None) -> None:
        """Let a block's memory be used again: every batch is a copy."""
        if block is not None and not self._cache.keeps:
            self._spare.append(block.rows)


def windows(sizes: list[int], least: int) -> Iterator[range]:
    """Row groups of these sizes, cut into ranges of at least `least` rows but for the last."""
    begin = rows = 0
    for group, size in enumerate(sizes):
        rows += size
        if rows >= least or group == len(sizes) - 1:
            yield range(begin, group + 1)
            begin, rows = group + 1, 0
