"""The schema: a log's shape as data, that is its columns, what each means and how it is written.

A schema is a YAML file. The presets in `presets/` are schemas like any other and serve as examples;
README.md lists the keys.
"""

import re
from functools import cached_property
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from fae.format.manifest import LABEL
from fae.logs.columns import Column, DenseColumn, LabelColumn, SparseColumn, Strict, TimeColumn

#: Names of columns and tables, which become names of files.
_NAME = re.compile(r"[\w][\w .+-]*")
_NAME_RULE = "use letters, digits, '_', '.', '+', '-' and ' '"
_MAX_RANGE_COLUMNS = 10_000
#: Readers of a data set take these from the names of its directories.
_PARTITION_KEYS = ("split", "temperature")


class EmbeddingShape(Strict):
    """The dimension of every table that does not set its own."""

    dim: int = Field(default=16, ge=1, le=65536)


class Schema(Strict):
    """A log's shape. `columns` are in the order of the fields of a line."""

    name: str
    format: Literal["text", "parquet"] = "text"
    separator: str = Field(default="\t", min_length=1, max_length=1)
    header: bool = False
    quote: str | None = Field(default=None, min_length=1, max_length=1)
    embedding: EmbeddingShape = EmbeddingShape()
    columns: tuple[Column, ...]

    @field_validator("columns", mode="before")
    @classmethod
    def expand_ranges(cls, columns: Any) -> Any:
        """Replace each range such as `I1..I13` by one column for each name."""
        if not isinstance(columns, list):
            return columns
        return [single for column in columns for single in expand_range(column)]

    @model_validator(mode="after")
    def _check(self) -> Self:
        names = [column.name for column in self.columns]
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise ValueError(f"two columns are called {', '.join(map(repr, repeated))}")
        if sum(column.role == "label" for column in self.columns) != 1:
            raise ValueError("exactly one column must have `role: label`")
        if sum(column.role == "time" for column in self.columns) > 1:
            raise ValueError("at most one column may have `role: time`")
        if not self.sparse:
            raise ValueError("at least one column must have `role: sparse`")
        features: tuple[DenseColumn | SparseColumn, ...] = (*self.dense, *self.sparse)
        for feature in features:
            if feature.name == LABEL:
                raise ValueError(f"only the label may be called {LABEL!r}")
            if feature.name in _PARTITION_KEYS:
                raise ValueError(
                    f"{feature.name!r} is reserved for a data set's directories; rename the column"
                )
            if not _NAME.fullmatch(feature.name):
                raise ValueError(f"{feature.name!r} cannot be a column's name; {_NAME_RULE}")
        self._check_tables()
        for column in self.sparse:
            if column.source is not None and (self.time is None or self.time.name != column.source):
                raise ValueError(f"{column.name!r}: `source` must name the column of `role: time`")
        for key in ("separator", "quote"):
            value = getattr(self, key)
            if value is not None and (not value.isascii() or value in "\r\n"):
                raise ValueError(f"`{key}` must be one ASCII character other than a line break")
        if self.quote == self.separator:
            raise ValueError("`quote` and `separator` must differ")
        return self

    def _check_tables(self) -> None:
        first: dict[str, SparseColumn] = {}
        for column in self.sparse:
            if not _NAME.fullmatch(column.table_name):
                raise ValueError(f"{column.table_name!r} cannot be a table's name; {_NAME_RULE}")
            other = first.setdefault(column.table_name, column)
            if other.encoding != column.encoding or other.digits != column.digits:
                raise ValueError(
                    f"{other.name!r} and {column.name!r} share the table {column.table_name!r}, "
                    "so their `encoding` and `digits` must be the same"
                )
            if self.dim(column) != self.dim(other):
                raise ValueError(f"{other.name!r} and {column.name!r} share a table but not `dim`")

    @cached_property
    def fields(self) -> tuple[Column, ...]:
        """The columns that a line of the log holds, which are all but the derived ones."""
        return tuple(c for c in self.columns if not (isinstance(c, SparseColumn) and c.source))

    @cached_property
    def label(self) -> LabelColumn:
        """The label's column."""
        return next(column for column in self.columns if isinstance(column, LabelColumn))

    @cached_property
    def dense(self) -> tuple[DenseColumn, ...]:
        """The dense columns, in order."""
        return tuple(column for column in self.columns if isinstance(column, DenseColumn))

    @cached_property
    def sparse(self) -> tuple[SparseColumn, ...]:
        """The sparse columns, in order, including derived ones."""
        return tuple(column for column in self.columns if isinstance(column, SparseColumn))

    @cached_property
    def time(self) -> TimeColumn | None:
        """The time column, where the log has one."""
        return next((c for c in self.columns if isinstance(c, TimeColumn)), None)

    @cached_property
    def tables(self) -> dict[str, tuple[SparseColumn, ...]]:
        """Each embedding table's columns, tables in the order of their first column."""
        tables: dict[str, list[SparseColumn]] = {}
        for column in self.sparse:
            tables.setdefault(column.table_name, []).append(column)
        return {name: tuple(columns) for name, columns in tables.items()}

    def dim(self, column: SparseColumn) -> int:
        """Return the number of elements in an embedding row of `column`'s table."""
        return column.dim or self.embedding.dim

    def document(self) -> dict[str, Any]:
        """Return the schema as plain data, which `Schema.model_validate` reads back."""
        return self.model_dump(mode="json")


def expand_range(column: Any) -> list[Any]:
    """Return one column for each name of a range (`I1..I3`: I1, I2, I3), or `column` itself."""
    name = column.get("name") if isinstance(column, dict) else None
    match = re.fullmatch(r"(.*?)(\d+)\.\.(.*?)(\d+)", name) if isinstance(name, str) else None
    if match is None or match[1] != match[3]:
        return [column]
    first, last = int(match[2]), int(match[4])
    if not first <= last < first + _MAX_RANGE_COLUMNS:
        raise ValueError(
            f"{name!r} is not a valid range of columns; write the smaller number first"
        )
    return [{**column, "name": f"{match[1]}{number}"} for number in range(first, last + 1)]
