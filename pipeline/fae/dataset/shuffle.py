"""Partitions: the data set itself, rows in a full shuffle within each split and temperature.

Two rounds of independent tasks. The first classifies each staged part and scatters its rows over
buckets by a pseudo-random key; the second gathers each bucket in the order of the keys and writes
it as one file. Each part's rows of a bucket are sorted by key already, so that a row group comes
from a run of each, and a file is made in the memory of a row group. The key depends on seed and row
number alone, so the bytes do not depend on the parts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from fae.arrays.arrow import to_arrow, to_numpy
from fae.arrays.buffers import reuse_buffer
from fae.arrays.jit import kernel
from fae.arrays.row_keys import generate_row_keys
from fae.arrays.stable_argsort import stable_argsort
from fae.dataset.row_codec import Columns, Records, Words
from fae.execution.executor import Executor
from fae.format.integrity import DataFile, describe_file
from fae.format.manifest import LABEL, SPLITS, TEMPERATURES, Leaf
from fae.hotset.hot_set import HotSet
from fae.ingestion.staging import Staging
from fae.logs.schema import Schema
from fae.profiling.frequencies import Frequencies
from fae.storage.folder import Folder

ROWS_PER_FILE = 1 << 20
ROW_GROUP = 1 << 16
#: The folder of scattered rows in the unfinished output; nobody wants it after `partition`.
SCATTERED = "scattered.partial"
#: A part is scattered by itself as long as there are so many or fewer; then several are together,
#: but no more than some, so that a file's rows come in fewer and longer runs.
_PARTS, _TOGETHER = 512, 16
#: How often a file's rows are in memory while it is written, where remote pieces are fetched.
_COPIES = 2

Splits = dict[str, dict[str, Leaf]]


@dataclass(frozen=True)
class _Scatter:
    """Staged parts to classify and to spread over `buckets` (leaves,) files of each leaf.

    They are those from `first` on and before `stop`.

    Where the staging is `spent`, nobody wants its rows after this.
    """

    staging: str
    frequencies: str
    hot_set: str
    first: int
    stop: int
    seed: int
    buckets: tuple[int, ...]
    spent: bool
    directory: str
    path: str


@dataclass(frozen=True)
class _Gather:
    """One file to write: where its rows lie in each scattered part, as (path, record batch)."""

    pieces: tuple[tuple[str, int], ...]
    staging: str
    directory: str
    path: str


def partition(
    staging: Staging,
    frequencies: Frequencies,
    hot_set: HotSet,
    directory: Folder,
    executor: Executor,
    seed: int,
    spent: bool,
) -> Splits:
    """Write the leaves of all splits below `directory` and return them for the manifest.

    Nobody wants the rows of a `spent` staging after this.
    """
    leaves = [(split, temperature) for split in SPLITS for temperature in TEMPERATURES]
    rows = [hot_set.inputs[split][temperature] for split, temperature in leaves]
    buckets = tuple(-(-count // ROWS_PER_FILE) for count in rows)
    step = min(-(-len(staging.parts) // _PARTS), _TOGETHER)
    tasks = [
        _Scatter(
            str(staging.directory),
            str(frequencies.directory),
            str(hot_set.directory),
            part,
            min(part + step, len(staging.parts)),
            seed,
            buckets,
            spent,
            str(directory),
            f"{SCATTERED}/{part:06d}.arrow",
        )
        for part in range(0, len(staging.parts), step)
    ]
    width = 4 * (1 + len(staging.schema.dense) + len(staging.schema.sparse))
    largest = max(part.rows for part in staging.parts)
    contents = executor.run(
        "scatter", _scatter, tasks, task_log=directory, needs=_COPIES * width * step * largest
    )
    pieces: dict[tuple[int, int], list[tuple[str, int]]] = {
        (leaf, bucket): [] for leaf, count in enumerate(buckets) for bucket in range(count)
    }
    for task, content in zip(tasks, contents, strict=True):
        for batch, place in enumerate(content):
            pieces[place].append((task.path, batch))
    gathers = [
        _Gather(
            tuple(pieces[leaf, bucket]),
            str(staging.directory),
            str(directory),
            _file(*leaves[leaf], bucket),
        )
        for leaf, bucket in pieces
    ]
    files = executor.run(
        "partition",
        _gather,
        gathers,
        task_log=directory,
        rows=lambda file: file.rows,
        needs=_COPIES * width * ROWS_PER_FILE,
    )
    splits: Splits = {split: {} for split in SPLITS}
    for index, (split, temperature) in enumerate(leaves):
        mine = tuple(file for (leaf, _), file in zip(pieces, files, strict=True) if leaf == index)
        splits[split][temperature] = Leaf(sum(file.rows for file in mine), mine)
        if splits[split][temperature].rows != rows[index]:
            raise AssertionError(f"{split}/{temperature} should have {rows[index]} rows")
    return splits


def _file(split: str, temperature: str, bucket: int) -> str:
    return f"split={split}/temperature={temperature}/part-{bucket:05d}.parquet"


def _scatter(task: _Scatter) -> list[tuple[int, int]]:
    """Write parts' rows as one record batch for each leaf and bucket; return these, in order.

    A batch's rows are sorted by key.
    """
    staging = Staging.read(task.staging)
    frequencies = Frequencies.read(task.frequencies)
    parts = range(task.first, task.stop)
    columns, cold = _encoded(staging, frequencies, HotSet.read(task.hot_set), parts)
    codes = np.concatenate([frequencies.assign_splits(staging, part) for part in parts])
    if task.spent:
        for part in parts:
            staging.open_part(part).release_rows()
    keys = generate_row_keys(staging.first_row(task.first), cold.size, task.seed)
    leaf = codes.astype(np.int64) * len(TEMPERATURES) + cold
    count = np.array(task.buckets, dtype=np.uint64)[leaf]
    bucket = ((keys >> np.uint64(32)) * count >> np.uint64(32)).astype(np.int64)
    firsts = np.cumsum(task.buckets) - task.buckets  # each leaf's first bucket among all
    place = (firsts[leaf] + bucket).astype(np.int64)
    total = int(sum(task.buckets))
    by_key = stable_argsort(keys)
    order = by_key[stable_argsort(place[by_key])].astype(np.int64)
    sizes = np.bincount(place, minlength=total)
    found = np.flatnonzero(sizes)
    batches = Records.woven(columns, keys, order).batches(np.cumsum([0, *sizes[found]]))
    with (
        Folder.of(task.directory).write(task.path) as path,
        pa.ipc.new_file(str(path), batches[0].schema) as writer,
    ):
        for batch in batches:
            writer.write_batch(batch)
    owner = np.searchsorted(firsts, found, side="right") - 1
    return [(int(leaf), int(one - firsts[leaf])) for leaf, one in zip(owner, found, strict=True)]


def _encoded(
    staging: Staging, frequencies: Frequencies, hot_set: HotSet, parts: range
) -> tuple[Columns, npt.NDArray[np.bool_]]:
    """Parts' labels, dense features and ids, in the order of the schema, and their cold rows."""
    dense, sparse = staging.schema.dense, staging.schema.sparse
    rows = staging.first_row(parts.stop) - staging.first_row(parts.start)
    width = 1 + len(dense) + len(sparse)
    fields = reuse_buffer("fields", (width, rows), np.int32)
    cold = np.zeros(rows, dtype=np.bool_)
    tables, ids_of = {table.name: table for table in hot_set.tables}, hot_set.read_ids()
    lists: dict[int, list[Words]] = {}
    for part in parts:
        first = staging.first_row(part) - staging.first_row(parts.start)
        mine = slice(first, first + staging.parts[part].rows)
        staged = staging.open_part(part, passing=True)
        table = staged.read_columns([LABEL, *(column.name for column in dense)])
        fields[0, mine] = to_numpy(table[LABEL].chunk(0))
        for field, name in enumerate(table.column_names[1:], start=1):
            fields[field, mine] = to_numpy(table[name].chunk(0)).view(np.int32)
        for field, column in enumerate(sparse, start=1 + len(dense)):
            ids = ids_of[column.table_name][frequencies.read_ranks(column.name, part)].view(
                np.int32
            )
            found, hot_rows = staged.read_codes(column.name), tables[column.table_name].hot_rows
            if found.lengths is None:
                _gather_ids(ids, found.codes, hot_rows, fields[field, mine], cold[mine])
            else:
                accessed = ids[found.codes]
                cold[mine][found.expand_rows(staging.parts[part].rows)[accessed >= hot_rows]] = True
                lists.setdefault(field, []).append(accessed)
                fields[field, mine] = found.lengths
    return Columns(fields, {field: np.concatenate(some) for field, some in lists.items()}), cold


