"""Verification: that a data set is what its manifest says, file by file and row by row."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow.parquet as pq

from fae.commit.outputs import read_manifest
from fae.dataset.presence import UNREADABLE, file_faults, strangers
from fae.dataset.vocabulary import staged_values
from fae.execution.executor import Executor
from fae.format.errors import DatasetError
from fae.format.integrity import DataFile
from fae.format.manifest import MANIFEST_FILE as MANIFEST
from fae.format.manifest import (
    OOV_ID,
    SUCCESS,
    Leaf,
    Manifest,
    SparseFeature,
    Table,
    format_success,
)
from fae.hotset.cold_hash import hash_ids
from fae.logs.schema import Schema
from fae.storage.folder import Folder, FolderLike

_IDS = (pl.Int32(), pl.Int64())


@dataclass(frozen=True)
class Verification:
    """What was looked at, and every fault found, each a sentence that names its file."""

    files: int
    rows: int
    faults: tuple[str, ...]


@dataclass(frozen=True)
class _Task:
    """One data file to check against the manifest of its data set."""

    directory: str
    file: DataFile
    temperature: str
    split: str


def verify(dataset: FolderLike, executor: Executor) -> Verification:
    """Check every file of the data set in `dataset`; DatasetError where it is none at all.

    Checksums and sizes; that no file is missing or unknown; rows, columns and types; that ids lie
    within their tables; that hot rows touch hot ids only and cold rows at least one other; that
    vocabularies hold each id once, and each hashed one where its hash says; that their accesses are
    those of train and of no other split.
    """
    directory = Folder.of(dataset)
    manifest = read_manifest(directory)
    faults = [*strangers(directory, manifest), *_manifest_faults(directory, manifest)]
    tasks = [
        _Task(str(directory), file, temperature, split)
        for split, leaves in manifest.splits.items()
        for temperature, leaf in leaves.items()
        for file in leaf.files
    ]
    for found in executor.run("verify", _data_faults, tasks):
        faults += found
    for table in manifest.tables:
        faults += _vocabulary_faults(directory, table, manifest.schema)
    for file in manifest.records:
        faults += file_faults(directory, file)
    if not faults:
        faults += _frequency_faults(directory, manifest)
    rows = sum(leaf.rows for leaf in _leaves(manifest))
    return Verification(len(manifest.files()), rows, tuple(faults))


def _leaves(manifest: Manifest) -> Iterator[Leaf]:
    for leaves in manifest.splits.values():
        yield from leaves.values()


def _manifest_faults(directory: Folder, manifest: Manifest) -> Iterator[str]:
    """Figures of the manifest that do not agree with each other."""
    logs = manifest.preparation.get("logs")
    listed = logs if isinstance(logs, list) else []
    rows: list[Any] = [log.get("rows") for log in listed if isinstance(log, dict)]
    stored = sum(leaf.rows for leaf in _leaves(manifest))
    if not rows or not all(isinstance(count, int) for count in rows):
        yield f"{MANIFEST}: its preparation does not say how many rows each log had"
    elif sum(rows) != stored:
        yield f"{MANIFEST}: {sum(rows):,} rows were read from the logs and {stored:,} are here"
    used = sum(
        table.hot_rows * manifest.embedding.row_bytes(table.dim) for table in manifest.tables
    )
    budget = manifest.budget
    if used != budget.used_bytes or used > budget.bytes:
        yield (
            f"{MANIFEST}: the hot rows take {used:,} bytes; used_bytes is {budget.used_bytes:,} of "
            f"{budget.bytes:,}"
        )
    expected = format_success(manifest.fingerprint, directory.data(MANIFEST))
    if directory.data(SUCCESS) != expected.encode():
        yield f"{SUCCESS}: not the fingerprint and the sha256 of {MANIFEST}"


def _data_faults(task: _Task) -> list[str]:
    """Faults of one data file; its contents are looked at only where its checksum is right."""
    directory = Folder.of(task.directory)
    faults = file_faults(directory, task.file)
    if faults:
        return faults
    manifest = read_manifest(directory)
    where = task.file.path
    if not where.startswith(f"split={task.split}/temperature={task.temperature}/"):
        return [f"{where}: listed as {task.split}/{task.temperature}"]
    try:
        with directory.read(where) as path:
            return _content_faults(path, manifest, task)
    except UNREADABLE as error:
        return [f"{where}: unreadable: {error}"]


def _content_faults(path: Path, manifest: Manifest, task: _Task) -> list[str]:
    """Faults of a data file's columns and rows."""
    where = task.file.path
    faults: list[str] = []
    file = pq.ParquetFile(path)
    expected = [manifest.features.label, *manifest.features.dense]
    expected += [feature.name for feature in manifest.features.sparse]
    if file.schema_arrow.names != expected:
        return [f"{where}: its columns are {file.schema_arrow.names}, not {expected}"]
    rows = 0
    for group in range(file.num_row_groups):
        frame = pl.DataFrame(file.read_row_group(group))
        faults += _type_faults(frame, manifest, where)
        if faults:
            return faults
        faults += _batch_faults(frame, manifest, task, f"{where}, row group {group}")
        rows += frame.height
    if rows != task.file.rows:
        faults.append(f"{where}: {rows:,} rows, not {task.file.rows:,}")
    return faults


