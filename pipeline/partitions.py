"""Partitions: the data set itself, rows in a full shuffle within each split and temperature.

Two rounds of independent tasks. The first classifies each staged part and scatters its rows over
buckets by a pseudo-random key; the second gathers each bucket, sorts it by key and writes it as one
file. The key depends on seed and row number alone, so the bytes do not depend on the parts.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.calibration import Calibration
from pipeline.cluster import Cluster
from pipeline.frequencies import Frequencies
from pipeline.manifest import LABEL, SPLITS, TEMPERATURES, DataFile, Leaf
from pipeline.shuffle import row_keys
from pipeline.staging import Staging
from pipeline.storage import Folder

ROWS_PER_FILE = 1 << 20
ROW_GROUP = 1 << 16
_KEY = "@key"
_SCATTERED = "scattered.partial"
_LARGEST_INT32 = 2**31 - 1

Splits = dict[str, dict[str, Leaf]]


@dataclass(frozen=True)
class _Scatter:
    """One staged part to classify and to spread over `buckets` (leaves,) files of each leaf."""

    staging: str
    frequencies: str
    calibration: str
    part: int
    first_row: int
    seed: int
    buckets: tuple[int, ...]
    directory: str
    path: str


@dataclass(frozen=True)
class _Gather:
    """One file to write: where its rows lie in each scattered part, as (path, record batch)."""

    pieces: tuple[tuple[str, int], ...]
    directory: str
    path: str


def partition(
    staging: Staging,
    frequencies: Frequencies,
    calibration: Calibration,
    directory: Folder,
    cluster: Cluster,
    seed: int,
) -> Splits:
    """Write the leaves of all splits below `directory` and return them for the manifest."""
    leaves = [(split, temperature) for split in SPLITS for temperature in TEMPERATURES]
    rows = [calibration.inputs[split][temperature] for split, temperature in leaves]
    buckets = tuple(-(-count // ROWS_PER_FILE) for count in rows)
    tasks = [
        _Scatter(
            str(staging.directory),
            str(frequencies.directory),
            str(calibration.directory),
            part,
            first_row,
            seed,
            buckets,
            str(directory),
            f"{_SCATTERED}/{part:06d}.arrow",
        )
        for part, first_row in enumerate(staging.offsets())
    ]
    contents = cluster.run("scatter", _scatter, tasks, journal=directory)
    pieces: dict[tuple[int, int], list[tuple[str, int]]] = {
        (leaf, bucket): [] for leaf, count in enumerate(buckets) for bucket in range(count)
    }
    for task, content in zip(tasks, contents, strict=True):
        for batch, place in enumerate(content):
            pieces[place].append((task.path, batch))
    gathers = [
        _Gather(tuple(pieces[leaf, bucket]), str(directory), _file(*leaves[leaf], bucket))
        for leaf, bucket in pieces
    ]
    files = cluster.run(
        "partition", _gather, gathers, journal=directory, rows=lambda file: file.rows
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
    """Write a part's rows as one record batch for each leaf and bucket; return these, in order."""
    staging = Staging.read(task.staging)
    frequencies = Frequencies.read(task.frequencies)
    calibration = Calibration.read(task.calibration)
    table, cold = _encoded(staging, frequencies, calibration, task.part)
    codes = frequencies.splits(task.first_row, table.num_rows)
    keys = row_keys(task.first_row, table.num_rows, task.seed)
    leaf = codes.astype(np.int64) * len(TEMPERATURES) + cold
    count = np.array(task.buckets, dtype=np.uint64)[leaf]
    bucket = ((keys >> np.uint64(32)) * count >> np.uint64(32)).astype(np.int64)
    firsts = np.cumsum(task.buckets) - task.buckets  # each leaf's first bucket among all
    place = firsts[leaf] + bucket
    total = int(sum(task.buckets))
    small = np.uint16 if total <= 1 << 16 else np.int64  # 16 bits are sorted by radix
    order = np.argsort(place.astype(small), kind="stable")
    table = table.append_column(_KEY, pa.array(keys)).take(pa.array(order)).combine_chunks()
    sizes = np.bincount(place, minlength=total)
    stops = np.cumsum(sizes)
    found = np.flatnonzero(sizes)
    with (
        Folder.of(task.directory).write(task.path) as path,
        pa.ipc.new_file(str(path), table.schema) as writer,
    ):
        for one in found:
            for batch in table.slice(stops[one] - sizes[one], sizes[one]).to_batches():
                writer.write_batch(batch)
    owner = np.searchsorted(firsts, found, side="right") - 1
    return [(int(leaf), int(one - firsts[leaf])) for leaf, one in zip(owner, found, strict=True)]


def _encoded(
    staging: Staging, frequencies: Frequencies, calibration: Calibration, part: int
) -> tuple[pa.Table, npt.NDArray[np.int64]]:
    """A part's label, dense features and ids, and which of its rows are cold, as 0 or 1."""
    staged = staging.part(part)
    table = staged.columns([LABEL, *(column.name for column in staging.schema.dense)])
    tables = {table.name: table for table in calibration.tables}
    cold = np.zeros(table.num_rows, dtype=np.bool_)
    for column in staging.schema.sparse:
        sizes = tables[column.table_name]
        kind = np.int32 if sizes.rows <= _LARGEST_INT32 else np.int64
        ranks = frequencies.ranks(column.name, part)
        found = staged.codes(column.name)
        ids = calibration.ids(column.table_name)[ranks].astype(kind)[found.codes]
        if found.lengths is None:
            cold |= ids >= sizes.hot_rows
            values: Any = pa.array(ids)
        else:
            cold[found.owners(table.num_rows)[ids >= sizes.hot_rows]] = True
            offsets = np.concatenate([[0], np.cumsum(found.lengths)]).astype(np.int32)
            values = pa.ListArray.from_arrays(offsets, ids)
        table = table.append_column(column.name, values)
    return table, cold.astype(np.int64)


def _gather(task: _Gather) -> DataFile:
    """Write the rows of one bucket, by key."""
    folder = Folder.of(task.directory)
    parts = []
    for piece, batch in task.pieces:
        with folder.open(piece) as source:
            parts.append(pa.ipc.open_file(source).get_batch(batch))
    table = pa.Table.from_batches(parts)
    order = pc.sort_indices(table[_KEY])
    table = table.drop_columns([_KEY]).take(order)
    table = table.replace_schema_metadata(None)
    with folder.write(task.path) as path:
        pq.write_table(table, path, compression="zstd", row_group_size=ROW_GROUP)
        return data_file(path, task.path, table.num_rows)


def data_file(local: Path, path: str, rows: int) -> DataFile:
    """The manifest's entry of a file that has just been written, which is at `local` for now."""
    with local.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return DataFile(path, rows, local.stat().st_size, digest)