@kernel
def _gather_ids(
    ids: npt.NDArray[np.int32],
    codes: npt.NDArray[np.unsignedinteger[Any]],
    hot_rows: int,
    found: npt.NDArray[np.int32],
    cold: npt.NDArray[np.bool_],
) -> None:
    """Write the id of each code to `found`, and mark the rows whose id is cold."""
    for row in range(codes.size):
        found[row] = ids[codes[row]]
        cold[row] |= found[row] >= hot_rows


def _gather(task: _Gather) -> DataFile:
    """Write the rows of one bucket, by key."""
    folder = Folder.of(task.directory)
    batches = []
    for piece, batch in task.pieces:
        with folder.open(piece) as source:
            batches.append(pa.ipc.open_file(source).get_batch(batch))
    staging = Staging.read(task.staging)
    dense = [column.name for column in staging.schema.dense]
    with folder.write(task.path) as path:
        with _writer(staging.schema, path) as writer:
            for pieces in _row_groups(batches):
                writer.write_table(_table(Records.joined(pieces), writer.schema, len(dense)))
        return describe_file(path, task.path, sum(batch.num_rows for batch in batches))


def _row_groups(batches: list[pa.RecordBatch]) -> Iterator[list[pa.RecordBatch]]:
    """The rows of batches, each sorted by key, in groups of ROW_GROUP by key over all of them."""
    keys = [Records.keys_of(batch) for batch in batches]
    last = np.sort(np.concatenate(keys))[ROW_GROUP - 1 :: ROW_GROUP]
    cuts = [[0, *np.searchsorted(mine, last, side="right"), mine.size] for mine in keys]
    for group in range(last.size + 1):
        begins_and_ends = ((cut[group], cut[group + 1]) for cut in cuts)
        pieces = [
            batch.slice(begin, end - begin)
            for batch, (begin, end) in zip(batches, begins_and_ends, strict=True)
            if begin < end
        ]
        if pieces:
            yield pieces


