"""The Parquet files of a data set: their columns, and how each is encoded."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fae.arrays.arrow import to_arrow
from fae.arrays.stable_argsort import stable_argsort
from fae.dataset.shuffle.row_codec import PackedRows, unpack_texts
from fae.format.manifest import LABEL, Features, LearntMoments, SparseFeature
from fae.logs.schema import Schema

#: The types of the columns that are no features, by their role.
_PASSED_TYPES = {"label": pa.int8(), "weight": pa.float32(), "key": pa.string()}


def open_data_file(schema: Schema, path: Path) -> pq.ParquetWriter:
    """Return a writer of a data file, which writes each table that it gets as a row group.

    No value is null. Ids are split by their bytes, of which the upper ones are nearly always 0:
    this is smaller and faster to write and read than a dictionary. Dense features, often counts,
    have few distinct values and get a dictionary.
    """
    dense = [column.name for column in schema.dense]
    fields = [pa.field(LABEL, pa.int8(), nullable=False)]
    fields += [pa.field(name, pa.float32(), nullable=False) for name in dense]
    ids = []
    for column in schema.sparse:
        dtype = pa.list_(pa.int32()) if column.multi else pa.int32()
        fields.append(pa.field(column.name, dtype, nullable=False))
        ids.append(f"{column.name}.list.element" if column.multi else column.name)
    for passed in schema.passed:
        fields.append(pa.field(passed.name, _PASSED_TYPES[passed.role], nullable=False))
    repeated = [*dense, *(passed.name for passed in schema.passed)]
    encodings = {"use_dictionary": repeated, "use_byte_stream_split": ids}
    return pq.ParquetWriter(path, pa.schema(fields), compression="zstd", **encodings)


def list_features(schema: Schema, standardized: tuple[LearntMoments, ...] = ()) -> Features:
    """Return the columns of the data files; `standardized` are those that learnt how."""
    sparse = tuple(
        SparseFeature(column.name, column.table_name, column.multi is not None)
        for column in schema.sparse
    )
    return Features(
        LABEL,
        tuple(column.name for column in schema.dense),
        sparse,
        labels=tuple(label.name for label in schema.labels[1:]),
        weight=schema.weight.name if schema.weight else "",
        keys=tuple(key.name for key in schema.key_columns),
        unlabeled=any(label.missing == "keep" for label in schema.labels),
        standardized=standardized,
    )


def build_table(rows: PackedRows, schema: pa.Schema) -> pa.Table:
    """Return packed rows, sorted by key, as a table of a data file."""
    list_fields = tuple(i for i, field in enumerate(schema) if _has_length(field.type))
    columns = rows.unpack(stable_argsort(rows.keys).astype(np.int64), list_fields)
    arrays = []
    for field, words in enumerate(columns.fields):
        dtype = schema.field(field).type
        if pa.types.is_list(dtype):
            offsets = to_arrow(np.concatenate([[0], np.cumsum(words)]).astype(np.int32))
            arrays.append(pa.ListArray.from_arrays(offsets, to_arrow(columns.lists[field]), dtype))
        elif pa.types.is_string(dtype):
            arrays.append(unpack_texts(words, columns.lists[field]))
        elif pa.types.is_int8(dtype):
            arrays.append(to_arrow(words.astype(np.int8)))
        else:
            arrays.append(to_arrow(words.view(np.float32) if dtype == pa.float32() else words))
    return pa.table(arrays, schema=schema)


def _has_length(dtype: pa.DataType) -> bool:
    """Return whether a packed row has the length of a column's value."""
    return bool(pa.types.is_list(dtype) or pa.types.is_string(dtype))


def write_vocabulary(tables: Iterator[pa.Table], path: Path) -> None:
    """Write a vocabulary: ascending ids, and values of which hardly any occurs twice."""
    first = next(tables)
    by_column = {"id": "DELTA_BINARY_PACKED"}
    if pa.types.is_large_string(first.schema.field("value").type):
        by_column["value"] = "DELTA_LENGTH_BYTE_ARRAY"
    encodings = {"use_dictionary": ["accesses"], "column_encoding": by_column}
    with pq.ParquetWriter(path, first.schema, compression="zstd", **encodings) as writer:
        for table in itertools.chain([first], tables):
            writer.write_table(table)
