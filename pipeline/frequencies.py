"""Access frequencies: how often each embedding row is read in training, exactly.

Profiling also gives every row its access rank, hottest first, and writes for each staged part which
rank each of its codes means, so that no later stage looks at raw values again.
"""

from __future__ import annotations

import itertools
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from pipeline import artefact
from pipeline.arrays import arrow, narrow, numbers_of
from pipeline.cluster import Cluster
from pipeline.counting import RANGE, Entries, count
from pipeline.errors import ParameterError
from pipeline.manifest import OOV_ID, SPLITS
from pipeline.parameters import ProfileParameters
from pipeline.parts import Numbers
from pipeline.shuffle import sampled
from pipeline.splits import NOT_GIVEN, TRAIN, SplitCodes, split_codes
from pipeline.staging import Staging
from pipeline.storage import Folder, Place
from pipeline.values import TIME
from pipeline.workspace import mapped

FILE_NAME = "frequencies.json"
#: The split of each row.
SPLITS_FILE = "splits.npy"
#: The kind of a count, beside the splits: accesses of train rows in the sample.
_SAMPLED = len(SPLITS)
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
        with self.directory.read(f"accesses/{table}.parquet") as path:
            return pl.read_parquet(path, columns=list(columns) or None)

    def ranks(self, column: str, part: int) -> npt.NDArray[np.uint32]:
        """The access rank that each code of a staged part's column means; 0 out of vocabulary."""
        with self.directory.read(f"ranks/{column}.arrow") as path, pa.memory_map(str(path)) as file:
            batch = pa.ipc.open_file(file).get_batch(part)
        ranks: npt.NDArray[np.uint32] = numbers_of(batch.column(0))
        return ranks

    def splits(self, first: int, count: int) -> SplitCodes:
        """The split of the rows [first, first + count), as TRAIN, VALID or TEST."""
        with self.directory.read(SPLITS_FILE) as path:
            codes: SplitCodes = mapped(path)[first : first + count]
        return codes

    @classmethod
    def read(cls, directory: Place) -> Frequencies:
        """The profile in a finished directory; DatasetError where there is none."""
        return artefact.decoded(cls, Folder.of(directory), FILE_NAME)


@dataclass(frozen=True)
class _Task:
    """One table to count and to code."""

    staging: str
    table: str
    directory: str
    min_count: int
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
    codes = split_codes(_given(staging), _times(staging), parameters.valid, parameters.test)
    with artefact.building(out, made_from) as partial:
        with partial.write(SPLITS_FILE) as path, path.open("wb") as file:
            np.save(file, codes, allow_pickle=False)
        entries = {table: staging.entries(table) for table in tables}
        tasks = [
            _Task(
                str(staging.directory),
                table,
                str(partial),
                parameters.fewest(table),
                parameters.sample,
                parameters.seed,
            )
            for table in sorted(tables, key=lambda table: -entries[table])
        ]
        most = max(entries.values())
        needs = _BYTES_AN_ENTRY * most + _BYTES_IN_A_RANGE * min(most, 2 * RANGE)
        done = cluster.run("profile", _profile_table, tasks, journal=partial, needs=needs)
        found = {table.name: table for table in done}
        counts = np.bincount(codes, minlength=len(SPLITS))
        document = {
            "tables": [asdict(found[table]) for table in tables],
            "split_rows": dict(zip(SPLITS, counts.tolist(), strict=True)),
            "sample": parameters.sample,
            "seed": parameters.seed,
            "parameters": parameters.model_dump(mode="json"),
            "staging": artefact.fingerprint_of(staging.directory),
        }
        artefact.write_document(partial, FILE_NAME, document)
    return Frequencies.read(out)


def _given(staging: Staging) -> SplitCodes:
    """The split that the user stated for each row's file, or NOT_GIVEN."""
    codes = [SPLITS.index(part.split) if part.split else NOT_GIVEN for part in staging.parts]
    return np.repeat(np.array(codes, dtype=np.int8), [part.rows for part in staging.parts])


def _times(staging: Staging) -> npt.NDArray[np.int64] | None:
    if staging.schema.time is None:
        return None
    parts = (staging.part(part) for part in range(len(staging.parts)))
    return np.concatenate([numbers_of(part.columns([TIME])[TIME].chunk(0)) for part in parts])


def _profile_table(task: _Task) -> TableFrequencies:
    """Count one table's accesses over all of its columns, and write what their codes mean."""
    staging = Staging.read(task.staging)
    directory = Folder.of(task.directory)
    columns = [column.name for column in staging.schema.tables[task.table]]
    entries = {column: _entries(staging, column, directory, task) for column in columns}
    every = [entry for parts in entries.values() for entry in parts]
    counted = count(every, TRAIN, _SAMPLED if task.sample < 1 else None)
    with directory.write(f"accesses/{task.table}.parquet") as path:
        accesses = counted.write(path, task.min_count)
    ranks = counted.of_entries(task.min_count)
    found = {}
    for column, parts in entries.items():
        mine = list(itertools.islice(ranks, len(parts)))
        with directory.write(f"ranks/{column}.arrow") as path:
            _write_ranks(path, mine)
        found[column] = _out_of_vocabulary(parts, mine)
    kept = counted.kept(task.min_count)
    return TableFrequencies(
        name=task.table,
        rows=kept + 1,
        accesses=counted.accesses,
        min_count=task.min_count,
        folded_ids=counted.seen - kept,
        folded_accesses=counted.accesses - accesses,
        columns=found,
    )


def _entries(staging: Staging, column: str, directory: Folder, task: _Task) -> list[Entries]:
    """The entries of each part."""
    with directory.read(SPLITS_FILE) as path:
        splits = mapped(path)
    found = []
    for index, (first, part) in enumerate(zip(staging.offsets(), staging.parts, strict=True)):
        staged = staging.part(index)
        values = staged.values(column)
        groups = np.asarray(splits[first : first + part.rows])
        counts: dict[int, Numbers] = {}
        if task.sample >= 1 and groups.min() == groups.max():
            counts[int(groups[0])] = staged.accesses(column)
        else:
            accesses = staged.codes(column)
            in_sample = sampled(first, part.rows, task.sample, task.seed) & (groups == TRAIN)
            chosen = {code: groups == code for code in range(len(SPLITS))} | {_SAMPLED: in_sample}
            for kind, rows in chosen.items():
                kept = rows if accesses.lengths is None else np.repeat(rows, accesses.lengths)
                counts[kind] = narrow(np.bincount(accesses.codes[kept], minlength=len(values)))
        found.append(Entries(values, counts))
    return found


def _write_ranks(path: Path, ranks: list[npt.NDArray[np.uint32]]) -> None:
    """Write a column's ranks, a record batch for each part."""
    schema = pa.schema([("rank", pa.uint32())])
    with pa.ipc.new_file(str(path), schema) as writer:
        for part in ranks:
            writer.write_batch(pa.record_batch([arrow(part)], schema=schema))


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
