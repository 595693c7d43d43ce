"""Access frequencies: how often each embedding row is read in training, exactly.

Profiling also gives every row its access rank, hottest first, and writes the inputs as these ranks,
so that no later stage joins on raw values again.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline import artefact
from pipeline.cluster import Cluster
from pipeline.errors import ParameterError
from pipeline.manifest import OOV_ID, SPLITS
from pipeline.parameters import ProfileParameters
from pipeline.schema import SparseColumn
from pipeline.shuffle import sampled
from pipeline.splits import NOT_GIVEN, TRAIN, Codes, split_codes
from pipeline.staging import Staging
from pipeline.values import TIME

FILE_NAME = "frequencies.json"
#: In `inputs/`, the split of each row; no schema can name a column so.
SPLIT = "@split"


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

    def inputs(self, column: str) -> pq.ParquetFile:
        """A column of all rows as access ranks (uint32, or lists); row group i is staged part i."""
        return pq.ParquetFile(self.directory / "inputs" / f"{column}.parquet")

    def splits(self) -> pq.ParquetFile:
        """The split code of all rows (int8); row group i is staged part i."""
        return self.inputs(SPLIT)

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
        (partial / "inputs").mkdir()
        _write_column(partial, SPLIT, pa.array(codes), staging)
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


def _given(staging: Staging) -> Codes:
    """The split that the user stated for each row's file, or NOT_GIVEN."""
    codes = [SPLITS.index(part.split) if part.split else NOT_GIVEN for part in staging.parts]
    return np.repeat(np.array(codes, dtype=np.int8), [part.rows for part in staging.parts])


def _times(staging: Staging) -> npt.NDArray[np.int64] | None:
    if staging.schema.time is None:
        return None
    return _column(staging, TIME).to_numpy()


def _column(staging: Staging, name: str) -> pl.Series:
    """One staged column over all rows."""
    return pl.scan_parquet(staging.paths()).select(name).collect().to_series()


def _profile_table(task: _Task) -> TableFrequencies:
    """Count one table's accesses over all of its columns, and write these as access ranks."""
    staging = Staging.read(Path(task.staging))
    directory = Path(task.directory)
    columns = staging.schema.tables[task.table]
    codes = pq.read_table(directory / "inputs" / f"{SPLIT}.parquet")[SPLIT].to_numpy()
    weight = _weights(codes, task)
    raw = {column.name: _column(staging, column.name) for column in columns}
    counts = access_counts([_accesses(raw[column.name], weight) for column in columns])
    kept = counts.filter(pl.col("accesses") >= task.min_count)
    kept.write_parquet(directory / "accesses" / f"{task.table}.parquet", compression="zstd")
    found = {}
    for column in columns:
        ids = _coded(raw.pop(column.name), kept["value"], column)
        found[column.name] = _out_of_vocabulary(ids, codes)
        _write_column(directory, column.name, ids, staging)
    return TableFrequencies(
        name=task.table,
        rows=kept.height + 1,
        accesses=int(counts["accesses"].sum()),
        min_count=task.min_count,
        folded_ids=counts.height - kept.height,
        folded_accesses=int(counts["accesses"].sum()) - int(kept["accesses"].sum()),
        columns=found,
    )


def _weights(codes: Codes, task: _Task) -> npt.NDArray[np.int8]:
    """0 for a row that is not counted, 1 for a train row, 2 for one that is in the sample too."""
    in_sample = sampled(0, codes.size, task.sample, task.seed)
    return np.where(codes == TRAIN, 1 + in_sample, 0).astype(np.int8)


def _accesses(values: pl.Series, weight: npt.NDArray[np.int8]) -> pl.DataFrame:
    """`value` and `weight` of each access by a train row; a list makes one for each value."""
    frame = pl.DataFrame({"value": values, "weight": weight}).filter(pl.col("weight") > 0)
    if isinstance(values.dtype, pl.List):
        frame = frame.filter(pl.col("value").list.len() > 0).explode("value")
    return frame


def access_counts(accesses: list[pl.DataFrame]) -> pl.DataFrame:
    """`value`, `accesses` and `sampled` of each value, most accesses first, then by value."""
    counts = [
        frame.group_by("value").agg(
            accesses=pl.len().cast(pl.Int64()),
            sampled=(pl.col("weight") == 2).sum().cast(pl.Int64()),
        )
        for frame in accesses
    ]
    total = pl.concat(counts)
    if len(counts) > 1:
        total = total.group_by("value").sum()
    return total.sort("accesses", "value", descending=[True, False], nulls_last=False)


def _coded(values: pl.Series, vocabulary: pl.Series, column: SparseColumn) -> pa.Array:
    """`values` (or the values in its lists) as access ranks, 0 where out of vocabulary."""
    if column.multi is None:
        return _ranks(values, vocabulary).to_arrow()
    lengths = values.list.len().to_numpy()
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    flat = values.filter(values.list.len() > 0).explode()
    return pa.LargeListArray.from_arrays(offsets, _ranks(flat, vocabulary).to_arrow())


def _ranks(values: pl.Series, vocabulary: pl.Series) -> pl.Series:
    ranks = pl.DataFrame(
        {"value": vocabulary, "rank": np.arange(1, len(vocabulary) + 1, dtype=np.uint32)}
    )
    joined = pl.DataFrame({"value": values}).join(
        ranks, on="value", how="left", nulls_equal=True, maintain_order="left"
    )
    return joined["rank"].fill_null(OOV_ID)


def _out_of_vocabulary(ids: pa.Array, codes: Codes) -> dict[str, OutOfVocabulary]:
    """Per split, the accesses and those to id 0."""
    if pa.types.is_large_list(ids.type):
        lengths = np.diff(ids.offsets.to_numpy())
        codes, ids = np.repeat(codes, lengths), ids.values
    accesses = np.bincount(codes, minlength=len(SPLITS))
    missed = np.bincount(codes[ids.to_numpy() == OOV_ID], minlength=len(SPLITS))
    return {
        split: OutOfVocabulary(int(accesses[i]), int(missed[i])) for i, split in enumerate(SPLITS)
    }


def _write_column(directory: Path, name: str, values: pa.Array, staging: Staging) -> None:
    """Write one column of `inputs/`, a row group for each staged part."""
    table = pa.table({name: values})
    path = directory / "inputs" / f"{name}.parquet"
    with pq.ParquetWriter(path, table.schema, compression="lz4", write_statistics=False) as writer:
        for offset, part in zip(staging.offsets(), staging.parts, strict=True):
            writer.write_table(table.slice(offset, part.rows), row_group_size=part.rows)
