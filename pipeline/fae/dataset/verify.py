"""Verification: check a data set against its manifest, file by file and row by row."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow.parquet as pq

from fae.commit.outputs import read_manifest
from fae.dataset.integrity import (
    READ_ERRORS,
    find_file_faults,
    find_type_faults,
    find_unknown_files,
)
from fae.dataset.vocabulary import to_staged_values
from fae.execution.executor import Executor
from fae.format.errors import DatasetError, SchemaError
from fae.format.integrity import DataFile
from fae.format.manifest import MANIFEST_FILE as MANIFEST
from fae.format.manifest import (
    MAX_GROUP_ROWS,
    OOV_ID,
    SUCCESS,
    Manifest,
    Table,
    format_success,
)
from fae.hotset.cold_hash import hash_ids
from fae.logs.columns import SparseColumn
from fae.logs.schema_files import check_schema
from fae.storage.decoding import iter_row_groups, read_parquet
from fae.storage.folder import Folder, FolderLike

_ID_DTYPES = (pl.Int32(), pl.Int64())


@dataclass(frozen=True)
class Verification:
    """The files and rows checked, and every fault found, each a sentence that names its file."""

    files: int
    rows: int
    faults: tuple[str, ...]


@dataclass(frozen=True)
class _Task:
    """One data file to check against the manifest of its data set."""

    directory: Folder
    file: DataFile
    temperature: str
    split: str


def verify(dataset: FolderLike, executor: Executor) -> Verification:
    """Check every file of a data set, and return all faults.

    These are checked: checksums and sizes; that no file is missing or unknown; rows, columns and
    types; that ids are within their tables; that hot rows have hot ids only and cold rows at least
    one cold id; that vocabularies have each exact id once, and each hashed id where its value's
    hash says; that their accesses are those of train and of no other split. Raises DatasetError
    where there is no data set.
    """
    directory = Folder.of(dataset)
    manifest = read_manifest(directory)
    faults = [*find_unknown_files(directory, manifest), *_check_manifest(directory, manifest)]
    columns, mistakes = _check_schema(manifest)
    faults += mistakes
    tasks = [
        _Task(directory, file, temperature, split)
        for split, leaves in manifest.splits.items()
        for temperature, leaf in leaves.items()
        for file in leaf.files
    ]
    for found in executor.run("verify", _check_data_file, tasks):
        faults += found
    for table in manifest.tables:
        faults += _check_vocabulary(directory, table, columns.get(table.name))
    for file in manifest.records:
        faults += find_file_faults(directory, file)
    if not faults:  # counting accesses needs files that can be read
        faults += _check_accesses(directory, manifest)
    return Verification(len(manifest.files()), _count_rows(manifest), tuple(faults))


def _count_rows(manifest: Manifest) -> int:
    """Return the rows of all leaves by the manifest."""
    return sum(leaf.rows for leaves in manifest.splits.values() for leaf in leaves.values())


def _check_manifest(directory: Folder, manifest: Manifest) -> Iterator[str]:
    """Yield a fault for each two figures of the manifest that contradict each other."""
    logs = manifest.preparation.get("logs")
    listed = logs if isinstance(logs, list) else []
    log_rows: list[Any] = [log.get("rows") for log in listed if isinstance(log, dict)]
    stored = _count_rows(manifest)
    if not log_rows or not all(isinstance(count, int) for count in log_rows):
        yield f"{MANIFEST}: its preparation does not say how many rows each log had"
    elif sum(log_rows) != stored:
        yield f"{MANIFEST}: the logs had {sum(log_rows):,} rows, but the data set has {stored:,}"
    row_bytes, budget = manifest.embedding.row_bytes, manifest.budget
    used = sum(table.hot_rows * row_bytes(table.dim) for table in manifest.tables)
    if used != budget.used_bytes or used > budget.bytes:
        stated = f"{budget.used_bytes:,} of a budget of {budget.bytes:,}"
        yield f"{MANIFEST}: the hot rows take {used:,} bytes, but used_bytes is {stated}"
    expected = format_success(manifest.fingerprint, directory.read_bytes(MANIFEST))
    if directory.read_bytes(SUCCESS) != expected.encode():
        yield f"{SUCCESS}: does not match the fingerprint and the sha256 of {MANIFEST}"


def _check_data_file(task: _Task) -> list[str]:
    """Return the faults of one data file; its rows are checked only if its checksum is right."""
    faults = find_file_faults(task.directory, task.file)
    if faults:
        return faults
    manifest = read_manifest(task.directory)
    where = task.file.path
    if not where.startswith(f"split={task.split}/temperature={task.temperature}/"):
        return [f"{where}: the manifest lists it under {task.split}/{task.temperature}"]
    try:
        with task.directory.read(where) as path:
            return _check_rows(path, manifest, task)
    except READ_ERRORS as error:
        return [f"{where}: unreadable: {error}"]
    except DatasetError as error:
        return [str(error)]


def _check_rows(path: Path, manifest: Manifest, task: _Task) -> list[str]:
    """Return the faults of a data file's columns and rows."""
    where = task.file.path
    file = pq.ParquetFile(path)
    expected = manifest.features.columns
    if file.schema_arrow.names != expected:
        return [f"{where}: its columns are {file.schema_arrow.names}, not {expected}"]
    groups = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
    if max(groups, default=0) > MAX_GROUP_ROWS:
        return [f"{where}: {max(groups):,} rows in a row group, more than {MAX_GROUP_ROWS:,}"]
    # Before a row is read: a text takes any number of bytes where an id takes four.
    faults = _check_types(pl.DataFrame(file.schema_arrow.empty_table()), manifest, where)
    if faults:
        return faults
    rows = 0
    for group, frame in enumerate(iter_row_groups(path, name=where)):
        faults += _check_values(frame, manifest, task, f"{where}, row group {group}")
        rows += frame.height
    if rows != task.file.rows:
        faults.append(f"{where}: {rows:,} rows, not {task.file.rows:,}")
    return faults