def _type_faults(frame: pl.DataFrame, manifest: Manifest, where: str) -> list[str]:
    """Columns of another type than the contract's."""
    types: dict[str, tuple[pl.DataType, ...]] = {manifest.features.label: (pl.Int8(),)}
    types |= dict.fromkeys(manifest.features.dense, (pl.Float32(),))
    types |= {
        feature.name: tuple(pl.List(one) for one in _IDS) if feature.multi else _IDS
        for feature in manifest.features.sparse
    }
    return [
        f"{where}: {name} is {frame.schema[name]}, not {' or '.join(map(str, allowed))}"
        for name, allowed in types.items()
        if frame.schema[name] not in allowed
    ]


def _batch_faults(frame: pl.DataFrame, manifest: Manifest, task: _Task, where: str) -> list[str]:
    """Faults of the values in one row group."""
    faults = [f"{where}: {name} has nulls" for name in frame.columns if frame[name].has_nulls()]
    if not frame[manifest.features.label].is_in([0, 1]).all():
        faults.append(f"{where}: the label is not 0 or 1 in every row")
    faults += [
        f"{where}: {name} is not a finite float32 in every row"
        for name in manifest.features.dense
        if not frame[name].is_finite().all()
    ]
    cold = pl.Series([False]).new_from_index(0, frame.height)
    for feature in manifest.features.sparse:
        table = manifest.table(feature.table)
        lowest, highest = _extremes(frame[feature.name], feature)
        if not ((lowest >= 0) & (highest < table.rows)).all():
            faults.append(f"{where}: {feature.name} has ids outside 0 to {table.rows - 1:,}")
        cold = cold | (highest >= table.hot_rows)
    wrong = int(cold.sum()) if task.temperature == "hot" else int((~cold).sum())
    if wrong:
        kind = "touch a cold id" if task.temperature == "hot" else "touch no cold id"
        faults.append(f"{where}: {wrong:,} rows {kind}")
    return faults


def _extremes(ids: pl.Series, feature: SparseFeature) -> tuple[pl.Series, pl.Series]:
    """The lowest and the highest id of each row; 0 for an empty list."""
    if not feature.multi:
        return ids, ids
    return ids.list.min().fill_null(OOV_ID), ids.list.max().fill_null(OOV_ID)


def _vocabulary_faults(directory: Folder, table: Table, schema: Mapping[str, Any]) -> list[str]:
    faults = file_faults(directory, table.vocabulary)
    if faults:
        return faults
    try:
        with directory.read(table.vocabulary.path) as path:
            frame = pl.read_parquet(path)
    except UNREADABLE as error:
        return [f"{table.vocabulary.path}: unreadable: {error}"]
    return list(_value_faults(frame, table, schema))


