"""The shuffle: rows in pseudo-random order within each split and temperature, as Parquet files.

It takes two rounds of independent tasks. The first scatters: it encodes the rows of a few staged
parts, decides which are cold, and writes them grouped by target file, sorted by a pseudo-random
key. The second gathers: it merges the rows of one target file from all scattered files by key, a
row group at a time, and so needs the memory of a row group only. The key depends on nothing but the
seed and the row's number, so the bytes do not depend on how the log was cut into parts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from fae.arrays.arrow import BoolArray, to_numpy, write_table
from fae.arrays.buffers import reuse_buffer
from fae.arrays.jit import kernel
from fae.arrays.row_keys import generate_row_keys
from fae.arrays.stable_argsort import stable_argsort
from fae.dataset.parquet import build_table, open_data_file
from fae.dataset.row_codec import (
    BYTES_PER_WORD,
    Columns,
    PackedRows,
    Words,
    pack_texts,
    read_keys,
)
from fae.execution.executor import Executor
from fae.format.integrity import DataFile, describe_file
from fae.format.manifest import LABEL, SPLITS, TEMPERATURES, Leaf
from fae.hotset.hot_set import HotSet
from fae.ingestion.part import IntegerArray
from fae.ingestion.staging import Staging
from fae.logs.schema import Schema
from fae.profiling.frequencies import Frequencies
from fae.profiling.moments import standardize
from fae.storage.folder import Folder

ROWS_PER_FILE = 1 << 20
ROWS_PER_ROW_GROUP = 1 << 16
#: The folder of scattered rows in the unfinished output, not needed once `write_leaves` returns.
SCATTERED = "scattered.partial"
#: Each scatter task takes one part up to so many parts, then several, up to a maximum: then a file
#: comes from fewer and longer runs of rows.
_SCATTER_TASKS, _MAX_PARTS_PER_TASK = 512, 16
#: How often rows are in memory while a file is written, remote pieces included.
_COPIES_IN_MEMORY = 2

Splits = dict[str, dict[str, Leaf]]
#: The number of a leaf (a split and temperature), and of a file in it.
LeafFile = tuple[int, int]
#: The path of a scattered file, and the number of a record batch in it.
Piece = tuple[str, int]

_LEAVES = [(split, temperature) for split in SPLITS for temperature in TEMPERATURES]


@dataclass(frozen=True)
class Sources:
    """The outputs of the three stages before, in folders that each task reads."""

    staging: Folder
    frequencies: Folder
    hot_set: Folder


@dataclass(frozen=True)
class _ScatterTask:
    """The staged parts from `first` up to `stop`, to scatter over `files_per_leaf` (leaves,).

    With `delete_after`, the staging is deleted later, so its rows need not stay in the page cache.
    """

    sources: Sources
    directory: Folder
    seed: int
    delete_after: bool
    files_per_leaf: tuple[int, ...]
    first: int
    stop: int
    path: str


@dataclass(frozen=True)
class GatherTask:
    """A file of a leaf to write, and where its rows are."""

    pieces: tuple[Piece, ...]
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
    needs = count_row_bytes(staging.schema)  # for each row of a task
    parts_per_task = min(-(-len(staging.parts) // _SCATTER_TASKS), _MAX_PARTS_PER_TASK)
    common = (sources, directory, seed, delete_after, files_per_leaf)
    scatter_tasks = []
    for first in range(0, len(staging.parts), parts_per_task):
        stop = min(first + parts_per_task, len(staging.parts))
        path = f"{SCATTERED}/{first:06d}.arrow"
        scatter_tasks.append(_ScatterTask(*common, first, stop, path))
    rows_per_task = parts_per_task * max(part.rows for part in staging.parts)
    scattered = executor.run(
        "scatter", _scatter_parts, scatter_tasks, task_log=directory, needs=needs * rows_per_task
    )
    pieces: dict[LeafFile, list[Piece]] = {
        (leaf, number): [] for leaf, count in enumerate(files_per_leaf) for number in range(count)
    }
    for scatter_task, batches in zip(scatter_tasks, scattered, strict=True):
        for batch, leaf_file in enumerate(batches):
            pieces[leaf_file].append((scatter_task.path, batch))
    gather_tasks = []
    for (leaf, number), of_file in pieces.items():
        path = "split={}/temperature={}/part-{:05d}.parquet".format(*_LEAVES[leaf], number)
        gather_tasks.append(GatherTask(tuple(of_file), sources.staging, directory, path))
    return gather_tasks


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
    return _COPIES_IN_MEMORY * BYTES_PER_WORD * _count_fields(schema)


def _scatter_parts(task: _ScatterTask) -> list[LeafFile]:
    """Write parts' rows as a record batch for each target file; return these files, in order.

    The rows of a batch are sorted by key.
    """
    staging = Staging.read(task.sources.staging)
    frequencies = Frequencies.read(task.sources.frequencies)
    parts = range(task.first, task.stop)
    columns, is_cold = _encode_parts(staging, frequencies, HotSet.read(task.sources.hot_set), parts)
    splits = np.concatenate([frequencies.assign_splits(staging, part) for part in parts])
    if task.delete_after:
        for part in parts:
            staging.open_part(part).release_rows()
    keys = generate_row_keys(staging.first_row(task.first), is_cold.size, task.seed)
    leaf = splits.astype(np.int64) * len(TEMPERATURES) + is_cold
    # Scale the upper half of the key, in [0, 2^32), to the number of files: each file has an
    # interval of keys, so files in order, each sorted by key, are the whole leaf sorted by key.
    file_count = np.array(task.files_per_leaf, dtype=np.uint64)[leaf]
    file_in_leaf = ((keys >> np.uint64(32)) * file_count >> np.uint64(32)).astype(np.int64)
    first_files = np.cumsum(task.files_per_leaf) - task.files_per_leaf  # of each leaf, among all
    file = (first_files[leaf] + file_in_leaf).astype(np.int64)
    # Two stable sorts, the last by the more significant: by file, and by key in each.
    by_key = stable_argsort(keys)
    order = by_key[stable_argsort(file[by_key])].astype(np.int64)
    rows_per_file = np.bincount(file, minlength=int(sum(task.files_per_leaf)))
    files = np.flatnonzero(rows_per_file)
    bounds = np.cumsum([0, *rows_per_file[files]])
    batches = PackedRows.pack(columns, keys, order).to_batches(bounds)
    with task.directory.write(task.path) as path:
        write_table(pa.Table.from_batches(batches), path)
    leaves = np.searchsorted(first_files, files, side="right") - 1
    return list(zip(leaves.tolist(), (files - first_files[leaves]).tolist(), strict=True))


def _encode_parts(
    staging: Staging, frequencies: Frequencies, hot_set: HotSet, parts: range
) -> tuple[Columns, BoolArray]:
    """Return the labels, dense features and ids of neighbouring parts, and which rows are cold.

    Fields are in the order of the schema. A row is cold if it has any cold id.
    """
    dense, sparse, passed = staging.schema.dense, staging.schema.sparse, staging.schema.passed
    rows = staging.first_row(parts.stop) - staging.first_row(parts.start)
    fields = reuse_buffer("fields", (_count_fields(staging.schema), rows), np.int32)
    is_cold = np.zeros(rows, dtype=np.bool_)
    hot_rows = {table.name: table.hot_rows for table in hot_set.tables}
    ids_by_table = hot_set.read_ids()
    lists: dict[int, list[Words]] = {}
    moments = {column.column: column for column in frequencies.moments}
    for part in parts:
        first = staging.first_row(part) - staging.first_row(parts.start)
        own = slice(first, first + staging.parts[part].rows)
        staged = staging.open_part(part, buffered=True)
        table = staged.read_columns([LABEL, *(column.name for column in dense)])
        fields[0, own] = to_numpy(table[LABEL].chunk(0))
        for field, name in enumerate(table.column_names[1:], start=1):
            numbers = to_numpy(table[name].chunk(0))
            if name in moments:
                numbers = standardize(numbers, moments[name])
            fields[field, own] = numbers.view(np.int32)
        for field, column in enumerate(sparse, start=1 + len(dense)):
            # Translate each distinct value of the part once, then look up the rows' codes.
            ranks = frequencies.read_ranks(column.name, part)
            ids = ids_by_table[column.table_name][ranks].view(np.int32)
            first_cold = hot_rows[column.table_name]
            codes = staged.read_codes(column.name)
            if codes.lengths is None:
                _look_up_ids(ids, codes.codes, first_cold, fields[field, own], is_cold[own])
            else:
                accessed = ids[codes.codes]
                owners = codes.expand_rows(staging.parts[part].rows)
                is_cold[own][owners[accessed >= first_cold]] = True
                lists.setdefault(field, []).append(accessed)
                fields[field, own] = codes.lengths
        for field, other in enumerate(passed, start=1 + len(dense) + len(sparse)):
            values = staged.read_columns([other.name])[other.name].chunk(0)
            if pa.types.is_large_string(values.type):
                fields[field, own], words = pack_texts(values)
                lists.setdefault(field, []).append(words)
            else:
                number = to_numpy(values)
                fields[field, own] = number.view(np.int32) if number.itemsize == 4 else number
    return Columns(fields, {field: np.concatenate(ids) for field, ids in lists.items()}), is_cold


def _count_fields(schema: Schema) -> int:
    """Return the number of columns of a data file."""
    return 1 + len(schema.dense) + len(schema.sparse) + len(schema.passed)


@kernel
def _look_up_ids(
    ids: Words, codes: IntegerArray, first_cold: int, row_ids: Words, is_cold: BoolArray
) -> None:
    """Write the id of each code to `row_ids`, and mark the rows with an id from `first_cold` on."""
    for row in range(codes.size):
        row_ids[row] = ids[codes[row]]
        is_cold[row] |= row_ids[row] >= first_cold


def gather_file(task: GatherTask) -> DataFile:
    """Write one file: its rows from all scattered files, by key."""
    batches = []
    for path, number in task.pieces:
        with task.directory.open(path) as source:
            batches.append(pa.ipc.open_file(source).get_batch(number))
    schema = Staging.read(task.staging).schema
    with task.directory.write(task.path) as target:
        with open_data_file(schema, target) as writer:
            for slices in _cut_into_row_groups(batches):
                rows = PackedRows.from_batches(slices)
                writer.write_table(build_table(rows, writer.schema))
        return describe_file(target, task.path, sum(batch.num_rows for batch in batches))


def _cut_into_row_groups(batches: list[pa.RecordBatch]) -> Iterator[list[pa.RecordBatch]]:
    """Yield the rows of each row group, by key over all batches, as slices of the batches."""
    keys = [read_keys(batch) for batch in batches]
    last_keys = np.sort(np.concatenate(keys))[ROWS_PER_ROW_GROUP - 1 :: ROWS_PER_ROW_GROUP]
    # Each batch is sorted by key, so its share of a row group is a slice.
    bounds = [[0, *np.searchsorted(own, last_keys, side="right"), own.size] for own in keys]
    for group in range(last_keys.size + 1):
        slices = [
            batch.slice(bound[group], bound[group + 1] - bound[group])
            for batch, bound in zip(batches, bounds, strict=True)
            if bound[group] < bound[group + 1]
        ]
        if slices:
            yield slices
