"""Access frequencies: how often each embedding row is read in training, exactly.

Profiling also gives every row its access rank, hottest first, and writes for each staged part which
rank each of its codes means, so that no later stage looks at raw values again.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow.parquet as pq

from pipeline import artefact
from pipeline.arrays import narrow
from pipeline.cluster import Cluster
from pipeline.counting import RANGE, Entries, count
from pipeline.errors import DatasetError, ParameterError
from pipeline.manifest import OOV_ID, SPLITS
from pipeline.parameters import ProfileParameters
from pipeline.runs import Levels
from pipeline.shuffle import sampled
from pipeline.splits import TRAIN, Cuts, SplitCodes, cut
from pipeline.staging import Staging
from pipeline.storage import Folder, Place
from pipeline.timeline import Counts, Timeline, Window

FILE_NAME = "frequencies.json"
#: The kind of a count, beside the splits: accesses of train rows in the sample.
_SAMPLED = len(SPLITS)
_NONE = np.empty(0, dtype=np.int64)
#: What counting takes for each entry of the parts' dictionaries, and more for those of one range.
_BYTES_AN_ENTRY, _BYTES_IN_A_RANGE = 30, 100


@dataclass(frozen=True)
class OutOfVocabulary:
    """Accesses of one column in one split, and how many of them are out of vocabulary."""

    accesses: int
    out_of_vocabulary: int


@dataclass(frozen=True)
class TableFrequencies:
    """What profiling found for one table; `rows` counts the out-of-vocabulary row, id 0.

    `folded_ids` were seen fewer than `min_count` times in train and went to id 0, with their
    `folded_accesses`. `columns` gives, for each column and split, what is out of vocabulary.
    """

    name: str
    rows: int
    accesses: int
    min_count: int
    folded_ids: int
    folded_accesses: int
    columns: dict[str, dict[str, OutOfVocabulary]]


@dataclass(frozen=True)
class Frequencies:
    """A finished profile; `parameters` and `staging`, a fingerprint, are what it was made from."""

    directory: Folder
    tables: tuple[TableFrequencies, ...]
    split_rows: dict[str, int]
    cuts: Cuts
    sample: float
    seed: int
    parameters: dict[str, Any]
    staging: str

    def accesses(self, table: str, *columns: str) -> pl.DataFrame:
        """`value`, `accesses` and `sampled` of a table's rows by access rank, from rank 1.

        All of them, or the `columns` alone.

        Ranks are by accesses, most first; ties by value, missing first. `sampled` counts accesses
        from the sample alone, and equals `accesses` where there is none.
        """
        return pl.concat(self.batches(table, *columns))

    def batches(self, table: str, *columns: str) -> Iterator[pl.DataFrame]:
        """The same some rows at a time, GROUP of them but in the last frame; at least one frame."""
        with self.directory.read(f"accesses/{table}.parquet") as path, pq.ParquetFile(path) as file:
            for group in range(file.num_row_groups) or [None]:
                groups = [] if group is None else [group]
                frame = pl.from_arrow(file.read_row_groups(groups, columns=list(columns) or None))
                assert isinstance(frame, pl.DataFrame)
                yield frame

    def levels(self, table: str, counts: str) -> Levels:
        """The column `counts` of `accesses`, without holding it: row i has access rank i + 1."""
        begins, numbers, rows = [], [], 0
        for frame in self.batches(table, counts):
            some = Levels.of(frame[counts].to_numpy(), _NONE)
            begins.append(rows + some.begins)
            numbers.append(some.numbers)
            rows += some.rows
        return Levels(np.concatenate(begins), np.concatenate(numbers), rows)

    def ranks(self, column: str, entries: slice) -> npt.NDArray[np.uint32]:
        """The access rank that each of a column's dictionary entries means; 0 out of vocabulary.

        Entries are those of all staged parts, one part after the other: `Staging.span` gives one's.
        """
        name, count = f"ranks/{column}.uint32", entries.stop - entries.start
        with self.directory.read(name) as path:
            found = np.fromfile(path, np.dtype("<u4"), count, offset=4 * entries.start)
        if found.size != count:
            raise DatasetError(f"{self.directory / name} is cut short. Run the stage again.")
        return found

    def splits(self, staging: Staging, part: int) -> SplitCodes:
        """The split of each row of a staged part, as TRAIN, VALID or TEST."""
        return _splits(staging, part, self.cuts)

    @classmethod
    def read(cls, directory: Place) -> Frequencies:
        """The profile in a finished directory; DatasetError where there is none."""
        return artefact.decoded(cls, Folder.of(directory), FILE_NAME)


@dataclass(frozen=True)
class _Task:
    """Tables to count and to code, each with its `min_count`."""

    staging: str
    cuts: Cuts
    tables: tuple[tuple[str, int], ...]
    directory: str
    sample: float
    seed: int


def profile(
    staging: Staging,
    out: Place,
    cluster: Cluster,
    parameters: ProfileParameters,
    *,
    overwrite: bool = False,
) -> Frequencies:
    """Count the accesses of the train rows, table by table, into the directory `out`.

    With a sample below 1, that share of the train rows is counted apart, for calibration as in the
    FAE paper; vocabulary and `accesses` stay exact.
    """
    out = Folder.of(out)
    tables = staging.schema.tables
    unknown = sorted(set(parameters.min_count) - set(tables) - {""})
    if unknown:
        raise ParameterError(
            f"--min-count names {', '.join(unknown)}; the tables are {', '.join(tables)}."
        )
    made_from = parameters.fingerprint(artefact.fingerprint_of(staging.directory))
    if artefact.is_made(out, made_from, overwrite):
        return Frequencies.read(out)
    with artefact.building(out, made_from) as partial:
        cuts, split_rows = cut(
            _timeline(staging, cluster, partial),
            _given(staging),
            parameters.valid,
            parameters.test,
            timed=staging.schema.time is not None,
        )
        entries = {table: staging.entries(table) for table in tables}
        tasks = [
            _Task(
                str(staging.directory),
                cuts,
                tuple((table, parameters.fewest(table)) for table in some),
                str(partial),
                parameters.sample,
                parameters.seed,
            )
            for some in _together(entries)
        ]
        most = max(entries.values())
        needs = _BYTES_AN_ENTRY * most + _BYTES_IN_A_RANGE * min(most, 2 * RANGE)
        done = cluster.run("profile", _profile_tables, tasks, journal=partial, needs=needs)
        found = {table.name: table for some in done for table in some}
        document = {
            "tables": [asdict(found[table]) for table in tables],
            "split_rows": split_rows,
            "cuts": asdict(cuts),
            "sample": parameters.sample,
            "seed": parameters.seed,
            "parameters": parameters.model_dump(mode="json"),
            "staging": artefact.fingerprint_of(staging.directory),
        }
        artefact.write_document(partial, FILE_NAME, document)
    return Frequencies.read(out)


def _given(staging: Staging) -> dict[str, int]:
    """The rows of the logs for which the user stated a split, by that split."""
    rows: Counter[str] = Counter()
    for part in staging.parts:
        if part.split is not None:
            rows[part.split] += part.rows
    return rows


@dataclass(frozen=True)
class _Window:
    """One staged part's rows to count in a window of time."""

    staging: str
    part: int
    window: Window


