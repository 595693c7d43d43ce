"""Encode the rows of staged parts as words: labels, dense features and ids; find the cold ones."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from fae.arrays.arrow import BoolArray, to_numpy
from fae.arrays.buffers import reuse_buffer
from fae.arrays.jit import kernel
from fae.dataset.shuffle.row_codec import Columns, Words, pack_texts
from fae.format.manifest import LABEL
from fae.hotset.hot_set import HotSet
from fae.ingestion.part import IntegerArray
from fae.ingestion.staging import Staging
from fae.logs.schema import Schema
from fae.profiling.frequencies import Frequencies
from fae.profiling.moments import standardize


def encode_parts(
    staging: Staging, frequencies: Frequencies, hot_set: HotSet, parts: range
) -> tuple[Columns, BoolArray]:
    """Return the labels, dense features and ids of neighbouring parts, and which rows are cold.

    Fields are in the order of the schema. A row is cold if it has any cold id.
    """
    dense, sparse, passed = staging.schema.dense, staging.schema.sparse, staging.schema.passed
    rows = staging.first_row(parts.stop) - staging.first_row(parts.start)
    fields = reuse_buffer("fields", (count_fields(staging.schema), rows), np.int32)
    is_cold = np.zeros(rows, dtype=np.bool_)
    hot_rows = {table.name: table.hot_rows for table in hot_set.tables}
    ids_by_table = hot_set.read_ids()
    lists: dict[int, list[Words]] = {}
    moments = {column.column: column for column in frequencies.moments}
    for part in parts:
        first = staging.first_row(part) - staging.first_row(parts.start)
        own = slice(first, first + staging.parts[part].rows)
        staged = staging.open_part(part, buffered=True)
        table = staged.read_columns([LABEL, *(column.name for column in dense)])
        fields[0, own] = to_numpy(table[LABEL].chunk(0))
        for field, name in enumerate(table.column_names[1:], start=1):
            numbers = to_numpy(table[name].chunk(0))
            if name in moments:
                numbers = standardize(numbers, moments[name])
            fields[field, own] = numbers.view(np.int32)
        for field, column in enumerate(sparse, start=1 + len(dense)):
            # Translate each distinct value of the part once, then look up the rows' codes.
            ranks = frequencies.read_ranks(column.name, part)
            ids = ids_by_table[column.table_name][ranks].view(np.int32)
            first_cold = hot_rows[column.table_name]
            codes = staged.read_codes(column.name)
            if codes.lengths is None:
                _look_up_ids(ids, codes.codes, first_cold, fields[field, own], is_cold[own])
            else:
                accessed = ids[codes.codes]
                owners = codes.expand_rows(staging.parts[part].rows)
                is_cold[own][owners[accessed >= first_cold]] = True
                lists.setdefault(field, []).append(accessed)
                fields[field, own] = codes.lengths
        for field, other in enumerate(passed, start=1 + len(dense) + len(sparse)):
            values = staged.read_columns([other.name])[other.name].chunk(0)
            if pa.types.is_large_string(values.type):
                fields[field, own], words = pack_texts(values)
                lists.setdefault(field, []).append(words)
            else:
                number = to_numpy(values)
                fields[field, own] = number.view(np.int32) if number.itemsize == 4 else number
    return Columns(fields, {field: np.concatenate(ids) for field, ids in lists.items()}), is_cold


def count_fields(schema: Schema) -> int:
    """Return the number of columns of a data file."""
    return 1 + len(schema.dense) + len(schema.sparse) + len(schema.passed)


@kernel
def _look_up_ids(
    ids: Words, codes: IntegerArray, first_cold: int, row_ids: Words, is_cold: BoolArray
) -> None:
    """Write the id of each code to `row_ids`, and mark the rows with an id from `first_cold` on."""
    for row in range(codes.size):
        row_ids[row] = ids[codes[row]]
        is_cold[row] |= row_ids[row] >= first_cold
