"""One staged part: a block's rows as typed columns, categories as codes of the part's dictionaries.

Encoding a block's categories is cheap, as its dictionaries fit in the CPU's caches. Later stages
then look a category up once for each distinct value of a part, and gather.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from fae.arrays.arrow import Int64Array, shrink_dtype, to_arrow, to_numpy, wrap_in_list, write_table
from fae.arrays.buffers import read_into_buffer
from fae.ingestion.cast.times import MICROSECOND_COLUMN, MICROSECONDS_PER_SECOND, TIME_COLUMN
from fae.ingestion.dictionaries import encode_dictionary
from fae.storage.folder import Folder

IntegerArray = npt.NDArray[np.integer[Any]]
#: What follows the name of a part in that of its histories, a part of their columns alone.
HISTORIES = ".histories"
#: Microseconds since 1970, one for each row.
Times = npt.NDArray[np.int64]

#: The ends of the names of a part's two files. The first has the part's rows, with codes in the
#: sparse columns. The second has one row: each sparse column's dictionary, as a list, and beside it
#: how often each of its values occurs in the part.
ROWS_SUFFIX, VALUES_SUFFIX = ".rows.arrow", ".values.arrow"


@dataclass(frozen=True)
class Codes:
    """A part's accesses in one sparse column: positions in the part's dictionary, row after row.

    `lengths` (rows,) is the number of accesses of each row; None where each row makes one.
    """

    codes: npt.NDArray[np.unsignedinteger[Any]]
    lengths: Int64Array | None

    def expand_rows(self, rows: int) -> Int64Array:
        """Return the row of each access, shape (accesses,), in a part of `rows` rows."""
        numbers = np.arange(rows)
        return numbers if self.lengths is None else np.repeat(numbers, self.lengths)


class StagedPart:
    """One staged part, open for reading; its files are read when they are first needed."""

    def __init__(self, folder: Folder, path: str, *, buffered: bool = False) -> None:
        """Open the part at `path` in `folder`.

        Its files are memory-mapped. To read all rows, mapping their pages costs more than reading
        the file: a `buffered` part's rows are read into a buffer of this thread, and stay valid
        until the thread reads its next buffered part.
        """
        self._folder, self._path, self._buffered = folder, path, buffered
        self._tables: dict[str, pa.Table] = {}

    def read_columns(self, names: list[str]) -> pa.Table:
        """Return columns that are neither sparse nor a time: label and dense features."""
        return self._rows.select(names)

    def read_times(self) -> list[pa.ChunkedArray]:
        """Return the rows' whole seconds since 1970, and the microseconds after them if any."""
        names = (TIME_COLUMN, MICROSECOND_COLUMN)
        return [self._rows[name] for name in names if name in self._rows.column_names]

    def read_moments(self) -> Times:
        """Return the time of each row in microseconds since 1970."""
        seconds, *microseconds = (to_numpy(column.chunk(0)) for column in self.read_times())
        times: Times = sum(microseconds, seconds * MICROSECONDS_PER_SECOND)
        return times

    def list_sparse(self) -> list[str]:
        """Return the names of the sparse columns but the histories."""
        names = self._values.column_names
        return [name for name in names if _accesses_key(name) in names]

    def list_columns(self) -> list[str]:
        """Return the names of all columns of the rows."""
        return list(self._rows.column_names)

    def read_values(self, column: str) -> pa.Array:
        """Return a sparse column's dictionary: its distinct values, with null for missing ones."""
        return self._find(VALUES_SUFFIX, column).chunk(0).values

    def read_accesses(self, column: str) -> IntegerArray:
        """Return how often each value of a sparse column's dictionary occurs in the part."""
        found = self._find(VALUES_SUFFIX, _accesses_key(column))
        counts: IntegerArray = to_numpy(found.chunk(0).values)
        return counts

    def read_codes(self, column: str) -> Codes:
        """Return the accesses of a sparse column."""
        array = self._find(ROWS_SUFFIX, column).chunk(0)
        if pa.types.is_large_list(array.type):
            return Codes(to_numpy(array.values), np.diff(to_numpy(array.offsets)))
        return Codes(to_numpy(array), None)

    def release_rows(self) -> None:
        """Let the system drop the file of rows from its page cache."""
        self._folder.forget(self._path + ROWS_SUFFIX)

    def _find(self, suffix: str, name: str) -> pa.ChunkedArray:
        """Return a column of one of the part's files, or of that of its histories."""
        table = self._rows if suffix == ROWS_SUFFIX else self._values
        if table.schema.get_field_index(name) < 0:
            table = self._open(HISTORIES + suffix, _map)
        return table[name]

    @property
    def _rows(self) -> pa.Table:
        return self._open(ROWS_SUFFIX, _read_to_buffer if self._buffered else _map)

    @property
    def _values(self) -> pa.Table:
        return self._open(VALUES_SUFFIX, _map)

    def _open(self, suffix: str, open_table: Callable[[Folder, str], pa.Table]) -> pa.Table:
        # `cached_property` has one lock for all parts, on which threads would wait for each other.
        if suffix not in self._tables:
            self._tables[suffix] = open_table(self._folder, self._path + suffix)
        return self._tables[suffix]


def write_part(rows: pl.DataFrame, sparse: list[str], folder: Folder, path: str) -> tuple[int, ...]:
    """Write typed `rows`, at least one, as a part, with the columns `sparse` as codes.

    Return the number of distinct values in each of these columns; a null is a value.
    """
    table = rows.to_arrow().combine_chunks()
    columns = dict(zip(table.column_names, table.columns, strict=True))
    dictionaries: dict[str, pa.Array] = {}
    for name in sparse:
        array = columns[name].chunk(0)
        is_list = pa.types.is_large_list(array.type)
        positions, values = encode_dictionary(array.flatten() if is_list else array)
        counts = shrink_dtype(np.bincount(positions, minlength=len(values)))
        codes = to_arrow(positions)
        if is_list:  # a slice's offsets do not begin at 0
            offsets = pc.subtract(array.offsets, array.offsets[0])
            codes = pa.LargeListArray.from_arrays(offsets, codes)
        columns[name] = codes
        dictionaries[name] = wrap_in_list(values)
        dictionaries[_accesses_key(name)] = wrap_in_list(to_arrow(counts))
    with folder.write(path + ROWS_SUFFIX) as file:
        write_table(pa.table(columns), file)
    with folder.write(path + VALUES_SUFFIX) as file:
        write_table(pa.table(dictionaries), file)
    return tuple(len(dictionaries[name].values) for name in sparse)


def _map(folder: Folder, name: str) -> pa.Table:
    with folder.read(name) as path, pa.memory_map(str(path)) as source:
        return pa.ipc.open_file(source).read_all()


def _read_to_buffer(folder: Folder, name: str) -> pa.Table:
    with folder.read(name) as path, path.open("rb", buffering=0) as file:
        content = read_into_buffer(file, "part", path.stat().st_size)
    return pa.ipc.open_file(pa.py_buffer(content)).read_all()


def _accesses_key(column: str) -> str:
    """Return the name of a sparse column's counts in the second file."""
    return f"{column}@accesses"