def _timeline(staging: Staging, cluster: Cluster, scratch: Folder) -> Timeline:
    """The timeline of the staged rows whose logs state no split; the journal is in `scratch`."""
    parts = [number for number, part in enumerate(staging.parts) if part.split is None]

    def measure(window: Window) -> Sequence[Counts]:
        if staging.schema.time is None:
            return [{0: staging.parts[part].rows} for part in parts]
        tasks = [_Window(str(staging.directory), part, window) for part in parts]
        return cluster.run("splits", _counted, tasks, journal=scratch)

    def rows_at(place: int, time: int) -> npt.NDArray[np.integer[Any]]:
        part = parts[place]
        return staging.first_row(part) + np.flatnonzero(staging.times(part) == time)

    return Timeline(measure, rows_at)


def _counted(task: _Window) -> Counts:
    return task.window.counts(Staging.read(task.staging).times(task.part))


def _splits(staging: Staging, part: int, cuts: Cuts) -> SplitCodes:
    return cuts.codes(staging.parts[part].split, staging.first_row(part), staging.times(part))


def _together(entries: Mapping[str, int]) -> list[list[str]]:
    """Tables in groups, the largest first: opening parts for each small one costs more than it.

    A group has at most a quarter of the entries of the largest table, unless it is one table.
    """
    groups: list[list[str]] = []
    room = 0
    for table in sorted(entries, key=lambda table: -entries[table]):
        if not groups or entries[table] > room:
            groups.append([])
            room = max(entries.values()) // 4
        groups[-1].append(table)
        room -= entries[table]
    return groups