def _value_faults(frame: pl.DataFrame, table: Table, schema: Mapping[str, Any]) -> Iterator[str]:
    """Faults of a vocabulary's columns and values."""
    where = table.vocabulary.path
    if frame.columns != ["value", "id", "accesses"]:
        yield f"{where}: its columns are {frame.columns}, not value, id and accesses"
        return
    for name in ("id", "accesses"):
        if frame.schema[name] != pl.Int64() or frame[name].has_nulls():
            yield f"{where}: {name} is not an integer in every row"
            return
    fits = table.hashed or frame.height == table.rows - 1
    if frame.height != table.vocabulary.rows or not fits:
        yield f"{where}: {frame.height:,} values for a table of {table.rows:,} rows"
    elif table.hashed:
        yield from _hashed_faults(frame, table, schema)
    elif not (frame["id"] == pl.Series(range(1, table.rows), dtype=pl.Int64())).all():
        yield f"{where}: its ids are not 1 to {table.rows - 1:,} in order"
    if frame["value"].n_unique() != frame.height:
        yield f"{where}: a value has two ids"
    if not (frame["accesses"] >= 1).all():
        yield f"{where}: a value has an id but no access in train"


def _hashed_faults(frame: pl.DataFrame, table: Table, schema: Mapping[str, Any]) -> Iterator[str]:
    """Faults of ids of which the cold ones are hashed; hot ones are 1, 2, 3 … as ever."""
    where, hot = table.vocabulary.path, table.hot_rows
    ids = frame["id"].to_numpy()
    try:
        column = Schema.model_validate(schema).tables[table.name][0]
    except (ValueError, KeyError):
        yield f"{MANIFEST}: its schema is damaged, or has no table {table.name!r}"
        return
    if not np.array_equal(ids[: hot - 1], np.arange(1, hot)) or (np.diff(ids) < 0).any():
        yield f"{where}: its ids are not 1 to {hot - 1:,} in order, then hashed ones"
    cold = staged_values(frame["value"][hot - 1 :], column)
    wrong = np.count_nonzero(ids[hot - 1 :] != hash_ids(cold, hot, table.rows - hot))
    if wrong:
        yield f"{where}: {wrong:,} values have another id than their hash says"


def _frequency_faults(directory: Folder, manifest: Manifest) -> Iterator[str]:
    """Whether each vocabulary's accesses are those of the train rows, counted anew."""
    found: dict[str, npt.NDArray[np.int64]] = {
        table.name: np.zeros(table.rows, dtype=np.int64) for table in manifest.tables
    }
    names = [feature.name for feature in manifest.features.sparse]
    for leaf in manifest.splits["train"].values():
        for file in leaf.files:
            frame = _columns(directory, file, names)
            for feature in manifest.features.sparse:
                ids = frame[feature.name].explode() if feature.multi else frame[feature.name]
                counts = ids.drop_nulls().alias("id").value_counts()
                found[feature.table][counts["id"].to_numpy()] += counts["count"].to_numpy()
    for table in manifest.tables:
        known = _columns(directory, table.vocabulary, ["id", "accesses"])
        told = np.zeros(table.rows, dtype=np.int64)
        np.add.at(told, known["id"].to_numpy(), known["accesses"].to_numpy())
        count = np.count_nonzero(told[1:] != found[table.name][1:])
        if count:
            yield f"{table.vocabulary.path}: {count:,} ids have other accesses than in train"


def _columns(directory: Folder, file: DataFile, names: list[str]) -> pl.DataFrame:
    try:
        with directory.read(file.path) as path:
            return pl.read_parquet(path, columns=names, hive_partitioning=False)
    except UNREADABLE as error:
        raise DatasetError(f"{directory / file.path} is unreadable: {error}") from None