def _check_types(frame: pl.DataFrame, manifest: Manifest, where: str) -> list[str]:
    """Return a fault for each column of a type other than the contract's."""
    types: dict[str, tuple[pl.DataType, ...]] = {manifest.features.label: (pl.Int8(),)}
    types |= dict.fromkeys(manifest.features.labels, (pl.Int8(),))
    weight = [manifest.features.weight] if manifest.features.weight else []
    types |= dict.fromkeys([*manifest.features.dense, *weight], (pl.Float32(),))
    types |= dict.fromkeys(manifest.features.keys, (pl.String(),))
    for feature in manifest.features.sparse:
        types[feature.name] = tuple(map(pl.List, _ID_DTYPES)) if feature.multi else _ID_DTYPES
    found = frame.schema  # made anew at each access
    return [
        f"{where}: {name} is {found[name]}, not {' or '.join(map(str, allowed))}"
        for name, allowed in types.items()
        if found[name] not in allowed
    ]


def _check_values(frame: pl.DataFrame, manifest: Manifest, task: _Task, where: str) -> list[str]:
    """Return the faults of the values in one row group."""
    faults = [f"{where}: {name} has nulls" for name in frame.columns if frame[name].has_nulls()]
    valid = [-1, 0, 1] if manifest.features.unlabeled else [0, 1]
    labels = {"the label": manifest.features.label}
    labels |= {f"the label {name}": name for name in manifest.features.labels}
    faults += [
        f"{where}: {label} is not {' or '.join(map(str, valid))} in every row"
        for label, name in labels.items()
        if not frame[name].is_in(valid).all()
    ]
    weight = manifest.features.weight
    if weight and not (frame[weight].is_finite() & (frame[weight] >= 0)).all():
        faults.append(f"{where}: {weight} is not a finite weight from 0 on in every row")
    faults += [
        f"{where}: {name} is not a finite float32 in every row"
        for name in manifest.features.dense
        if not frame[name].is_finite().all()
    ]
    is_cold = pl.Series([False]).new_from_index(0, frame.height)
    for feature in manifest.features.sparse:
        table = manifest.table(feature.table)
        lowest = highest = frame[feature.name]
        if feature.multi:  # an empty list is hot
            lowest = lowest.list.min().fill_null(OOV_ID)
            highest = highest.list.max().fill_null(OOV_ID)
        if not ((lowest >= 0) & (highest < table.rows)).all():
            faults.append(f"{where}: {feature.name} has ids outside 0 to {table.rows - 1:,}")
        is_cold = is_cold | (highest >= table.hot_rows)
    wrong = int(is_cold.sum()) if task.temperature == "hot" else int((~is_cold).sum())
    if wrong:
        kind = "have a cold id" if task.temperature == "hot" else "have no cold id"
        faults.append(f"{where}: {wrong:,} rows {kind}")
    return faults


def _check_schema(manifest: Manifest) -> tuple[dict[str, SparseColumn], list[str]]:
    """Return a column of each table by the schema, and the schema's fault where it has any."""
    try:
        schema = check_schema(dict(manifest.schema), f"{MANIFEST}: its schema")
    except SchemaError as error:
        return {}, [" ".join(str(error).split())]
    return {name: columns[0] for name, columns in schema.tables.items()}, []


