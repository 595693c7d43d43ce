"""The finished data set: leaves, vocabularies, records and the manifest that names them."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from fae.commit import outputs
from fae.dataset.parameters import PartitionParameters
from fae.dataset.shuffle import SCATTERED, partition
from fae.dataset.vocabulary import vocabulary
from fae.execution.executor import Executor
from fae.format.errors import DatasetError
from fae.format.integrity import DataFile, describe_file
from fae.format.manifest import (
    LABEL,
    MANIFEST_FILE,
    VERSION,
    Features,
    Manifest,
    SparseFeature,
    Table,
)
from fae.hotset.hot_set import CURVE, HotSet
from fae.ingestion.rejects import REJECTS_FILE
from fae.ingestion.staging import Staging
from fae.logs.schema import Schema
from fae.profiling.frequencies import Frequencies
from fae.storage.folder import Folder, FolderLike


@dataclass(frozen=True)
class _Task:
    """One table's vocabulary to write."""

    staging: str
    frequencies: str
    hot_set: str
    table: str
    directory: str


def write_dataset(
    staging: Staging,
    frequencies: Frequencies,
    hot_set: HotSet,
    out: FolderLike,
    executor: Executor,
    parameters: PartitionParameters,
    *,
    overwrite: bool = False,
    spent: bool = False,
    more_records: Callable[[Folder, tuple[Table, ...]], tuple[DataFile, ...]] = lambda *_: (),
) -> Manifest:
    """Partition the staged rows into the data set `out`; nothing to do where it is there.

    A `spent` staging is about to be removed: its rows need not stay in the system's memory.
    `more_records` writes further records into the folder that it is given, in which the
    vocabularies of the tables lie already.
    """
    out = Folder.of(out)
    _check_stages(staging, frequencies, hot_set)
    made_from = parameters.fingerprint(outputs.read_fingerprint(hot_set.directory))
    if outputs.is_made(out, made_from, overwrite):
        return outputs.read_manifest(out)
    with outputs.build_output(out, made_from) as partial:
        splits = partition(staging, frequencies, hot_set, partial, executor, parameters.seed, spent)
        tasks = [
            _Task(
                str(staging.directory),
                str(frequencies.directory),
                str(hot_set.directory),
                table.name,
                str(partial),
            )
            for table in hot_set.tables
        ]
        with ThreadPoolExecutor(1, "sweeper") as sweeper:
            sweeper.submit(outputs.remove_output, partial / SCATTERED)
            vocabularies = executor.run("vocabulary", _write_vocabulary, tasks, task_log=partial)
        tables = tuple(
            Table(table.name, table.rows, table.hot_rows, table.dim, file)
            for table, file in zip(hot_set.tables, vocabularies, strict=True)
        )
        manifest = Manifest(
            version=VERSION,
            fingerprint=made_from,
            seed=parameters.seed,
            embedding=hot_set.embedding,
            budget=hot_set.budget,
            features=features(staging.schema),
            tables=tables,
            splits=splits,
            schema=staging.schema.document(),
            preparation=_preparation(staging, frequencies, hot_set, parameters),
            records=(*_records(staging, hot_set, partial), *more_records(partial, tables)),
        )
        partial.write_text(MANIFEST_FILE, manifest.text())
    return outputs.read_manifest(out)


def _check_stages(staging: Staging, frequencies: Frequencies, hot_set: HotSet) -> None:
    """Raise DatasetError unless each of the outputs was made from the one before."""
    for made, found, source in (
        (frequencies.directory, frequencies.staging, staging.directory),
        (hot_set.directory, hot_set.frequencies, frequencies.directory),
    ):
        if found != outputs.read_fingerprint(source):
            raise DatasetError(f"{made} was not made from {source}. Run its stage again.")


def features(schema: Schema) -> Features:
    """The columns of the data files, from the schema."""
    sparse = tuple(
        SparseFeature(column.name, column.table_name, column.multi is not None)
        for column in schema.sparse
    )
    return Features(LABEL, tuple(column.name for column in schema.dense), sparse)


def _write_vocabulary(task: _Task) -> DataFile:
    schema = Staging.read(task.staging).schema
    accesses = Frequencies.read(task.frequencies).iter_accesses(task.table, "value", "accesses")
    ids = HotSet.read(task.hot_set).read_ids()[task.table]
    frames = vocabulary(accesses, ids, schema.tables[task.table][0])
    name = f"vocabulary/{task.table}.parquet"
    with Folder.of(task.directory).write(name) as path:
        _write((frame.to_arrow() for frame in frames), path)
        return describe_file(path, name, ids.size - 1)


def _write(tables: Iterator[pa.Table], path: Path) -> None:
    """Write a vocabulary, whose ids ascend, and in which hardly a value comes twice."""
    first = next(tables)
    encodings = {"id": "DELTA_BINARY_PACKED"}
    if pa.types.is_large_string(first.schema.field("value").type):
        encodings["value"] = "DELTA_LENGTH_BYTE_ARRAY"
    with pq.ParquetWriter(
        path,
        first.schema,
        compression="zstd",
        use_dictionary=["accesses"],
        column_encoding=encodings,
    ) as writer:
        for table in itertools.chain([first], tables):
            writer.write_table(table)


def _records(staging: Staging, hot_set: HotSet, folder: Folder) -> tuple[DataFile, ...]:
    """Copy what tells of the preparation: the rejects and the curve."""
    records = (
        (staging.directory, REJECTS_FILE, sum(staging.reasons.values())),
        (hot_set.directory, CURVE, hot_set.read_curve().height),
    )
    return tuple(_copied(source, name, rows, folder) for source, name, rows in records)


def _copied(source: Folder, name: str, rows: int, folder: Folder) -> DataFile:
    with source.read(name) as path, folder.write(name) as copy:
        shutil.copyfile(path, copy)
        return describe_file(copy, name, rows)


def _preparation(
    staging: Staging,
    frequencies: Frequencies,
    hot_set: HotSet,
    parameters: PartitionParameters,
) -> dict[str, Any]:
    """How the data set came about, without times, hosts or absolute paths."""
    return {
        "logs": [asdict(log) for log in staging.logs],
        "rejects": staging.reasons,
        "sample": frequencies.sample,
        "sample_seed": frequencies.seed,
        "objective": hot_set.objective,
        "bound": hot_set.bound,
        "access_share": hot_set.access_share,
        "sharing": [asdict(table) for table in hot_set.sharing],
        "hot_share": {split: hot_set.hot_share(split) for split in hot_set.inputs},
        "tables": [asdict(table) for table in frequencies.tables],
        "parameters": {
            "profile": frequencies.parameters,
            "calibrate": hot_set.parameters,
            "partition": parameters.model_dump(mode="json"),
        },
    }
