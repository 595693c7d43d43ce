"""Access frequencies: how often each embedding row is read in training, exactly.

Every row has an access rank, hottest first, and for each staged part it is written which rank each
of its codes means, so that no later stage looks at raw values again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow.parquet as pq

from fae.arrays.run_length import RunLengthArray
from fae.commit import outputs
from fae.format.errors import DatasetError
from fae.ingestion.staging import Staging
from fae.profiling.splits import SplitCodes, SplitPoints, assign_splits
from fae.storage.folder import Folder, FolderLike

FILE_NAME = "frequencies.json"
RANK, OFFSET = np.dtype("<u4"), np.dtype("<i8")


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
    """A finished profile; `parameters` and `staging`, a fingerprint, are what it was made from.

    `ranges` says in how many ranges of values each sparse column's ranks are.
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

    def read_accesses(self, table: str, *columns: str) -> pl.DataFrame:
        """`value`, `accesses` and `sampled` of a table's rows by access rank, from rank 1.

        All of them, or the `columns` alone.

        Ranks are by accesses, most first; ties by value, missing first. `sampled` counts accesses
        from the sample alone, and equals `accesses` where there is none.
        """
        return pl.concat(self.iter_accesses(table, *columns))

    def iter_accesses(self, table: str, *columns: str) -> Iterator[pl.DataFrame]:
        """The same some rows at a time; at least one frame."""
        name = accesses_file(table)
        with self.directory.read(name) as path, pq.ParquetFile(path) as file:
            for group in range(file.num_row_groups) or [None]:
                groups = [] if group is None else [group]
                frame = pl.from_arrow(file.read_row_groups(groups, columns=list(columns) or None))
                assert isinstance(frame, pl.DataFrame)
                yield frame

    def read_run_lengths(self, table: str, counts: str) -> RunLengthArray:
        """The column `counts` of `accesses`, without holding it: row i has access rank i + 1."""
        none = np.empty(0, dtype=np.int64)
        begins, numbers, rows = [], [], 0
        for frame in self.iter_accesses(table, counts):
            some = RunLengthArray.from_numpy(frame[counts].to_numpy(), none)
            begins.append(rows + some.begins)
            numbers.append(some.values)
            rows += some.rows
        return RunLengthArray(np.concatenate(begins), np.concatenate(numbers), rows)

    def read_ranks(self, column: str, part: int) -> npt.NDArray[np.uint32]:
        """The access rank that each entry of a staged part's dictionary means; 0 has none."""
        found = []
        for number in range(self.ranges[column]):
            name = ranks_file(column, number)
            with self.directory.read(name) as path, path.open("rb") as file:
                ranks = _ranks_of(file, part)
            if ranks is None:
                raise DatasetError(f"{self.directory / name} is cut short. Run the stage again.")
            found.append(ranks)
        return found[0] if len(found) == 1 else np.concatenate(found)

    def assign_splits(self, staging: Staging, part: int) -> SplitCodes:
        """The split of each row of a staged part, as TRAIN, VALID or TEST."""
        return assign_splits(staging, part, self.cuts)

    @classmethod
    def read(cls, directory: FolderLike) -> Frequencies:
        """The profile in a finished directory; DatasetError where there is none."""
        return outputs.read_dataclass(cls, Folder.of(directory), FILE_NAME)


def accesses_file(table: str) -> str:
    """The file of a table's values with their accesses, by rank."""
    return f"accesses/{table}.parquet"


def ranks_file(column: str, number: int) -> str:
    """The file of the ranks of a column's entries in one range of values.

    It begins with the offset, in bytes, at which each part's ranks begin, and that of the end.
    """
    return f"ranks/{column}-{number:05d}.uint32"


def _ranks_of(file: IO[bytes], part: int) -> npt.NDArray[np.uint32] | None:
    """One part's ranks in a file of ranks; None where they are not all there."""
    file.seek(part * OFFSET.itemsize)
    begin, end = np.frombuffer(file.read(2 * OFFSET.itemsize), OFFSET).tolist()
    file.seek(begin)
    content = file.read(end - begin)
    return np.frombuffer(content, RANK) if len(content) == end - begin else None