def _profile_tables(task: _Task) -> list[TableFrequencies]:
    """Count the accesses of tables over all of their columns, and write what their codes mean."""
    staging = Staging.read(task.staging)
    directory = Folder.of(task.directory)
    columns_of = {
        table: [column.name for column in staging.schema.tables[table]] for table, _ in task.tables
    }
    entries = _entries(staging, list(itertools.chain(*columns_of.values())), task)
    return [
        _profile_table(
            table,
            min_count,
            {name: entries.pop(name) for name in columns_of[table]},
            directory,
            task,
        )
        for table, min_count in task.tables
    ]


def _profile_table(
    table: str, min_count: int, entries: dict[str, list[Entries]], directory: Folder, task: _Task
) -> TableFrequencies:
    """Count one table, given the entries of each part in each of its columns."""
    every = [entry for parts in entries.values() for entry in parts]
    counted = count(every, TRAIN, _SAMPLED if task.sample < 1 else None)
    with directory.write(f"accesses/{table}.parquet") as path:
        accesses = counted.write(path, min_count)
    ranks = counted.of_entries(min_count)
    found = {}
    for column, parts in entries.items():
        mine = list(itertools.islice(ranks, len(parts)))
        with directory.write(f"ranks/{column}.uint32") as path, path.open("wb") as file:
            for part in mine:
                file.write(part.astype("<u4", copy=False).data)
        found[column] = _out_of_vocabulary(parts, mine)
    kept = counted.kept(min_count)
    return TableFrequencies(
        name=table,
        rows=kept + 1,
        accesses=counted.accesses,
        min_count=min_count,
        folded_ids=counted.seen - kept,
        folded_accesses=counted.accesses - accesses,
        columns=found,
    )


def _entries(staging: Staging, columns: list[str], task: _Task) -> dict[str, list[Entries]]:
    """The entries of each part in each column."""
    found: dict[str, list[Entries]] = {column: [] for column in columns}
    for index, part in enumerate(staging.parts):
        staged = staging.part(index)
        groups = _splits(staging, index, task.cuts)
        if task.sample >= 1 and groups.min() == groups.max():
            for column in columns:
                counts = {int(groups[0]): staged.accesses(column)}
                found[column].append(Entries(staged.values(column), counts))
            continue
        drawn = sampled(staging.first_row(index), part.rows, task.sample, task.seed)
        in_sample = drawn & (groups == TRAIN)
        chosen = {code: groups == code for code in range(len(SPLITS))} | {_SAMPLED: in_sample}
        for column in columns:
            values, accesses = staged.values(column), staged.codes(column)
            counts = {}
            for kind, rows in chosen.items():
                kept = rows if accesses.lengths is None else np.repeat(rows, accesses.lengths)
                counts[kind] = narrow(np.bincount(accesses.codes[kept], minlength=len(values)))
            found[column].append(Entries(values, counts))
    return found


def _out_of_vocabulary(
    parts: list[Entries], ranks: list[npt.NDArray[np.uint32]]
) -> dict[str, OutOfVocabulary]:
    """Per split, the accesses and those to id 0."""
    found = {split: OutOfVocabulary(0, 0) for split in SPLITS}
    for part, rank in zip(parts, ranks, strict=True):
        for code, split in enumerate(SPLITS):
            if code in part.counts:
                counts, before = part.counts[code], found[split]
                found[split] = OutOfVocabulary(
                    before.accesses + int(counts.sum()),
                    before.out_of_vocabulary + int(counts[rank == OOV_ID].sum()),
                )
    return found
