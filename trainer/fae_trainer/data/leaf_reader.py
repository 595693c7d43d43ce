"""Read the rows of one split and temperature in an epoch's order, decoded ahead in threads.

A window is a run of consecutive row groups of one file with at least a given number of rows. An
epoch takes the files in a random order, each file's windows in a random order, and each window's
rows in a random order. Where several windows are mixed at a time, it takes the windows of all files
in a random order instead, and the rows of so many of them in a random order (`windows`). These
orders depend only on the seed, the epoch and the numbers of the file and the window. The rows on
disk are already fully shuffled, so each epoch has new random batches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Event

import numpy as np
import pyarrow.parquet as pq
from torch.utils.data import get_worker_info

from fae.format.manifest import Manifest
from fae_trainer.data.batches import Batch, Block, Piece, concatenate, gather
from fae_trainer.data.buffers import Buffers, allocate_pinned
from fae_trainer.data.cache import Cache
from fae_trainer.data.decoding import decode_row_groups, read_footer
from fae_trainer.data.pending import PendingBatch, WindowShare, cut_batches
from fae_trainer.data.prefetch import map_ahead
from fae_trainer.data.sharing import WindowName, WindowSharing
from fae_trainer.data.windows import (
    MixSlice,
    Shuffle,
    Window,
    cut_mixes,
    cut_windows,
    draw_sources,
)
from fae_trainer.storage.dataset_folder import LocalFolder, RemoteFolder


class LeafReader:
    """Reads the rows of one split and temperature."""

    def __init__(
        self,
        folder: LocalFolder | RemoteFolder,
        manifest: Manifest,
        split: str,
        hot: bool,
        cache: Cache,
        window_rows: int,
        mixed_windows: int = 1,
        pin: bool = False,
        verify: bool = False,
        sharing: WindowSharing | None = None,
        part: tuple[int, int] = (0, 1),
    ) -> None:
        """Make a reader, which opens each file when it is needed.

        An epoch mixes the rows of `mixed_windows` windows at a time. `pin` puts batches into
        page-locked memory. `verify` compares a file's sha256 with the manifest's before its rows
        are read. With `sharing`, each window is decoded by one of the processes that share. `part`
        is the number of this process's part of each batch, and how many parts there are.
        """
        self._folder = folder
        self._manifest = manifest
        self._files = manifest.splits[split]["hot" if hot else "cold"].files
        self._hot = hot
        self._cache = cache
        self._window_rows, self._mixed_windows = window_rows, mixed_windows
        self._pin = pin
        self._verify = verify
        self._sharing, self._part = sharing, part
        self._leaf = f"{split}-{'hot' if hot else 'cold'}"
        self._readings = 0
        self._footers: dict[int, pq.FileMetaData] = {}
        self._buffers = Buffers()

    def read_batches(
        self,
        start: int,
        sizes: Sequence[int],
        shuffle: Shuffle | None,
        pool: ThreadPoolExecutor,
        ahead: int,
        stopped: Event,
    ) -> Iterator[Batch]:
        """Yield batches of `sizes` rows from row `start` on, in the order of `shuffle` or on disk.

        The pool decodes `ahead` windows in advance, at least a mix, and assembles the batches; it
        waits for no other process once `stopped` is set. Windows outside the range are not read,
        nor are files, unless windows of all of them are mixed.
        Raises DatasetError where a file is absent, damaged or does not match the manifest.
        """
        ahead = max(ahead, self._bound_mix() if shuffle else 1)
        slices = self._slice_mixes(start, start + sum(sizes), shuffle, ahead)
        shares = enumerate(cut_batches(slices, sizes, *self._part))
        self._readings += 1
        if self._sharing is not None:
            self._sharing.begin_reading(self._leaf, self._readings)
        read = partial(self._read_window, self._readings, stopped)
        assemble = partial(self._assemble, shuffle, read)
        for ended in map_ahead(assemble, shares, pool, ahead):
            for pending in ended:
                yield pending.take()

    def _bound_mix(self) -> int:
        """Return the most windows that a mix can have."""
        windows = sum(-(-file.rows // self._window_rows) for file in self._files)
        return min(self._mixed_windows, windows)

    def _slice_mixes(
        self, start: int, stop: int, shuffle: Shuffle | None, ahead: int
    ) -> Iterator[MixSlice]:
        """Yield the parts of mixes that make up rows `start` to before `stop` of the epoch."""
        begin = 0  # the epoch's row at which the files, and then the mix, begin
        for files in self._group_files(shuffle):
            end = begin + sum(self._files[file].rows for file in files)
            if max(begin, start) < min(end, stop):
                for mix in self._list_mixes(files, shuffle, ahead):
                    rows = sum(window.rows for window in mix)
                    first, last = max(start - begin, 0), min(stop - begin, rows)
                    if first < last:
                        sources = draw_sources(mix, shuffle, self._hot)
                        yield MixSlice(mix, sources, first, last)
                    begin += rows
            begin = end

    def _group_files(self, shuffle: Shuffle | None) -> list[list[int]]:
        """Return the files in the epoch's order, those together whose windows are mixed."""
        files = list(range(len(self._files)))
        if shuffle is None:
            return [[file] for file in files]
        if self._mixed_windows > 1:
            return [files]
        return [[file] for file in shuffle.permute(len(files), self._hot).tolist()]

    def _list_mixes(
        self, files: list[int], shuffle: Shuffle | None, ahead: int
    ) -> Iterator[Sequence[Window]]:
        """Yield the mixes of the files' windows in the epoch's order."""
        windows = [window for file in files for window in self._list_windows(file, ahead)]
        if shuffle is None:
            return cut_mixes(windows, 1)
        order = shuffle.permute(len(windows), self._hot, files[0])
        return cut_mixes([windows[number] for number in order], self._mixed_windows)

    def _list_windows(self, file: int, ahead: int) -> list[Window]:
        """Return a file's windows.

        Raises DatasetError where `ahead` windows would take too much of the memory.
        """
        if file not in self._footers:
            entry = self._files[file]
            if self._verify:
                self._folder.check_content(entry)
            place = self._folder.locate(entry)
            self._footers[file] = read_footer(place, entry, self._manifest, ahead)
        metadata = self._footers[file]
        sizes = [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]
        return [
            Window(file, number, groups, sum(sizes[group] for group in groups))
            for number, groups in enumerate(cut_windows(sizes, self._window_rows))
        ]

    def _assemble(
        self,
        shuffle: Shuffle | None,
        read: Callable[[int, Window], Batch],
        numbered: tuple[int, WindowShare],
    ) -> list[PendingBatch]:
        """Give a window's rows to the batches that they belong to; return those that it ends.

        These are complete once the windows before are assembled too.
        """
        in_worker = get_worker_info() is not None  # a worker of a DataLoader keeps and pins nothing
        position, share = numbered
        window, cache = share.window, self._cache
        order = None
        if shuffle is not None:
            order = shuffle.permute(window.rows, self._hot, window.file, window.number)
        if cache.keeps and not in_worker:
            key = (self._hot, window.file, window.number)
            block = cache.get_or_make(key, partial(read, position, window))
        else:
            block = Block.on_host(read(position, window))
        allocate = allocate_pinned if self._pin and not in_worker else self._buffers.allocate
        if block.batch.label.is_cuda:
            block = block.permute_on_device(order)
            for part in share.parts:
                part.batch.add(part, block.slice(part.start, part.stop), concatenate)
        else:
            for part in share.parts:
                rows = np.arange(part.start, part.stop)
                piece = Piece(block, rows if order is None else order[part.start : part.stop])
                part.batch.add(part, piece, partial(gather, allocate=allocate))
        return share.ended

    def _read_window(self, reading: int, stopped: Event, position: int, window: Window) -> Batch:
        """Return a window's rows in the order on disk, decoded by this process or another one.

        `position` counts the windows of the reading.
        """
        decode = partial(self._decode, window)
        if self._sharing is None or get_worker_info() is not None:
            return decode()
        name = WindowName(self._leaf, reading, window.file, window.number)
        keep = self._cache.kind == "host"
        return self._sharing.read(name, position, decode, keep, stopped)

    def _decode(self, window: Window) -> Batch:
        """Return a window's rows in the order on disk."""
        return decode_row_groups(
            self._folder.locate(self._files[window.file]),
            self._footers[window.file],
            window.groups,
            self._manifest,
            self._hot,
            self._buffers.allocate,
        )
