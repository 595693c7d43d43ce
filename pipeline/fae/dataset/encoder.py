"""The encoder: turns new raw rows into the ids and features of a data set, for serving."""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from fae.commit.outputs import damage_reported, read_manifest
from fae.dataset.cells import build_frames, simplify_cell
from fae.dataset.integrity import read_checked, read_vocabulary
from fae.dataset.plain_cells import ODD, choose_stager, derive_one
from fae.dataset.value_index import ValueIndex
from fae.dataset.vocabulary import to_staged_values
from fae.format.errors import DatasetError, LogError
from fae.format.manifest import MANIFEST_FILE
from fae.ingestion.parser import convert_arrow_table, parse_table
from fae.ingestion.rejects import Reject
from fae.logs.columns import DenseColumn, SparseColumn, TimeColumn
from fae.logs.schema import Schema
from fae.profiling.moments import Floats, standardize
from fae.storage.folder import Folder, FolderLike

#: Tables are encoded in pieces of so many rows, which threads take side by side.
_ROWS_PER_PIECE = 1 << 16
#: Up to so many rows are staged cell by cell, which costs less than a table of them.
_FEW_ROWS = 32


class Encoder:
    """An encoder of raw rows into the features of a data set, exactly as it was prepared.

    Examples:
        >>> encoder = Encoder("DIR")                                    # doctest: +SKIP
        >>> encoder.encode([{"I1": 3, "C1": "68fd1e64", ...}])          # doctest: +SKIP
    """

    def __init__(self, directory: FolderLike, own_functions: bool = False) -> None:
        """Read the vocabularies of a data set; raises DatasetError where there is none.

        Where its schema names functions of a user's own, which are code from outside of it, they
        run only with `own_functions`; else it raises DatasetError.
        """
        self.directory = Folder.of(directory)
        self.manifest = read_manifest(self.directory)
        with damage_reported(self.directory / MANIFEST_FILE):
            prepared = Schema.model_validate(self.manifest.schema)
        #: The columns that were made of earlier rows, and that new rows bring with them as lists.
        self.histories = prepared.histories
        self.schema = prepared.with_given_histories()
        if self.schema.functions and not own_functions:
            raise DatasetError(
                f"{self.directory}: its schema calls {', '.join(self.schema.functions)}. If you "
                "trust the data set and this code, say so: own_functions=True, or --own-functions."
            )
        #: The schema of rows without what a model is not asked with, such as labels.
        self._features = self.schema.select("dense", "sparse", "time")
        self._log_names = {column.log_name for column in self.schema.fields}
        self._fields = {column.log_name: column for column in self._features.fields}
        plain = self._features.plain_columns
        self._stagers = {
            column: choose_stager(column) if plain.get(column.log_name) == column else None
            for column in self._features.fields
            if isinstance(column, DenseColumn | SparseColumn | TimeColumn)
        }
        #: Whether features derive from the time, so that rows must have one.
        self.needs_time = any(column.source for column in self.schema.sparse)
        learnt = {moments.column: moments for moments in self.manifest.features.standardized}
        with damage_reported(self.directory / MANIFEST_FILE):
            self._moments = {name: learnt[name] for name in self.schema.learnt_columns}
        self._dtypes = {
            table.name: pl.Int32() if table.rows < 2**31 else pl.Int64()
            for table in self.manifest.tables
        }
        self._indexes: dict[str, ValueIndex] = {}
        for table in self.manifest.tables:
            column = self.schema.tables[table.name][0]
            with read_checked(self.directory, table.vocabulary) as path:
                frame = read_vocabulary(
                    path, ["value", "id"], self.directory / table.vocabulary.path
                )
            staged = to_staged_values(frame["value"], column)
            self._indexes[table.name] = ValueIndex.build(staged, frame["id"])

    def encode(self, rows: Any) -> pl.DataFrame:
        """Return the dense features and ids of `rows`, in their order; no label is needed.

        `rows` are a sequence of mappings, a Polars or pandas frame or an Arrow table, with raw
        values by the log's column names, as text or typed; an absent or null column is a missing
        value. Each value is read by the schema, whatever the others are. A value that train did not
        have gets id 0. Raises DatasetError for a value that preparation would reject as malformed,
        for a column that the schema does not have, and for an absent time column from which
        features derive.
        """
        if isinstance(rows, Mapping | str | bytes):
            raise DatasetError(
                "the rows must be a list of mappings or a table; put [ ] around one."
            )
        if isinstance(rows, pl.DataFrame):
            return self._encode_columns({name: rows[name] for name in rows.columns}, rows.height)
        if "pandas" in sys.modules and isinstance(rows, sys.modules["pandas"].DataFrame):
            return self._encode_columns(_split_pandas(rows), len(rows))
        if hasattr(rows, "__arrow_c_stream__") or isinstance(rows, pa.RecordBatch):
            return self.encode(_convert(pa.table(rows)))
        if not isinstance(rows, Iterable):
            raise DatasetError(f"rows of the type {type(rows).__name__} cannot be encoded.")
        return self._encode_mappings(list(rows))

    def _encode_mappings(self, rows: list[Mapping[str, Any]]) -> pl.DataFrame:
        self._check_names(dict.fromkeys(name for row in rows for name in row))
        if len(rows) <= _FEW_ROWS and (encoded := self._encode_cells(rows)) is not None:
            return encoded
        given = {name for row in rows for name in row}
        names = [name for name in self._fields if name in given]
        return self._encode_columns(
            {name: [row.get(name) for row in rows] for name in names}, len(rows)
        )

    def _check_names(self, names: Iterable[str]) -> None:
        unknown = [name for name in names if name not in self._log_names]
        if unknown:
            close = difflib.get_close_matches(str(unknown[0]), sorted(self._log_names), n=1)
            meant = f" Did you mean {close[0]!r}?" if close else ""
            raise DatasetError(
                f"the rows have {', '.join(map(repr, unknown))}, unknown to the schema "
                f"{self.schema.name!r}.{meant} Leave out what is not a column of the log."
            )

    # ── A few rows ──────────────────────────────────────────────────────────────────────────────

    def _encode_cells(self, rows: Sequence[Mapping[str, Any]]) -> pl.DataFrame | None:
        """Return a few rows encoded; None where a cell is one that the general parser must read."""
        staged: dict[str, list[Any]] = {}
        for column, stage in self._stagers.items():
            cells = [row.get(column.log_name) for row in rows]
            is_unused = column.role == "time" and not self.needs_time
            if is_unused and all(cell is None for cell in cells):
                continue
            if stage is None:
                return None
            values = [stage(simplify_cell(cell, column)) for cell in cells]
            if ODD in values:
                return None
            staged[column.name] = values
        series = [
            self._finish_dense(column.name, np.array(staged[column.name], dtype=np.float32))
            for column in self.schema.dense
        ]
        for sparse in self.schema.sparse:
            index, dtype = self._indexes[sparse.table_name], self._dtypes[sparse.table_name]
            if sparse.source is not None:
                values = [derive_one(sparse, seconds) for seconds in staged[sparse.source]]
            else:
                values = staged[sparse.name]
            if sparse.multi is None:
                series.append(pl.Series(sparse.name, _find(index, values), dtype=dtype))
            else:
                ids = [_find(index, value) for value in values]
                series.append(pl.Series(sparse.name, ids, dtype=pl.List(dtype)))
        return pl.DataFrame(series)

    # ── Tables ──────────────────────────────────────────────────────────────────────────────────

    def _encode_columns(
        self, columns: Mapping[str, pl.Series | Sequence[Any]], rows: int
    ) -> pl.DataFrame:
        """Return columns encoded, each given whole or by its cells."""
        self._check_names(columns)
        used = {name: columns[name] for name in self._fields if name in columns}
        encoded, order, rejects = [self._encode_frame(pl.DataFrame(), 0)[0]], [], []
        for numbers, frame in build_frames(used, self._fields, rows):
            part, faults = self._encode_frame(frame, len(numbers))
            encoded.append(part)
            order.append(numbers)
            rejects += [replace(fault, line=int(numbers[fault.line])) for fault in faults]
        if rejects:
            reject = min(rejects, key=lambda reject: reject.line)
            where = f"row {reject.line}, column {reject.column}"
            raise DatasetError(f"{where}: {reject.reason}: {reject.text!r}.")
        together = pl.concat(encoded)
        return together if len(order) < 2 else together[np.argsort(np.concatenate(order))]

    def _encode_frame(self, frame: pl.DataFrame, rows: int) -> tuple[pl.DataFrame, list[Reject]]:
        """Return a table encoded, without its malformed rows, and rejects for these."""
        given, frame = frame, self._fill_columns(frame, rows)
        pieces = [
            frame[first : first + _ROWS_PER_PIECE] for first in range(0, rows, _ROWS_PER_PIECE)
        ]
        if len(pieces) < 2:
            encoded = [self._encode_piece(frame)]
        else:
            with ThreadPoolExecutor(os.cpu_count()) as pool:
                encoded = list(pool.map(self._encode_piece, pieces))
        rejects = [
            replace(fault, line=fault.line + number * _ROWS_PER_PIECE)
            for number, (_, faults) in enumerate(encoded)
            for fault in faults
        ]
        if self.schema.time is not None and not self.needs_time:
            # The time of a row without one was another row's, which has its own reject.
            time = self.schema.time
            rejects = [
                fault
                for fault in rejects
                if fault.column != time.name or given[time.log_name][fault.line] is not None
            ]
        return pl.concat([part for part, _ in encoded]), rejects

    def _encode_piece(self, frame: pl.DataFrame) -> tuple[pl.DataFrame, list[Reject]]:
        try:
            parsed = parse_table(frame, self._features)
        except LogError as error:
            raise DatasetError(str(error)) from None
        return self.encode_staged(parsed.rows), parsed.rejects

    def encode_staged(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Return the dense features and ids of rows that the parser has read by the schema."""
        dense = [
            self._finish_dense(column.name, rows[column.name].to_numpy())
            if column.name in self._moments
            else rows[column.name]
            for column in self.schema.dense
        ]
        ids = []
        for column in self.schema.sparse:
            staged, index = rows[column.name], self._indexes[column.table_name]
            values = (
                staged if column.multi is None else staged.filter(staged.list.len() > 0).explode()
            )
            found = pl.Series(column.name, index.find(values)).cast(self._dtypes[column.table_name])
            ids.append(found if column.multi is None else _regroup(found, staged.list.len()))
        return pl.DataFrame([*dense, *ids])

    def _finish_dense(self, name: str, staged: Floats) -> pl.Series:
        """Return a dense feature, standardised if that is learnt."""
        moments = self._moments.get(name)
        return pl.Series(name, staged if moments is None else standardize(staged, moments))

    def _fill_columns(self, frame: pl.DataFrame, rows: int) -> pl.DataFrame:
        """Return `frame` with empty columns filled: a time that nothing needs by 0, others as text.

        Raises DatasetError where the time is absent and features derive from it.
        """
        columns = []
        found = frame.to_dict()
        for name, column in self._fields.items():
            is_unused = column.role == "time" and not self.needs_time
            value = found.get(name)
            if value is not None and value.null_count() < rows:
                if is_unused:  # what is missing is not looked at
                    value = value.fill_null(strategy="forward").fill_null(strategy="backward")
                columns.append(value)
                continue
            if column.role == "time" and self.needs_time and rows:
                raise DatasetError(f"the rows have no column {name!r}, from which features derive.")
            value = pl.Series(name, [None], dtype=pl.String())
            if is_unused:
                value = pl.Series(name, [0]).cast(pl.Datetime("us"))
            columns.append(value.new_from_index(0, rows))
        return pl.DataFrame(columns)


def _find(index: ValueIndex, values: Sequence[Any]) -> list[int]:
    """Return the id of each of a few staged values; None is the missing category."""
    return [index.missing_id if value is None else index.find_one(value) for value in values]


def _regroup(values: pl.Series, lengths: pl.Series) -> pl.Series:
    """Return lists of these lengths, in the order of `values`."""
    offsets = np.concatenate([[0], np.cumsum(lengths.to_numpy(), dtype=np.int64)])
    lists = pa.LargeListArray.from_arrays(pa.array(offsets), values.to_arrow())
    return pl.Series(values.name, lists)


def _split_pandas(frame: Any) -> dict[str, pl.Series | list[Any]]:
    """Return a pandas frame's columns, and the cells of those that have no type of their own.

    NaN is a missing value, as everywhere in pandas.
    """
    columns: dict[str, pl.Series | list[Any]] = {}
    for name in frame.columns:
        column = frame[name]
        if column.dtype != object:
            columns[name] = pl.Series(name, pl.from_pandas(column))
            continue
        cells = column.tolist()
        is_missing = (isinstance(cell, float) and cell != cell for cell in cells)
        columns[name] = [
            None if none else cell for none, cell in zip(is_missing, cells, strict=True)
        ]
    return columns


def _convert(table: pa.Table) -> pl.DataFrame:
    try:
        return convert_arrow_table(table)
    except LogError as error:
        raise DatasetError(str(error)) from None
