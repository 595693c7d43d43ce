"""The encoder: turns new raw rows into the ids and features of a data set, for serving."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from fae.commit.outputs import damage_reported, read_manifest
from fae.dataset.integrity import read_checked
from fae.dataset.vocabulary import to_raw_values
from fae.format.errors import DatasetError
from fae.format.manifest import MANIFEST_FILE, OOV_ID
from fae.ingestion.parser import parse_table
from fae.logs.columns import SparseColumn
from fae.logs.schema import Schema
from fae.storage.folder import Folder, FolderLike


class Encoder:
    """An encoder of raw rows into the features of a data set, exactly as it was prepared.

    >>> encoder = Encoder("DIR")                                        # doctest: +SKIP
    >>> encoder.encode([{"I1": 3, "C1": "68fd1e64", ...}])              # doctest: +SKIP
    """

    def __init__(self, directory: FolderLike) -> None:
        """Read the vocabularies of a data set; raises DatasetError where there is none."""
        self.directory = Folder.of(directory)
        self.manifest = read_manifest(self.directory)
        with damage_reported(self.directory / MANIFEST_FILE):
            self.schema = Schema.model_validate(self.manifest.schema)
        self._rows = self.schema.select(
            "dense", "sparse", "time"
        )  # labels and keys are no features
        self._vocabularies = {}
        for table in self.manifest.tables:
            with read_checked(self.directory, table.vocabulary) as path:
                frame = pl.read_parquet(path, columns=["value", "id"])
            self._vocabularies[table.name] = frame

    def encode(self, rows: pl.DataFrame | Sequence[Mapping[str, Any]]) -> pl.DataFrame:
        """Return the dense features and ids of `rows`, in their order; no label is needed.

        `rows` have raw values by the log's column names, as text or typed; an absent or null column
        is a missing value. A value that train did not have gets id 0. Raises DatasetError for a
        value that preparation would reject as malformed, and for an absent time column from which
        features derive.
        """
        if not isinstance(rows, pl.DataFrame):
            columns = {name: [row.get(name) for row in rows] for name in self._rows.log_names}
            rows = pl.DataFrame([pl.Series(*column, strict=False) for column in columns.items()])
        parsed = parse_table(self._fill_columns(rows), self._rows)
        if parsed.rejects:
            reject = parsed.rejects[0]
            where = f"row {reject.line}, column {reject.column}"
            raise DatasetError(f"{where}: {reject.reason}: {reject.text!r}.")
        dense = [parsed.rows[column.name] for column in self.schema.dense]
        ids = [self._look_up(parsed.rows[column.name], column) for column in self.schema.sparse]
        return pl.DataFrame([*dense, *ids])

    def _fill_columns(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Return `frame` with absent columns added: the time 0, others missing."""
        columns = {}
        for column in self._rows.fields:
            name = column.log_name
            if frame.schema.get(name, pl.Null()) != pl.Null():
                columns[name] = frame[name]
                continue
            if column.role == "time":
                if any(sparse.source for sparse in self.schema.sparse):
                    raise DatasetError(
                        f"the rows have no column {column.name!r}, from which features derive."
                    )
                value = pl.Series(name, [0]).cast(pl.Datetime("us"))
            else:
                value = pl.Series(name, [None], dtype=pl.String())
            columns[name] = value.new_from_index(0, frame.height)
        return pl.DataFrame(list(columns.values()))

    def _look_up(self, staged: pl.Series, column: SparseColumn) -> pl.Series:
        """Return the id of each staged value, or of each value in its lists."""
        if column.multi is None:
            return self._look_up_values(staged, column).alias(column.name)
        # Explode the lists to look up each value, and group the ids by row; rows without a value
        # drop out on the way, and come back by the join.
        lists = pl.DataFrame({"row": range(len(staged)), "value": staged})
        exploded = lists.filter(pl.col("value").list.len() > 0).explode("value")
        exploded = exploded.with_columns(id=self._look_up_values(exploded["value"], column))
        grouped = exploded.group_by("row", maintain_order=True).agg("id")
        joined = lists.join(grouped, on="row", how="left", maintain_order="left")
        return joined["id"].fill_null(pl.Series([[]], dtype=joined["id"].dtype)).alias(column.name)

    def _look_up_values(self, values: pl.Series, column: SparseColumn) -> pl.Series:
        """Return the id of each staged value, id 0 for an unknown one."""
        table = self.manifest.table(column.table_name)
        dtype = pl.Int32() if table.rows < 2**31 else pl.Int64()
        raw, known = to_raw_values(values, column).to_frame("value"), self._vocabularies[table.name]
        joined = raw.join(known, on="value", how="left", nulls_equal=True, maintain_order="left")
        return joined["id"].fill_null(OOV_ID).cast(dtype)
