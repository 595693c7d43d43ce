"""Access frequencies: how often each embedding row is read in training, exactly.

Profiling also gives every row its access rank, hottest first, and writes for each staged part which
rank each of its codes means, so that no later stage looks at raw values again.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from pipeline import artefact
from pipeline.cluster import Cluster
from pipeline.errors import ParameterError
from pipeline.manifest import OOV_ID, SPLITS
from pipeline.parameters import ProfileParameters
from pipeline.shuffle import sampled
from pipeline.splits import NOT_GIVEN, TRAIN, SplitCodes, split_codes
from pipeline.staging import Staging
from pipeline.storage import Folder, Place
from pipeline.values import TIME

FILE_NAME = "frequencies.json"
#: The split of each row.
SPLITS_FILE = "splits.npy"


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
    """A finished profile; `staging` is the fingerprint of what it was made from."""

    directory: Folder
    tables: tuple[TableFrequencies, ...]
    split_rows: dict[str, int]
    sample: float
    seed: int
    staging: str

    def accesses(self, table: str) -> pl.DataFrame:
        """`value`, `accesses` and `sampled` of a table's rows by access rank, from rank 1.

        Ranks are by accesses, most first; ties by value, missing first. `sampled` counts accesses
        from the sample alone, and equals `accesses` where there is none.
        """
        with self.directory.read(f"accesses/{table}.parquet") as path:
            return pl.read_parquet(path)

    def ranks(self, column: str, part: int) -> npt.NDArray[np.uint32]:
        """The access rank that each code of a staged part's column means; 0 out of vocabulary."""
        with self.directory.read(f"ranks/{column}.arrow") as path, pa.memory_map(str(path)) as file:
            batch = pa.ipc.open_file(file).get_batch(part)
        ranks: npt.NDArray[np.uint32] = batch.column(0).to_numpy()
        return ranks

    def splits(self, first: int, count: int) -> SplitCodes:
        """The split of the rows [first, first + count), as TRAIN, VALID or TEST."""
        with self.directory.read(SPLITS_FILE) as path:
            codes: SplitCodes = np.load(path, mmap_mode="r")[first : first + count]
        return codes

    @classmethod
    def read(cls, directory: Place) -> Frequencies:
        """The profile in a finished directory; DatasetError where there is none."""
        folder = Folder.of(directory)
        document = artefact.document_of(folder, FILE_NAME)
        tables = tuple(_table(**table) for table in document["tables"])
        rest = {key: document[key] for key in ("split_rows", "sample", "seed", "staging")}
        return cls(folder.absolute(), tables, **rest)


