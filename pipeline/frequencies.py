"""Access frequencies: how often each embedding row is read in training, exactly.

Profiling also gives every row its access rank, hottest first, and writes for each staged part which
rank each of its codes means, so that no later stage looks at raw values again.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numba
import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from pipeline import artefact
from pipeline.cluster import Cluster
from pipeline.errors import ParameterError
from pipeline.manifest import OOV_ID, SPLITS
from pipeline.parameters import ProfileParameters
from pipeline.shuffle import sampled
from pipeline.splits import NOT_GIVEN, TRAIN, SplitCodes, split_codes
from pipeline.staging import Staging
from pipeline.values import TIME

FILE_NAME = "frequencies.json"
#: The split of each row.
SPLITS_FILE = "splits.npy"
#: The kind of a count, beside the splits: accesses of train rows in the sample.
_SAMPLED = len(SPLITS)


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

    directory: Path
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
        return pl.read_parquet(self.directory / "accesses" / f"{table}.parquet")

    def ranks(self, column: str, part: int) -> npt.NDArray[np.uint32]:
        """The access rank that each code of a staged part's column means; 0 out of vocabulary."""
        with pa.memory_map(str(self.directory / "ranks" / f"{column}.arrow")) as source:
            batch = pa.ipc.open_file(source).get_batch(part)
        ranks: npt.NDArray[np.uint32] = batch.column(0).to_numpy()
        return ranks

    def splits(self, first: int, count: int) -> SplitCodes:
        """The split of the rows [first, first + count), as TRAIN, VALID or TEST."""
        codes: SplitCodes = np.load(self.directory / SPLITS_FILE, mmap_mode="r")[
            first : first + count
        ]
        return codes

    @classmethod
    def read(cls, directory: Path) -> Frequencies:
        """The profile in a finished directory; DatasetError where there is none."""
        document = artefact.document_of(directory, FILE_NAME)
        tables = tuple(_table(**table) for table in document["tables"])
        rest = {key: document[key] for key in ("split_rows", "sample", "seed", "staging")}
        return cls(directory, tables, **rest)


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
    out: Path,
    cluster: Cluster,
    parameters: ProfileParameters,
    *,
    overwrite: bool = False,
) -> Frequencies:
    """Count the accesses of the train rows, table by table, into the directory `out`.

    With a sample below 1, that share of the train rows is counted apart, for calibration as in the
    FAE paper; vocabulary and `accesses` stay exact.
    """
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
        (partial / "accesses").mkdir()
        (partial / "ranks").mkdir()
        np.save(partial / SPLITS_FILE, codes, allow_pickle=False)
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
        found = cluster.run("profile", _profile_table, tasks)
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
    staging = Staging.read(Path(task.staging))
    directory = Path(task.directory)
    columns = [column.name for column in staging.schema.tables[task.table]]
    entries = [entry for column in columns for entry in _entries(staging, column, directory, task)]
    counts = np.concatenate([entry.counts for entry in entries], axis=1)
    encoded = pc.dictionary_encode(
        pa.concat_arrays([entry.values for entry in entries]), null_encoding="encode"
    )
    codes, values = encoded.indices.to_numpy(), pl.Series(encoded.dictionary)
    seen = access_counts(values, *_summed(codes, counts[[TRAIN, _SAMPLED]], len(values)))
    kept = seen.filter(pl.col("accesses") >= task.min_count)
    kept.drop("code").write_parquet(
        directory / "accesses" / f"{task.table}.parquet", compression="zstd"
    )
    rank = np.full(len(values), OOV_ID, dtype=np.uint32)
    rank[kept["code"]] = np.arange(1, kept.height + 1)
    ranks = rank[codes]
    missed = np.where(ranks == OOV_ID, counts[: len(SPLITS)], 0)
    found = {}
    begin = 0
    for number, column in enumerate(columns):
        parts = entries[number * len(staging.parts) : (number + 1) * len(staging.parts)]
        stops = begin + np.cumsum([len(entry.values) for entry in parts])
        _write_ranks(directory / "ranks" / f"{column}.arrow", ranks, [begin, *stops.tolist()])
        mine = slice(begin, int(stops[-1]))
        found[column] = {
            split: OutOfVocabulary(int(counts[code, mine].sum()), int(missed[code, mine].sum()))
            for code, split in enumerate(SPLITS)
        }
        begin = mine.stop
    accesses = int(seen["accesses"].sum())
    return TableFrequencies(
        name=task.table,
        rows=kept.height + 1,
        accesses=accesses,
        min_count=task.min_count,
        folded_ids=seen.height - kept.height,
        folded_accesses=accesses - int(kept["accesses"].sum()),
        columns=found,
    )


