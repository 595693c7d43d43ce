"""The shuffle: rows in pseudo-random order within each split and temperature, as Parquet files.

It takes two rounds of independent tasks. The first scatters: it encodes the rows of a few staged
parts, decides which are cold, and writes a record batch for each target file, sorted by a
pseudo-random key. The second gathers: it merges the rows of one target file from all scattered
files by key, a row group at a time, and so needs the memory of a row group only.

Where a target file would gather from too many scattered files, these have a batch for each group of
neighbouring target files, and a round in between rescatters: it sorts the rows of one group, from
some of the files, into a file with a batch for each target file.

The key depends on nothing but the seed and the row's number, so the bytes do not depend on how the
log was cut into parts.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from fae.arrays.row_keys import UInt64Array, generate_row_keys
from fae.arrays.stable_argsort import stable_argsort
from fae.commit import outputs
from fae.dataset.parquet import build_table, open_data_file
from fae.dataset.shuffle.part_rows import count_fields, encode_parts
from fae.dataset.shuffle.row_codec import BYTES_PER_WORD, PackedRows, Positions
from fae.execution.executor import Executor
from fae.format.integrity import DataFile, describe_file
from fae.format.manifest import SPLITS, TEMPERATURES, Leaf
from fae.hotset.hot_set import HotSet
from fae.ingestion.staging import Staging
from fae.logs.schema import Schema
from fae.profiling.frequencies import Frequencies
from fae.storage.folder import Folder

ROWS_PER_FILE = 1 << 20
ROWS_PER_ROW_GROUP = 1 << 16
#: The folder of scattered rows in the unfinished output, not needed once the files are written.
SCATTERED = "scattered.partial"
#: Each scatter task takes one part up to so many parts, then several, up to a maximum: then a file
#: comes from fewer and longer runs of rows.
_SCATTER_TASKS, _MAX_PARTS_PER_TASK = 512, 16
#: A file gathers its rows from so many scattered files at most; where there are more, rows are
#: rescattered. About there, opening a batch takes as long as moving its rows once more.
MAX_SCATTERED_FILES = 1 << 11
#: How often rows are in memory while a file is written, remote pieces included.
_COPIES_IN_MEMORY = 2

Splits = dict[str, dict[str, Leaf]]

_LEAVES = [(split, temperature) for split in SPLITS for temperature in TEMPERATURES]


@dataclass(frozen=True)
class Sources:
    """The outputs of the three stages before, in folders that each task reads."""

    staging: Folder
    frequencies: Folder
    hot_set: Folder


@dataclass(frozen=True)
class _FileGroup:
    """Neighbouring target files of a leaf, from `first` up to `stop` of `files_in_leaf`."""

    leaf: int
    first: int
    stop: int
    files_in_leaf: int


@dataclass(frozen=True)
class Pieces:
    """A record batch, by its number, of each `step`-th scattered file of a folder from `first` on.

    The folder has `count` files.
    """

    folder: str
    count: int
    batch: int
    first: int = 0
    step: int = 1

    def read(self, directory: Folder) -> list[PackedRows]:
        """Return the rows of each batch, in the order of their files."""
        pieces = []
        for number in range(self.first, self.count, self.step):
            with directory.open(_name_file(self.folder, number)) as source:
                batch = pa.ipc.open_file(source).get_batch(self.batch)
            pieces.append(PackedRows.from_batch(batch))
        return pieces


@dataclass(frozen=True)
class _ScatterTask:
    """The staged parts from `first` up to `stop`, to scatter over `files_per_leaf` (leaves,).

    A record batch is for `files_per_group` neighbouring files. With `delete_after`, the staging is
    deleted later, so its rows need not stay in the page cache.
    """

    sources: Sources
    directory: Folder
    seed: int
    delete_after: bool
    files_per_leaf: tuple[int, ...]
    files_per_group: int
    first: int
    stop: int
    path: str


@dataclass(frozen=True)
class _RescatterTask:
    """Rows of a group of files, to write as a record batch for each of these files."""

    pieces: Pieces
    group: _FileGroup
    directory: Folder
    path: str


@dataclass(frozen=True)
class GatherTask:
    """A file of a leaf to write, and where its rows are."""

    pieces: Pieces
    staging: Folder
    directory: Folder
    path: str


def scatter_rows(
    sources: Sources, directory: Folder, executor: Executor, seed: int, delete_after: bool
) -> list[GatherTask]:
    """Scatter all rows below `directory`; return the tasks that gather them, by leaf and number.

    With `delete_after`, the caller deletes the staging later.
    """
    staging, hot_set = Staging.read(sources.staging), HotSet.read(sources.hot_set)
    leaf_rows = [hot_set.inputs[split][temperature] for split, temperature in _LEAVES]
    files_per_leaf = tuple(-(-rows // ROWS_PER_FILE) for rows in leaf_rows)
    parts = len(staging.parts)
    parts_per_task = min(-(-parts // _SCATTER_TASKS), _MAX_PARTS_PER_TASK)
    first_parts = range(0, parts, parts_per_task)
    fan_in = _choose_fan_in(len(first_parts))
    files_per_group = -(-sum(files_per_leaf) // fan_in) if fan_in else 1
    folder = f"{SCATTERED}/parts"
    common = (sources, directory, seed, delete_after, files_per_leaf, files_per_group)
    tasks = [
        _ScatterTask(*common, first, min(first + parts_per_task, parts), _name_file(folder, number))
        for number, first in enumerate(first_parts)
    ]
    row_bytes = count_row_bytes(staging.schema)
    needs = row_bytes * parts_per_task * max(part.rows for part in staging.parts)
    executor.run("scatter", _scatter_parts, tasks, task_log=directory, needs=needs)
    groups = _group_files(files_per_leaf, files_per_group)
    scattered = [Pieces(folder, len(tasks), batch) for batch in range(len(groups))]
    if fan_in:
        scattered = _rescatter_rows(scattered, groups, fan_in, directory, executor, row_bytes)
    paths = [
        "split={}/temperature={}/part-{:05d}.parquet".format(*_LEAVES[leaf], number)
        for leaf, files in enumerate(files_per_leaf)
        for number in range(files)
    ]
    return [
        GatherTask(pieces, sources.staging, directory, path)
        for pieces, path in zip(scattered, paths, strict=True)
    ]


def _choose_fan_in(scattered_files: int) -> int:
    """Return how many scattered files a task rescatters, or 0 where none is to do so.

    With the square root of their number, which is also about the number of groups, a task has as
    many rows as one that scatters, and a file gathers from as many files again.
    """
    return 0 if scattered_files <= MAX_SCATTERED_FILES else math.isqrt(scattered_files - 1) + 1


def _group_files(files_per_leaf: Sequence[int], files_per_group: int) -> list[_FileGroup]:
    """Return the groups of neighbouring files, in order; no group is of two leaves."""
    return [
        _FileGroup(leaf, first, min(first + files_per_group, files), files)
        for leaf, files in enumerate(files_per_leaf)
        for first in range(0, files, files_per_group)
    ]


def _rescatter_rows(
    scattered: Sequence[Pieces],
    groups: Sequence[_FileGroup],
    fan_in: int,
    directory: Folder,
    executor: Executor,
    row_bytes: int,
) -> list[Pieces]:
    """Scatter the rows of each group over its files; return where the rows of each file are then.

    A task reads scattered files at equal distances, so that all have about as many rows of a split
    by time.
    """
    count = -(-scattered[0].count // fan_in)
    folders = [f"{SCATTERED}/groups/{number:06d}" for number in range(len(groups))]
    tasks = [
        _RescatterTask(
            replace(pieces, first=first, step=count), group, directory, _name_file(folder, first)
        )
        for pieces, group, folder in zip(scattered, groups, folders, strict=True)
        for first in range(count)
    ]
    largest = max(group.stop - group.first for group in groups)
    needs = row_bytes * ROWS_PER_FILE * largest // count
    executor.run("rescatter", _rescatter_group, tasks, task_log=directory, needs=needs)
    outputs.remove_output(directory / scattered[0].folder)
    return [
        Pieces(folder, count, batch)
        for group, folder in zip(groups, folders, strict=True)
        for batch in range(group.stop - group.first)
    ]


def list_leaves(files: Sequence[DataFile], hot_set: HotSet) -> Splits:
    """Return the leaves of all splits for the manifest, given their files in order."""
    splits: Splits = {split: {} for split in SPLITS}
    for split, temperature in _LEAVES:
        folder = f"split={split}/temperature={temperature}/"
        own = tuple(file for file in files if file.path.startswith(folder))
        rows = sum(file.rows for file in own)
        if rows != hot_set.inputs[split][temperature]:
            raise AssertionError(f"{folder} has {rows} rows, not those of {hot_set.directory}")
        splits[split][temperature] = Leaf(rows, own)
    return splits


def count_row_bytes(schema: Schema) -> int:
    """Return the memory that a row takes while it is scattered or gathered."""
    return _COPIES_IN_MEMORY * BYTES_PER_WORD * count_fields(schema)


def _scatter_parts(task: _ScatterTask) -> int:
    """Write parts' rows as a record batch for each group of files, in order; return the rows.

    The rows of a batch are sorted by key.
    """
    staging = Staging.read(task.sources.staging)
    frequencies = Frequencies.read(task.sources.frequencies)
    parts = range(task.first, task.stop)
    columns, is_cold = encode_parts(staging, frequencies, HotSet.read(task.sources.hot_set), parts)
    splits = np.concatenate([frequencies.assign_splits(staging, part) for part in parts])
    if task.delete_after:
        for part in parts:
            staging.open_part(part).release_rows()
    keys = generate_row_keys(staging.first_row(task.first), is_cold.size, task.seed)
    leaf = splits.astype(np.int64) * len(TEMPERATURES) + is_cold
    file_in_leaf = _assign_files(keys, np.array(task.files_per_leaf, dtype=np.uint64)[leaf])
    groups_per_leaf = -(-np.array(task.files_per_leaf) // task.files_per_group)
    first_groups = np.cumsum(groups_per_leaf) - groups_per_leaf  # of each leaf, among all
    group = first_groups[leaf] + file_in_leaf // task.files_per_group
    # Two stable sorts, the last by the more significant: by group, and by key in each.
    by_key = stable_argsort(keys)
    order = by_key[stable_argsort(group[by_key])].astype(np.int64)
    bounds = np.cumsum([0, *np.bincount(group, minlength=groups_per_leaf.sum())])
    _write_batches(PackedRows.pack(columns, keys, order), bounds, task.directory, task.path)
    return is_cold.size


def _assign_files(keys: UInt64Array, files_in_leaf: Any) -> npt.NDArray[np.int64]:
    """Return the number of each row's file in its leaf, given the number of files there.

    The upper half of the key, in [0, 2^32), is scaled to the number of files: each file has an
    interval of keys, so files in order, each sorted by key, are the whole leaf sorted by key.
    """
    files: npt.NDArray[np.uint64] = (keys >> np.uint64(32)) * files_in_leaf >> np.uint64(32)
    return files.astype(np.int64)


def _rescatter_group(task: _RescatterTask) -> int:
    """Write rows of a group as a record batch for each file, sorted by key; return the rows."""
    rows = PackedRows.concat(task.pieces.read(task.directory))
    rows = rows.take(stable_argsort(rows.keys).astype(np.int64))
    group = task.group
    files = _assign_files(rows.keys, np.uint64(group.files_in_leaf))
    bounds = np.searchsorted(files, np.arange(group.first, group.stop + 1))
    _write_batches(rows, bounds, task.directory, task.path)
    return len(rows.keys)


def _write_batches(rows: PackedRows, bounds: Positions, directory: Folder, name: str) -> None:
    """Write a file with a record batch of the rows between each two neighbours of `bounds`.

    A batch without rows is written, too, so that batches are found by their numbers.
    """
    batches = rows.to_batches(bounds)
    with directory.write(name) as path, pa.ipc.new_file(str(path), batches[0].schema) as writer:
        for batch in batches:
            writer.write_batch(batch)


def _name_file(folder: str, number: int) -> str:
    """Return the path of a scattered file."""
    return f"{folder}/{number:06d}.arrow"


def gather_file(task: GatherTask) -> DataFile:
    """Write one file: its rows from all scattered files, by key."""
    pieces = task.pieces.read(task.directory)
    schema = Staging.read(task.staging).schema
    with task.directory.write(task.path) as target:
        with open_data_file(schema, target) as writer:
            for slices in _cut_into_row_groups(pieces):
                writer.write_table(build_table(PackedRows.concat(slices), writer.schema))
        return describe_file(target, task.path, sum(piece.keys.size for piece in pieces))


def _cut_into_row_groups(pieces: list[PackedRows]) -> Iterator[list[PackedRows]]:
    """Yield the rows of each row group, by key over all pieces, as slices of the pieces."""
    keys = np.sort(np.concatenate([piece.keys for piece in pieces]))
    last_keys = keys[ROWS_PER_ROW_GROUP - 1 :: ROWS_PER_ROW_GROUP]
    # Each piece is sorted by key, so its share of a row group is a slice.
    bounds = [
        [0, *np.searchsorted(piece.keys, last_keys, side="right").tolist(), piece.keys.size]
        for piece in pieces
    ]
    for group in range(last_keys.size + 1):
        slices = [
            piece.slice(bound[group], bound[group + 1])
            for piece, bound in zip(pieces, bounds, strict=True)
            if bound[group] < bound[group + 1]
        ]
        if slices:
            yield slices
