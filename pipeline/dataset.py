"""The finished data set: leaves, vocabularies, records and the manifest that names them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipeline import artefact
from pipeline.calibration import CURVE, Calibration
from pipeline.cluster import Cluster
from pipeline.errors import DatasetError
from pipeline.frequencies import Frequencies
from pipeline.manifest import (
    LABEL,
    VERSION,
    DataFile,
    Features,
    Manifest,
    SparseFeature,
    Table,
)
from pipeline.parameters import PartitionParameters
from pipeline.partitions import data_file, partition
from pipeline.schema import Schema
from pipeline.staging import REJECTS, Staging
from pipeline.vocabulary import vocabulary


@dataclass(frozen=True)
class _Task:
    """One table's vocabulary to write."""

    staging: str
    frequencies: str
    calibration: str
    table: str
    directory: str


def write_dataset(
    staging: Staging,
    frequencies: Frequencies,
    calibration: Calibration,
    out: Path,
    cluster: Cluster,
    parameters: PartitionParameters,
    *,
    overwrite: bool = False,
    more_records: Callable[[Path, tuple[Table, ...]], tuple[DataFile, ...]] = lambda *_: (),
) -> Manifest:
    """Partition the staged rows into the data set `out`; nothing to do where it is there.

    `more_records` writes further records into the directory that it is given, in which the
    vocabularies of the tables lie already.
    """
    _check_stages(staging, frequencies, calibration)
    made_from = parameters.fingerprint(artefact.fingerprint_of(calibration.directory))
    if artefact.is_made(out, made_from, overwrite):
        return Manifest.read(out)
    with artefact.building(out, made_from) as partial:
        splits = partition(staging, frequencies, calibration, partial, cluster, parameters.seed)
        (partial / "vocabulary").mkdir()
        tasks = [
            _Task(
                str(staging.directory),
                str(frequencies.directory),
                str(calibration.directory),
                table.name,
                str(partial),
            )
            for table in calibration.tables
        ]
        vocabularies = cluster.run("vocabulary", _write_vocabulary, tasks)
        tables = tuple(
            Table(table.name, table.rows, table.hot_rows, table.dim, file)
            for table, file in zip(calibration.tables, vocabularies, strict=True)
        )
        manifest = Manifest(
            version=VERSION,
            fingerprint=made_from,
            seed=parameters.seed,
            embedding=calibration.embedding,
            budget=calibration.budget,
            features=features(staging.schema),
            tables=tables,
            splits=splits,
            schema=staging.schema.document(),
            preparation=_preparation(staging, frequencies, calibration, parameters),
            records=(*_records(staging, calibration, partial), *more_records(partial, tables)),
        )
        manifest.write(partial)
    return Manifest.read(out)


def _check_stages(staging: Staging, frequencies: Frequencies, calibration: Calibration) -> None:
    """Raise DatasetError unless each of the outputs was made from the one before."""
    for made, found, source in (
        (frequencies.directory, frequencies.staging, staging.directory),
        (calibration.directory, calibration.frequencies, frequencies.directory),
    ):
        if found != artefact.fingerprint_of(source):
            raise DatasetError(f"{made} was not made from {source}. Run its stage again.")


def features(schema: Schema) -> Features:
    """The columns of the data files, from the schema."""
    sparse = tuple(
        SparseFeature(column.name, column.table_name, column.multi is not None)
        for column in schema.sparse
    )
    return Features(LABEL, tuple(column.name for column in schema.dense), sparse)


def _write_vocabulary(task: _Task) -> DataFile:
    schema = Staging.read(Path(task.staging)).schema
    accesses = Frequencies.read(Path(task.frequencies)).accesses(task.table)
    ids = Calibration.read(Path(task.calibration)).ids(task.table)
    frame = vocabulary(accesses, ids, schema.tables[task.table][0])
    path = f"vocabulary/{task.table}.parquet"
    frame.write_parquet(Path(task.directory) / path, compression="zstd")
    return data_file(Path(task.directory), path, frame.height)


def _records(staging: Staging, calibration: Calibration, directory: Path) -> tuple[DataFile, ...]:
    """Copy what tells of the preparation: the rejects and the curve."""
    rejects, curve = f"{REJECTS}/rejects.jsonl", CURVE
    (directory / REJECTS).mkdir()
    shutil.copyfile(staging.directory / rejects, directory / rejects)
    shutil.copyfile(calibration.directory / curve, directory / curve)
    return (
        data_file(directory, rejects, sum(staging.reasons.values())),
        data_file(directory, curve, calibration.curve().height),
    )


def _preparation(
    staging: Staging,
    frequencies: Frequencies,
    calibration: Calibration,
    parameters: PartitionParameters,
) -> dict[str, Any]:
    """How the data set came about, without times, hosts or absolute paths."""
    return {
        "logs": [asdict(log) for log in staging.logs],
        "rejects": staging.reasons,
        "sample": frequencies.sample,
        "sample_seed": frequencies.seed,
        "objective": calibration.objective,
        "bound": calibration.bound,
        "access_share": calibration.access_share,
        "sharing": [asdict(table) for table in calibration.sharing],
        "hot_share": {split: calibration.hot_share(split) for split in calibration.inputs},
        "tables": [asdict(table) for table in frequencies.tables],
        "parameters": {
            "profile": frequencies.parameters,
            "calibrate": calibration.parameters,
            "partition": parameters.model_dump(mode="json"),
        },
    }
