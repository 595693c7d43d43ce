"""Staged parts: a block's rows as memory-mapped columns, categories as codes of its own dictionary.

Encoding a block's categories costs little, since its dictionaries fit in the caches. Later stages
then work out what a category means once for each distinct value of a part, and gather.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.artefact import whole


@dataclass(frozen=True)
class Codes:
    """A part's accesses in one column: positions in the part's dictionary, row after row.

    `lengths` (rows,) says how many accesses each row makes; None where each makes one.
    """

    codes: npt.NDArray[np.unsignedinteger[Any]]
    lengths: npt.NDArray[np.int64] | None

    def owners(self, rows: int) -> npt.NDArray[np.int64]:
        """The row of each access."""
        every = np.arange(rows)
        return every if self.lengths is None else np.repeat(every, self.lengths)


class StagedPart:
    """One staged part, read through a memory map."""

    def __init__(self, path: Path) -> None:
        """Open the part at `path`; nothing is read until it is used."""
        with pa.memory_map(str(path)) as source:
            self._table = pa.ipc.open_file(source).read_all()

    def columns(self, names: list[str]) -> pa.Table:
        """Columns that are not sparse: label, dense features, `@time`."""
        return self._table.select(names)

    def values(self, column: str) -> pl.Series:
        """The dictionary of a sparse column: its distinct raw values, null where one is missing."""
        values = pl.from_arrow(self._accesses(column).dictionary)
        assert isinstance(values, pl.Series)
        return values.alias("value")

    def codes(self, column: str) -> Codes:
        """The accesses of a sparse column."""
        array = self._array(column)
        lengths = None
        if pa.types.is_large_list(array.type):
            lengths = np.diff(array.offsets.to_numpy())
        return Codes(self._accesses(column).indices.to_numpy(zero_copy_only=False), lengths)

    def _array(self, column: str) -> pa.Array:
        return self._table[column].combine_chunks()

    def _accesses(self, column: str) -> pa.DictionaryArray:
        array = self._array(column)
        return array.values if pa.types.is_large_list(array.type) else array


def write_part(rows: pl.DataFrame, sparse: list[str], path: Path) -> None:
    """Write typed `rows` as a part; the columns `sparse` become codes."""
    table = rows.to_arrow()
    for name in sparse:
        array = table[name].combine_chunks()
        if pa.types.is_large_list(array.type):
            lists = array.offsets, _encoded(array.flatten())
            coded: Any = pa.LargeListArray.from_arrays(*lists)
        else:
            coded = _encoded(array)
        table = table.set_column(table.schema.get_field_index(name), name, coded)
    table = table.combine_chunks()
    with whole(path) as partial, pa.ipc.new_file(str(partial), table.schema) as writer:
        writer.write_table(table)


def _encoded(values: pa.Array) -> pa.DictionaryArray:
    """Values with their dictionary, in codes of the fewest bytes; a null is a value."""
    encoded = pc.dictionary_encode(values, null_encoding="encode")
    count = len(encoded.dictionary)
    width = pa.uint8() if count <= 1 << 8 else pa.uint16() if count <= 1 << 16 else pa.uint32()
    return pa.DictionaryArray.from_arrays(encoded.indices.cast(width), encoded.dictionary)