def _table(columns: dict[str, dict[str, dict[str, int]]], **rest: Any) -> TableFrequencies:
    found = {
        column: {split: OutOfVocabulary(**counts) for split, counts in splits.items()}
        for column, splits in columns.items()
    }
    return TableFrequencies(columns=found, **rest)


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
        tasks = [
            _Task(
                str(staging.directory),
                table,
                str(partial),
                parameters.fewest(table),
                parameters.sample,
                parameters.seed,
            )
            for table in tables
        ]
        found = cluster.run("profile", _profile_table, tasks, journal=partial)
        counts = np.bincount(codes, minlength=len(SPLITS))
        document = {
            "tables": [asdict(table) for table in found],
            "split_rows": dict(zip(SPLITS, counts.tolist(), strict=True)),
            "sample": parameters.sample,
            "seed": parameters.seed,
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
    times = [
        staging.part(part).columns([TIME])[TIME].to_numpy() for part in range(len(staging.parts))
    ]
    return np.concatenate(times)


def _profile_table(task: _Task) -> TableFrequencies:
    """Count one table's accesses over all of its columns, and write what their codes mean."""
    staging = Staging.read(task.staging)
    directory = Folder.of(task.directory)
    columns = [column.name for column in staging.schema.tables[task.table]]
    counted = {column: _counted_column(staging, column, directory, task) for column in columns}
    counts = access_counts([counts for parts in counted.values() for counts in parts])
    kept = counts.filter(pl.col("accesses") >= task.min_count)
    with directory.write(f"accesses/{task.table}.parquet") as path:
        kept.write_parquet(path, compression="zstd")
    found = {}
    for column, parts in counted.items():
        ranks = _ranks(parts, kept["value"])
        with directory.write(f"ranks/{column}.arrow") as path:
            _write_ranks(path, ranks)
        found[column] = _out_of_vocabulary(parts, ranks)
    return TableFrequencies(
        name=task.table,
        rows=kept.height + 1,
        accesses=int(counts["accesses"].sum()),
        min_count=task.min_count,
        folded_ids=counts.height - kept.height,
        folded_accesses=int(counts["accesses"].sum()) - int(kept["accesses"].sum()),
        columns=found,
    )


def _counted_column(
    staging: Staging, column: str, directory: Folder, task: _Task
) -> list[pl.DataFrame]:
    """For each part, its dictionary: `value`, accesses by split, and `sampled` ones of train."""
    with directory.read(SPLITS_FILE) as path:
        splits = np.load(path, mmap_mode="r")
    parts = []
    for index, (first, part) in enumerate(zip(staging.offsets(), staging.parts, strict=True)):
        staged = staging.part(index)
        values, codes = staged.values(column), staged.codes(column)
        groups = np.asarray(splits[first : first + part.rows], dtype=np.int64)
        in_sample = sampled(first, part.rows, task.sample, task.seed) & (groups == TRAIN)
        if codes.lengths is not None:
            groups = np.repeat(groups, codes.lengths)
            in_sample = np.repeat(in_sample, codes.lengths)
        size = len(values)
        counts = np.bincount(codes.codes + groups * size, minlength=len(SPLITS) * size)
        columns = dict(zip(SPLITS, counts.reshape(len(SPLITS), size), strict=True))
        columns["sampled"] = np.bincount(codes.codes[in_sample], minlength=size)
        parts.append(pl.DataFrame({"value": values, **columns}))
    return parts


def access_counts(dictionaries: list[pl.DataFrame]) -> pl.DataFrame:
    """`value`, `accesses` and `sampled` of each train value, most accesses first, then by value.

    `dictionaries` have `value`, `train` and `sampled`, a value once in each.
    """
    counts = pl.concat(
        frame.filter(pl.col(SPLITS[TRAIN]) > 0).select(
            "value", pl.col(SPLITS[TRAIN]).alias("accesses"), "sampled"
        )
        for frame in dictionaries
    )
    total = counts.group_by("value").sum()
    return total.sort("accesses", "value", descending=[True, False], nulls_last=False)


def _ranks(parts: list[pl.DataFrame], vocabulary: pl.Series) -> list[npt.NDArray[np.uint32]]:
    """The access rank of each value of each dictionary, 0 where it is not in the vocabulary."""
    known = pl.DataFrame(
        {"value": vocabulary, "rank": np.arange(1, len(vocabulary) + 1, dtype=np.uint32)}
    )
    joined = (
        pl.concat(part.select("value") for part in parts)
        .join(known, on="value", how="left", nulls_equal=True, maintain_order="left")["rank"]
        .fill_null(OOV_ID)
        .to_numpy()
    )
    stops = np.cumsum([part.height for part in parts])
    return np.split(joined, stops[:-1])


def _write_ranks(path: Path, ranks: list[npt.NDArray[np.uint32]]) -> None:
    """Write a column's ranks, a record batch for each part."""
    schema = pa.schema([("rank", pa.uint32())])
    with pa.ipc.new_file(str(path), schema) as writer:
        for part in ranks:
            writer.write_batch(pa.record_batch([pa.array(part)], schema=schema))


def _out_of_vocabulary(
    parts: list[pl.DataFrame], ranks: list[npt.NDArray[np.uint32]]
) -> dict[str, OutOfVocabulary]:
    """Per split, the accesses and those to id 0."""
    missed = [part.filter(ids == OOV_ID) for part, ids in zip(parts, ranks, strict=True)]
    return {
        split: OutOfVocabulary(
            sum(int(part[split].sum()) for part in parts),
            sum(int(part[split].sum()) for part in missed),
        )
        for split in SPLITS
    }
