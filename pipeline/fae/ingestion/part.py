"""Staged parts: a block's rows as memory-mapped columns, categories as codes of its own dictionary.

Encoding a block's categories costs little, since its dictionaries fit in the caches. Later stages
then work out what a category means once for each distinct value of a part, and gather.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from fae.arrays.arrow import Int64Array, shrink_dtype, to_arrow, to_numpy, wrap_in_list
from fae.arrays.buffers import read_into_buffer
from fae.ingestion.dictionaries import encode_dictionary
from fae.storage.folder import Folder

Numbers = npt.NDArray[np.integer[Any]]
#: Seconds since 1970, row after row.
Times = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Codes:
    """A part's accesses in one column: positions in the part's dictionary, row after row.

    `lengths` (rows,) says how many accesses each row makes; None where each makes one.
    """

    codes: npt.NDArray[np.unsignedinteger[Any]]
    lengths: Int64Array | None

    def expand_rows(self, rows: int) -> Int64Array:
        """The row of each access."""
        every = np.arange(rows)
        return every if self.lengths is None else np.repeat(every, self.lengths)


#: A part is two files, by the ends of their names. The first has a line for each row, and codes in
#: the sparse columns; the second has one line: each sparse column's dictionary, as a list, and
#: beside it how often each of its values stands in the part.
ROWS_SUFFIX, VALUES_SUFFIX = ".rows.arrow", ".values.arrow"


class StagedPart:
    """One staged part, read through memory maps."""

    def __init__(self, folder: Folder, path: str, *, passing: bool = False) -> None:
        """The part at `path` in `folder`; nothing is read until it is used.

        Where every row is wanted, mapping pages in costs more than reading them: a `passing` part's
        rows are read into the thread's workspace, and are there until its next passing part's.
        """
        self._folder, self._path, self._passing = folder, path, passing
        self._open: dict[str, pa.Table] = {}

    def read_columns(self, names: list[str]) -> pa.Table:
        """Columns that are not sparse: label, dense features, `@time`."""
        return self._rows.select(names)

    def read_values(self, column: str) -> pa.Array:
        """The dictionary of a sparse column: its distinct raw values, null where one is missing."""
        return self._values[column].chunk(0).values

    def read_accesses(self, column: str) -> Numbers:
        """How often each value of the dictionary stands in the part."""
        counts: Numbers = to_numpy(self._values[_accesses(column)].chunk(0).values)
        return counts

    def read_codes(self, column: str) -> Codes:
        """The accesses of a sparse column."""
        array = self._rows[column].chunk(0)
        if pa.types.is_large_list(array.type):
            return Codes(to_numpy(array.values), np.diff(to_numpy(array.offsets)))
        return Codes(to_numpy(array), None)

    def release_rows(self) -> None:
        """Let the system use the memory that holds the file of rows for others; they were read."""
        self._folder.forget(self._path + ROWS_SUFFIX)

    @property
    def _rows(self) -> pa.Table:
        return self._table(ROWS_SUFFIX, _read if self._passing else _mapped)

    @property
    def _values(self) -> pa.Table:
        return self._table(VALUES_SUFFIX, _mapped)

    def _table(self, end: str, opened: Callable[[Folder, str], pa.Table]) -> pa.Table:
        """One of the files; `cached_property` would let threads wait for others' parts."""
        if end not in self._open:
            self._open[end] = opened(self._folder, self._path + end)
        return self._open[end]


def write_part(rows: pl.DataFrame, sparse: list[str], folder: Folder, path: str) -> tuple[int, ...]:
    """Write typed `rows`, at least one, as a part, the columns `sparse` as codes.

    Return how many distinct values each of these has.
    """
    table = rows.to_arrow().combine_chunks()
    dictionaries: dict[str, pa.Array] = {}
    for name in sparse:
        array = table[name].chunk(0)
        lists = pa.types.is_large_list(array.type)
        codes, values, counts = _encoded(array.flatten() if lists else array)
        if lists:  # a slice's offsets do not begin at 0
            offsets = pc.subtract(array.offsets, array.offsets[0])
            codes = pa.LargeListArray.from_arrays(offsets, codes)
        table = table.set_column(table.schema.get_field_index(name), name, codes)
        for key, items in ((name, values), (_accesses(name), counts)):
            dictionaries[key] = wrap_in_list(items)
    _write(table, folder, path + ROWS_SUFFIX)
    _write(pa.table(dictionaries), folder, path + VALUES_SUFFIX)
    return tuple(len(dictionaries[name].values) for name in sparse)


def _encoded(values: pa.Array) -> tuple[pa.Array, pa.Array, pa.Array]:
    """Codes of the fewest bytes, the dictionary that they mean, and how often each code stands.

    A null is a value.
    """
    codes, dictionary = encode_dictionary(values)
    counts = np.bincount(codes, minlength=len(dictionary))
    return to_arrow(codes), dictionary, to_arrow(shrink_dtype(counts))


def _write(table: pa.Table, folder: Folder, name: str) -> None:
    with folder.write(name) as path, pa.ipc.new_file(str(path), table.schema) as writer:
        writer.write_table(table)


def _mapped(folder: Folder, name: str) -> pa.Table:
    with folder.read(name) as path, pa.memory_map(str(path)) as source:
        return pa.ipc.open_file(source).read_all()


def _read(folder: Folder, name: str) -> pa.Table:
    with folder.read(name) as path, path.open("rb", buffering=0) as file:
        content = read_into_buffer(file, "part", path.stat().st_size)
    return pa.ipc.open_file(pa.py_buffer(content)).read_all()


def _accesses(column: str) -> str:
    return f"{column}@accesses"
