"""A leaf's rows in an epoch's order: windows of row groups, shuffled, decoded ahead in threads.

A window is some consecutive row groups of one file, of a given number of rows or more. An epoch
takes the files in a random order, then each file's windows, then each window's rows. All three are
functions of the seed, the epoch, and the file's and the window's number alone. The rows on disk are
already in a full shuffle, so this makes new batches out of rows that were never in order.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from torch.utils.data import get_worker_info

from fae.format.integrity import check_file
from fae.format.manifest import Manifest
from fae_trainer.data.batches import Batch, Ints, concatenate
from fae_trainer.data.buffers import Buffers
from fae_trainer.data.cache import Cache
from fae_trainer.data.decoding import decode_row_groups, read_footer
from fae_trainer.data.prefetch import map_ahead


@dataclass(frozen=True)
class Shuffle:
    """An order of rows: the one of a seed and an epoch."""

    seed: int
    epoch: int

    def order(self, items: int, *of: int) -> Ints:
        """The numbers below `items`, shuffled for the thing that the numbers `of` stand for."""
        return np.random.default_rng([self.seed, self.epoch, *of]).permutation(items)


@dataclass(frozen=True)
class Window:
    """Consecutive row groups of the leaf's file number `file`, together `rows` rows."""

    file: int
    number: int
    groups: range
    rows: int


@dataclass(frozen=True)
class WindowSlice:
    """The rows of a window from `start` to before `stop`, in the window's order of the epoch."""

    window: Window
    start: int
    stop: int


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
        verify: bool = False,
    ) -> None:
        """A reader; a file is opened when its turn comes, and its checksum compared to `verify`.

        `pin` is for copies to a GPU.
        """
        self._directory = directory
        self._manifest = manifest
        self._files = manifest.splits[split]["hot" if hot else "cold"].files
        self._hot = hot
        self._cache = cache
        self._window_rows = window_rows
        self._pin = pin
        self._verify = verify
        self._footers: dict[int, pq.FileMetaData] = {}
        self._buffers = Buffers()

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
        spans = self._slice_windows(start, start + sum(sizes), shuffle)
        blocks = map_ahead(partial(self._read_slice, shuffle), spans, pool, ahead)
        block: Batch | None = None
        at = 0
        for size in sizes:
            pieces: list[Batch] = []
            while size:
                if block is None or at == len(block):
                    block, at = next(blocks), 0
                stop = min(at + size, len(block))
                pieces.append(block.slice(at, stop))
                size, at = size - (stop - at), stop
            yield concatenate(pieces)

    def _slice_windows(
        self, start: int, stop: int, shuffle: Shuffle | None
    ) -> Iterator[WindowSlice]:
        """The range's parts of windows, in the epoch's order."""
        files = range(len(self._files))
        order = shuffle.order(len(files), self._hot).tolist() if shuffle else files
        begin = 0
        for file in order:
            end = begin + self._files[file].rows
            if begin < stop and start < end:
                for window in self._list_windows(file, shuffle):
                    first, last = max(start - begin, 0), min(stop - begin, window.rows)
                    if first < last:
                        yield WindowSlice(window, first, last)
                    begin += window.rows
            begin = end

    def _list_windows(self, file: int, shuffle: Shuffle | None) -> list[Window]:
        """A file's windows in the epoch's order."""
        if file not in self._footers:
            described = self._files[file]
            path = self._directory / described.path
            if self._verify:
                check_file(path, described)
            self._footers[file] = read_footer(path, described, self._manifest)
        metadata = self._footers[file]
        sizes = [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]
        found: list[Window] = []
        for number, groups in enumerate(cut_windows(sizes, self._window_rows)):
            found.append(Window(file, number, groups, sum(sizes[group] for group in groups)))
        if shuffle is None:
            return found
        return [found[at] for at in shuffle.order(len(found), self._hot, file)]

    def _read_slice(self, shuffle: Shuffle | None, span: WindowSlice) -> Batch:
        """A span's rows; in a worker of DataLoader, neither kept nor pinned."""
        alone = get_worker_info() is None
        window = span.window
        path = self._directory / self._files[window.file].path
        metadata = self._footers[window.file]
        read = partial(decode_row_groups, path, metadata, window.groups, self._manifest, self._hot)
        order = None
        if shuffle is not None:
            order = shuffle.order(window.rows, self._hot, window.file, window.number)
        if self._cache.keeps and alone:
            block = self._cache.get_or_make((self._hot, window.file, window.number), read)
            block = block if order is None else block.take(order)
        else:
            block = read(order, self._buffers.empty)
        part = block.slice(span.start, span.stop)
        return part.pin_memory() if self._pin and alone else part


def cut_windows(sizes: list[int], least: int) -> Iterator[range]:
    """Row groups of these sizes, cut into ranges of at least `least` rows but for the last."""
    begin = rows = 0
    for group, size in enumerate(sizes):
        rows += size
        if rows >= least or group == len(sizes) - 1:
            yield range(begin, group + 1)
            begin, rows = group + 1, 0
