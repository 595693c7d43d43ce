"""Access frequencies: exactly how often training reads each embedding row.

Every row has an access rank, hottest first. For each staged part, a file says which rank each entry
of its dictionaries has, so that no later stage looks at raw values again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl
import pyarrow.parquet as pq

from fae.arrays.run_length import RunLengthArray
from fae.commit import outputs
from fae.format.errors import DatasetError
from fae.format.manifest import LearntMoments
from fae.ingestion.staging import Staging
from fae.profiling.histogram import Ranks
from fae.profiling.splits import SplitCodes, SplitPoints, assign_splits
from fae.storage.decoding import iter_row_groups
from fae.storage.folder import Folder, FolderLike
from fae.storage.raw_arrays import read_numbers

FILE_NAME = "frequencies.json"
RANK_DTYPE, OFFSET_DTYPE = np.dtype("<u4"), np.dtype("<i8")


@dataclass(frozen=True)
class OutOfVocabulary:
    """Accesses of one column in one split, and how many of them are out of vocabulary."""

    accesses: int
    out_of_vocabulary: int


@dataclass(frozen=True)
class TableFrequencies:
    """One table's counts; `rows` includes the out-of-vocabulary row, id 0.

    `folded_ids` have fewer than `min_count` accesses in train and share id 0, with their
    `folded_accesses`. `columns` says, for each column and split, what is out of vocabulary.
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
    """Finished frequencies, made by `parameters` from `staging`, a fingerprint.

    `ranges` says in how many ranges of values, a file each, a sparse column's ranks are. `moments`
    are those of dense columns that learn them.
    """

    directory: Folder
    tables: tuple[TableFrequencies, ...]
    ranges: dict[str, int]
    split_rows: dict[str, int]
    cuts: SplitPoints
    sample: float
    seed: int
    parameters: dict[str, Any]
    staging: str
    moments: tuple[LearntMoments, ...] = ()

    def read_accesses(self, table: str, *columns: str) -> pl.DataFrame:
        """Return a table's rows by access rank, from rank 1: all columns, or `columns` alone.

        The columns are `value`, `accesses`, and `sampled`: the accesses from the sample alone,
        equal to `accesses` where there is none. Ranks are by accesses, most first; ties are by
        value, null first.
        """
        return pl.concat(self.iter_accesses(table, *columns))

    def iter_accesses(self, table: str, *columns: str) -> Iterator[pl.DataFrame]:
        """Yield what `read_accesses` returns in frames of about a million rows, at least one."""
        name = accesses_file(table)
        with self.directory.read(name) as path, pq.ParquetFile(path) as file:
            declared = next((known.rows for known in self.tables if known.name == table), None)
            if file.metadata.num_rows + 1 != declared:
                raise DatasetError(
                    f"{self.directory / FILE_NAME}: table {table!r} has {declared} rows, but "
                    f"{name} has {file.metadata.num_rows} beside id 0. Run the stage again."
                )
            yield from iter_row_groups(path, list(columns) or None, self.directory / name)

    def read_run_lengths(self, table: str, column: str) -> RunLengthArray:
        """Return a column of counts as run lengths; row i has the access rank i + 1."""
        begins, values, rows = [], [], 0
        for frame in self.iter_accesses(table, column):
            counts = RunLengthArray.from_numpy(frame[column].to_numpy(), np.empty(0, np.int64))
            begins.append(rows + counts.begins)
            values.append(counts.values)
            rows += counts.rows
        return RunLengthArray(np.concatenate(begins), np.concatenate(values), rows)

    def read_ranks(self, column: str, part: int) -> Ranks:
        """Return the access rank of each entry of a staged part's dictionary; 0 has no row.

        Raises DatasetError where a file is cut short.
        """
        ranks = []
        for number in range(self.ranges[column]):
            name = ranks_file(column, number)
            with self.directory.read(name) as path, path.open("rb") as file:
                file.seek(part * OFFSET_DTYPE.itemsize)
                offsets = file.read(2 * OFFSET_DTYPE.itemsize)
                begin, end = np.frombuffer(offsets, OFFSET_DTYPE).tolist()
                file.seek(begin)
                content = file.read(end - begin)
            if len(content) != end - begin:
                raise DatasetError(f"{self.directory / name} is cut short. Run the stage again.")
            ranks.append(np.frombuffer(content, RANK_DTYPE))
        return ranks[0] if len(ranks) == 1 else np.concatenate(ranks)

    def assign_splits(self, staging: Staging, part: int) -> SplitCodes:
        """Return the split of each row of a staged part, as TRAIN, VALID or TEST."""
        return assign_splits(staging, part, self.cuts)

    @classmethod
    def read(cls, directory: FolderLike) -> Frequencies:
        """Read a finished directory; raises DatasetError where it has no frequencies."""
        return outputs.read_dataclass(cls, Folder.of(directory), FILE_NAME)


def accesses_file(table: str) -> str:
    """Return the name of the file of a table's values with their accesses, by rank."""
    return f"accesses/{table}.parquet"


def ranks_file(column: str, number: int) -> str:
    """Return the name of the file of the ranks of a column's entries in one range of values.

    The file begins with the offset in bytes at which each part's ranks begin, and that of the end.
    """
    return f"ranks/{column}-{number:05d}.uint32"


def write_ranks(parts: Iterable[Ranks], count: int, directory: Folder, name: str) -> None:
    """Write a file of ranks: where those of `count` parts begin and end, then the ranks."""
    ends = [(count + 1) * OFFSET_DTYPE.itemsize]
    with directory.write(name) as path, path.open("wb") as file:
        file.seek(ends[0])
        for part in parts:
            ends.append(ends[-1] + file.write(part.astype(RANK_DTYPE, copy=False).data))
        file.seek(0)
        file.write(np.array(ends, dtype=OFFSET_DTYPE).data)


def read_all_ranks(directory: Folder, name: str, parts: int) -> list[Ranks]:
    """Return each part's ranks of a file that `write_ranks` wrote for so many parts."""
    words = read_numbers(directory, name, RANK_DTYPE)
    header = (parts + 1) * OFFSET_DTYPE.itemsize // RANK_DTYPE.itemsize
    ends = words[:header].view(OFFSET_DTYPE) // RANK_DTYPE.itemsize
    return [words[begin:end] for begin, end in pairwise(ends.tolist())]
