"""The staging: the logs' rows as typed columns, which `ingest` writes and later stages read.

It has one part per block, in the order of the lines. A row's number over all parts is its identity
in every later stage: it does not depend on how the logs were cut into blocks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import accumulate

import numpy as np
import pyarrow as pa

from fae.arrays.arrow import to_numpy
from fae.arrays.row_keys import generate_row_keys
from fae.commit import outputs
from fae.ingestion.cast.own_functions import read_sources
from fae.ingestion.cast.rows import ORDER_BITS, SPLIT_COLUMN
from fae.ingestion.part import StagedPart, Times
from fae.logs.files import Log
from fae.logs.schema import Schema
from fae.storage.folder import Folder, FolderLike

_FILE_NAME = "staging.json"
#: The seed of the order by which rows are split at random, unlike that of any shuffle.
_SPLIT_SEED = 0x53504C4954
#: Beside the staged parts: the URL of the directory that holds all the logs.
_ROOT_FILE_NAME = "root"


@dataclass(frozen=True)
class Part:
    """One staged part: its path, its rows, and the split that the user named its log for, if any.

    `values` is the number of distinct values in each of the schema's sparse columns.
    """

    path: str
    rows: int
    split: str | None
    values: tuple[int, ...]


@dataclass(frozen=True)
class StagedLog:
    """What became of one log: `lines` = `rows` + `rejects`; `split` is the one it was named for."""

    name: str
    bytes: int
    xxh3: str
    lines: int
    rows: int
    rejects: int
    split: str | None


@dataclass(frozen=True)
class Staging:
    """A finished staging directory."""

    directory: Folder
    schema: Schema
    parts: tuple[Part, ...]
    logs: tuple[StagedLog, ...]
    reasons: dict[str, int]

    @property
    def rows(self) -> int:
        """Rows over all parts."""
        return sum(part.rows for part in self.parts)

    def first_row(self, part: int) -> int:
        """Return the number of a part's first row; for the part after the last, of all rows."""
        return self._first_rows[part]

    @cached_property
    def _first_rows(self) -> list[int]:
        return [0, *accumulate(part.rows for part in self.parts)]

    def read_order(self, part: int) -> Times:
        """Return what rows are ordered by before some are held out, for each row of a part.

        It is the time in microseconds since 1970, or a hash or number in its place; all are 0 where
        rows are ordered by position alone.
        """
        order, rows = self.schema.split_order, self.parts[part].rows
        if order == "position":
            return np.zeros(rows, dtype=np.int64)
        if order == "random":
            keys = generate_row_keys(self.first_row(part), rows, _SPLIT_SEED)
            return (keys >> np.uint64(64 - ORDER_BITS)).astype(np.int64)
        if order in ("value", "given"):
            given: Times = to_numpy(self._read(part, SPLIT_COLUMN)).astype(np.int64)
            return given
        return self.open_part(part).read_moments()

    def _read(self, part: int, name: str) -> pa.Array:
        """Return a column of a part that is not sparse."""
        return self.open_part(part).read_columns([name])[name].chunk(0)

    def count_values(self, table: str) -> int:
        """Return the number of distinct values of a table's columns, summed over the parts."""
        return self._values_by_table[table]

    @cached_property
    def _values_by_table(self) -> Counter[str]:
        total: Counter[str] = Counter()
        of_parts = np.array([part.values for part in self.parts], dtype=np.int64)
        for column, values in zip(self.schema.sparse, of_parts.sum(axis=0).tolist(), strict=True):
            total[column.table_name] += values
        return total

    def open_part(self, index: int, *, buffered: bool = False) -> StagedPart:
        """Open one part for reading; `buffered` as in StagedPart."""
        return StagedPart(self.directory, self.parts[index].path, buffered=buffered)

    def write(self) -> None:
        """Write `staging.json`, once all that it names is in the directory."""
        document = {
            "schema": self.schema.document(),
            "parts": [vars(part) for part in self.parts],  # asdict copies each number of it
            "logs": [asdict(log) for log in self.logs],
            "reasons": self.reasons,
        }
        outputs.write_document(self.directory, _FILE_NAME, document, long_list="parts")

    @classmethod
    def read(cls, directory: FolderLike) -> Staging:
        """Read the staging in a finished directory; raises DatasetError where there is none."""
        return outputs.read_dataclass(cls, Folder.of(directory), _FILE_NAME)


def fingerprint_logs(
    logs: Sequence[Log | StagedLog], checksums: Sequence[str], schema: Schema
) -> list[str]:
    """Return what decides a staging: the schema, and each log's name, bytes and split, in order.

    The text of the functions that the schema names counts too. Raises SchemaError where one cannot
    be loaded.
    """
    identities = [
        f"{log.name}:{log.bytes}:{checksum}:{log.split}"
        for log, checksum in zip(logs, checksums, strict=True)
    ]
    return [outputs.compute_fingerprint(schema.document()), *read_sources(schema), *identities]


def write_log_root(staging: Folder, root: str) -> None:
    """Keep the URL of the logs' common directory with their staging, to name further logs alike."""
    staging.write_text(_ROOT_FILE_NAME, root + "\n")


def read_log_root(staging: Folder) -> str | None:
    """Return what `write_log_root` wrote, or None where it wrote nothing."""
    return staging.read_text(_ROOT_FILE_NAME).strip() if staging.exists(_ROOT_FILE_NAME) else None