@dataclass(frozen=True)
class _Entries:
    """A part's dictionary in one column.

    `counts` (splits + 1, values): how often each value stands in each split, and in the sample.
    """

    values: pa.Array
    counts: npt.NDArray[np.int64]


def _entries(staging: Staging, column: str, directory: Path, task: _Task) -> Iterator[_Entries]:
    """The entries of each part."""
    splits = np.load(directory / SPLITS_FILE, mmap_mode="r")
    for index, (first, part) in enumerate(zip(staging.offsets(), staging.parts, strict=True)):
        staged = staging.part(index)
        values = staged.values(column)
        counts = np.zeros((len(SPLITS) + 1, len(values)), dtype=np.int64)
        groups = splits[first : first + part.rows]
        if task.sample >= 1 and groups[0] == groups[-1] and (groups == groups[0]).all():
            counts[groups[0]] = staged.accesses(column)
        else:
            codes = staged.codes(column)
            in_sample = sampled(first, part.rows, task.sample, task.seed) & (groups == TRAIN)
            if codes.lengths is not None:
                groups = np.repeat(groups, codes.lengths)
                in_sample = np.repeat(in_sample, codes.lengths)
            np.add.at(counts, (groups, codes.codes), 1)
            counts[_SAMPLED] = np.bincount(codes.codes[in_sample], minlength=len(values))
        if task.sample >= 1:
            counts[_SAMPLED] = counts[TRAIN]
        yield _Entries(values, counts)


@numba.njit(cache=True, nogil=True)
def _summed(
    codes: npt.NDArray[np.int32], counts: npt.NDArray[np.int64], size: int
) -> npt.NDArray[np.int64]:
    """The counts (kinds, entries) of entries of one code together, shape (kinds, size)."""
    total = np.zeros((counts.shape[0], size), dtype=np.int64)
    for entry in range(codes.size):
        for kind in range(counts.shape[0]):
            total[kind, codes[entry]] += counts[kind, entry]
    return total


def access_counts(
    values: pl.Series, accesses: npt.NDArray[np.int64], sampled: npt.NDArray[np.int64]
) -> pl.DataFrame:
    """`value`, `accesses`, `sampled` and `code` of each value with accesses, by access rank.

    That is most accesses first, then by value, missing first. `code` is the value's position.
    """
    by_value = values.arg_sort(nulls_last=False).to_numpy()
    seen = by_value[accesses[by_value] > 0]
    code = seen[np.argsort(-accesses[seen], kind="stable")]
    counts = {"accesses": accesses[code], "sampled": sampled[code], "code": code}
    return pl.DataFrame({"value": values.gather(code), **counts})


def _write_ranks(path: Path, ranks: npt.NDArray[np.uint32], cuts: list[int]) -> None:
    """Write a column's ranks, a record batch for each part, which `cuts` separate."""
    schema = pa.schema([("rank", pa.uint32())])
    with pa.ipc.new_file(str(path), schema) as writer:
        for start, stop in itertools.pairwise(cuts):
            writer.write_batch(pa.record_batch([pa.array(ranks[start:stop])], schema=schema))
