"""Partitioning: write the data set of a hot set, with its vocabularies and manifest.

Its inputs are the outputs of the three stages before.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from fae.commit import outputs
from fae.dataset import parquet
from fae.dataset.parameters import PartitionParameters
from fae.dataset.shuffle.rounds import (
    ROWS_PER_FILE,
    SCATTERED,
    GatherTask,
    Sources,
    count_row_bytes,
    gather_file,
    list_leaves,
    scatter_rows,
)
from fae.dataset.vocabulary import build_vocabulary
from fae.execution.executor import Executor
from fae.format.errors import DatasetError
from fae.format.integrity import DataFile, describe_file
from fae.format.manifest import MANIFEST_FILE, VERSION, Manifest, Table
from fae.hotset.hot_set import CURVE, HotSet
from fae.ingestion.rejects import REJECTS_FILE
from fae.ingestion.staging import Staging
from fae.profiling.frequencies import Frequencies
from fae.storage.folder import Folder, FolderLike

#: A row of a leaf takes as long to write as so many values of a vocabulary.
_VALUES_PER_ROW = 3


@dataclass(frozen=True)
class _VocabularyTask:
    """A table whose vocabulary to write."""

    sources: Sources
    table: str
    directory: Folder


def write_dataset(
    staging: Staging,
    frequencies: Frequencies,
    hot_set: HotSet,
    out: FolderLike,
    executor: Executor,
    parameters: PartitionParameters,
    *,
    overwrite: bool = False,
    delete_after: bool = False,
    write_extra_files: Callable[[Folder, tuple[Table, ...]], tuple[DataFile, ...]] = lambda *_: (),
) -> Manifest:
    """Write the staged rows as the data set `out`, unless it is there already.

    With `delete_after`, the caller deletes the staging later, so its rows need not stay in the page
    cache. `write_extra_files` may write further files into the folder of the unfinished data set,
    which has the vocabularies of the tables by then; it returns them for the manifest. Raises
    DatasetError where the inputs do not belong together.
    """
    out = Folder.of(out)
    _check_sources(staging, frequencies, hot_set)
    made_from = parameters.fingerprint(outputs.read_fingerprint(hot_set.directory))
    if outputs.is_made(out, made_from, overwrite):
        return outputs.read_manifest(out)
    executor.timings.begin_stage("partition")
    with outputs.build_output(out, made_from) as partial:
        sources = Sources(staging.directory, frequencies.directory, hot_set.directory)
        leaf_tasks = scatter_rows(sources, partial, executor, parameters.seed, delete_after)
        leaf_files, vocabularies = _write_files(sources, hot_set, leaf_tasks, partial, executor)
        outputs.remove_output(partial / SCATTERED)
        splits = list_leaves(leaf_files, hot_set)
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
            features=parquet.list_features(staging.schema, frequencies.moments),
            tables=tables,
            splits=splits,
            schema=staging.schema.document(),
            preparation=_describe_preparation(staging, frequencies, hot_set, parameters),
            records=(
                _copy_file(staging.directory, REJECTS_FILE, sum(staging.reasons.values()), partial),
                _copy_file(hot_set.directory, CURVE, hot_set.read_curve().height, partial),
                *write_extra_files(partial, tables),
            ),
        )
        partial.write_text(MANIFEST_FILE, manifest.to_json())
    return outputs.read_manifest(out)


def _check_sources(staging: Staging, frequencies: Frequencies, hot_set: HotSet) -> None:
    """Raise DatasetError unless each output was made from the one of the stage before."""
    for output, recorded_source, source in (
        (frequencies.directory, frequencies.staging, staging.directory),
        (hot_set.directory, hot_set.frequencies, frequencies.directory),
    ):
        if recorded_source != outputs.read_fingerprint(source):
            raise DatasetError(f"{output} was not made from {source}. Run its stage again.")


def _write_files(
    sources: Sources,
    hot_set: HotSet,
    leaf_tasks: list[GatherTask],
    directory: Folder,
    executor: Executor,
) -> tuple[list[DataFile], list[DataFile]]:
    """Write the leaves' files and the vocabularies, and return both in order.

    They are one round, the largest tasks first: few files keep few threads busy, and vocabularies
    differ in size.
    """
    tasks: list[GatherTask | _VocabularyTask] = [
        *leaf_tasks,
        *(_VocabularyTask(sources, table.name, directory) for table in hot_set.tables),
    ]
    sizes = [ROWS_PER_FILE * _VALUES_PER_ROW] * len(leaf_tasks)
    sizes += [table.rows for table in hot_set.tables]
    largest_first = sorted(range(len(tasks)), key=lambda number: -sizes[number])
    written = executor.run(
        "partition",
        _write_file,
        [tasks[number] for number in largest_first],
        task_log=directory,
        rows=lambda file: file.rows if file.path.startswith("split=") else 0,
        needs=ROWS_PER_FILE * count_row_bytes(Staging.read(sources.staging).schema),
    )
    by_number = dict(zip(largest_first, written, strict=True))
    files = [by_number[number] for number in range(len(tasks))]
    return files[: len(leaf_tasks)], files[len(leaf_tasks) :]


def _write_file(task: GatherTask | _VocabularyTask) -> DataFile:
    """Write a leaf's file or a vocabulary."""
    return gather_file(task) if isinstance(task, GatherTask) else _write_vocabulary(task)


def _write_vocabulary(task: _VocabularyTask) -> DataFile:
    """Write the vocabulary of one table."""
    schema = Staging.read(task.sources.staging).schema
    frequencies = Frequencies.read(task.sources.frequencies)
    accesses = frequencies.iter_accesses(task.table, "value", "accesses")
    ids = HotSet.read(task.sources.hot_set).read_table_ids(task.table)
    frames = build_vocabulary(accesses, ids, schema.tables[task.table][0])
    name = f"vocabulary/{task.table}.parquet"
    with task.directory.write(name) as path:
        parquet.write_vocabulary((frame.to_arrow() for frame in frames), path)
        return describe_file(path, name, ids.size - 1)


def _copy_file(source: Folder, name: str, rows: int, target: Folder) -> DataFile:
    """Copy the file `name`, which has `rows` rows, into the data set."""
    with source.read(name) as path, target.write(name) as copy:
        shutil.copyfile(path, copy)
        return describe_file(copy, name, rows)


def _describe_preparation(
    staging: Staging, frequencies: Frequencies, hot_set: HotSet, parameters: PartitionParameters
) -> dict[str, Any]:
    """Return how the data set came about, without times, hosts or absolute paths."""
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
        "known_hot_share": {
            split: hot_set.known_hot_share(split) for split in hot_set.known_inputs
        },
        "shares": [asdict(shares) for shares in hot_set.shares],
        "sample_check": asdict(hot_set.sample) if hot_set.sample else None,
        "tables": [asdict(table) for table in frequencies.tables],
        "parameters": {
            "profile": frequencies.parameters,
            "calibrate": hot_set.parameters,
            "partition": parameters.model_dump(mode="json"),
        },
    }