def _table(records: Records, schema: pa.Schema, dense: int) -> pa.Table:
    """Records by key as a table whose fields are the label, `dense` dense features, and ids."""
    lists = tuple(i for i, field in enumerate(schema) if pa.types.is_list(field.type))
    columns = records.columns(stable_argsort(records.keys).astype(np.int64), lists)
    arrays = [to_arrow(columns.fields[0].astype(np.int8))]
    for field, words in enumerate(columns.fields[1:], start=1):
        if field in lists:
            offsets = np.concatenate([[0], np.cumsum(words)]).astype(np.int32)
            items = to_arrow(columns.lists[field])
            arrays.append(
                pa.ListArray.from_arrays(to_arrow(offsets), items, schema.field(field).type)
            )
        else:
            arrays.append(to_arrow(words.view(np.float32) if field <= dense else words))
    return pa.table(arrays, schema=schema)


def _writer(schema: Schema, path: Path) -> pq.ParquetWriter:
    """A writer of a file of the data set, which makes each table that it gets a row group.

    Nothing in it is null. Ids are split by their bytes, the upper ones of which are nearly always
    0; that is smaller and quicker to write and to read than a dictionary. Counts have few values.
    """
    dense = [column.name for column in schema.dense]
    fields = [pa.field(LABEL, pa.int8(), nullable=False)]
    fields += [pa.field(name, pa.float32(), nullable=False) for name in dense]
    for column in schema.sparse:
        kind = pa.list_(pa.int32()) if column.multi else pa.int32()
        fields.append(pa.field(column.name, kind, nullable=False))
    split = [
        f"{column.name}.list.element" if column.multi else column.name for column in schema.sparse
    ]
    return pq.ParquetWriter(
        path,
        pa.schema(fields),
        compression="zstd",
        use_dictionary=dense,
        use_byte_stream_split=split,
    )