def _check_vocabulary(directory: Folder, table: Table, column: SparseColumn | None) -> list[str]:
    """Return the faults of one vocabulary file, given a column of its table."""
    faults = find_file_faults(directory, table.vocabulary)
    if faults:
        return faults
    try:
        with directory.read(table.vocabulary.path) as path:
            rows = pq.read_metadata(path).num_rows
            if rows != table.vocabulary.rows:
                where = table.vocabulary.path
                return [f"{where}: {rows:,} values for a table of {table.rows:,} rows"]
            frame = read_parquet(path, name=table.vocabulary.path)
    except READ_ERRORS as error:
        return [f"{table.vocabulary.path}: unreadable: {error}"]
    except DatasetError as error:
        return [str(error)]
    return list(_check_lines(frame, table, column))


def _check_lines(frame: pl.DataFrame, table: Table, column: SparseColumn | None) -> Iterator[str]:
    """Yield the faults of a vocabulary's columns and lines."""
    where = table.vocabulary.path
    if frame.columns != ["value", "id", "accesses"]:
        yield f"{where}: its columns are {frame.columns}, not value, id and accesses"
        return
    if faults := find_type_faults(frame):
        yield from (f"{where}: {fault}" for fault in faults)
        return
    for name in ("id", "accesses"):
        if frame[name].has_nulls():
            yield f"{where}: {name} is not an integer in every row"
            return
    if not (table.hashed or frame.height == table.rows - 1):
        yield f"{where}: {frame.height:,} values for a table of {table.rows:,} rows"
    elif table.hashed:
        yield from _check_hashed_ids(frame, table, column)
    elif not (frame["id"] == pl.Series(range(1, table.rows), dtype=pl.Int64())).all():
        yield f"{where}: its ids are not 1 to {table.rows - 1:,} in order"
    if frame["value"].n_unique() != frame.height:
        yield f"{where}: a value has two ids"
    if not (frame["accesses"] >= 1).all():
        yield f"{where}: a value has an id but no access in train"


def _check_hashed_ids(
    frame: pl.DataFrame, table: Table, column: SparseColumn | None
) -> Iterator[str]:
    """Yield the faults of hot ids, which are 1, 2, 3 …, and of hashed cold ids after them."""
    where, hot_rows = table.vocabulary.path, table.hot_rows
    ids = frame["id"].to_numpy()
    if column is None:
        yield f"{MANIFEST}: its schema is damaged, or has no table {table.name!r}"
        return
    hot_ids, cold_ids = np.split(ids, [hot_rows - 1])
    if not np.array_equal(hot_ids, np.arange(1, hot_rows)) or (np.diff(ids) < 0).any():
        yield f"{where}: its ids are not 1 to {hot_rows - 1:,} in order, then hashed ones"
    cold_values = to_staged_values(frame["value"][hot_rows - 1 :], column)
    expected = hash_ids(cold_values, hot_rows, table.rows - hot_rows)
    wrong = np.count_nonzero(cold_ids != expected)
    if wrong:
        yield f"{where}: {wrong:,} ids are not the hash of their value"


def _check_accesses(directory: Folder, manifest: Manifest) -> Iterator[str]:
    """Yield a fault for each vocabulary whose accesses are not those of the train rows."""
    counted = {table.name: np.zeros(table.rows, dtype=np.int64) for table in manifest.tables}
    names = [feature.name for feature in manifest.features.sparse]
    for leaf in manifest.splits["train"].values():
        for file in leaf.files:
            for frame in _iter_columns(directory, file, names):
                for feature in manifest.features.sparse:
                    ids = frame[feature.name].explode() if feature.multi else frame[feature.name]
                    counts = ids.drop_nulls().alias("id").value_counts()
                    counted[feature.table][counts["id"].to_numpy()] += counts["count"].to_numpy()
    for table in manifest.tables:
        recorded = np.zeros(table.rows, dtype=np.int64)
        for lines in _iter_columns(directory, table.vocabulary, ["id", "accesses"]):
            np.add.at(recorded, lines["id"].to_numpy(), lines["accesses"].to_numpy())
        wrong = np.count_nonzero(recorded[1:] != counted[table.name][1:])
        if wrong:
            yield f"{table.vocabulary.path}: the accesses of {wrong:,} ids are not those in train"


def _iter_columns(directory: Folder, file: DataFile, names: list[str]) -> Iterator[pl.DataFrame]:
    """Yield columns of a file's row groups; raises DatasetError where it cannot be read."""
    try:
        with directory.read(file.path) as path:
            yield from iter_row_groups(path, names, directory / file.path)
    except READ_ERRORS as error:
        raise DatasetError(f"{directory / file.path} is unreadable: {error}") from None
