"""The schema: a log's shape as data, that is its columns, what each means and how it is written.

A schema is a YAML file. The presets in `presets/` are schemas like any other and serve as examples;
README.md lists the keys.
"""

import re
from collections import Counter
from functools import cached_property
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from fae.format.manifest import LABEL
from fae.logs.columns import (
    Column,
    DenseColumn,
    KeyColumn,
    LabelColumn,
    SparseColumn,
    SplitColumn,
    TimeColumn,
    WeightColumn,
)
from fae.logs.forms import Strict, Text, complete_histories, expand_ranges, find_repeated, optional

#: Names of columns and tables, which become names of files.
_NAME = re.compile(r"[\w][\w .+-]*")
_NAME_RULE = "use letters, digits, '_', '.', '+', '-' and ' '"
#: Readers of a data set take these from the names of its directories.
PARTITION_KEYS = ("split", "temperature")
#: The value of `split_by` that names no column.
RANDOM = "random"
SplitOrder = Literal["position", "time", "random", "value", "given"]


class EmbeddingShape(Strict):
    """The dimension of every table that does not set its own."""

    dim: int = Field(default=16, ge=1, le=65536)


class Explosion(Strict):
    """A field that holds several samples, of which each becomes a row with the line's other fields.

    The samples are apart by `separator`. The parts of each, apart by `between` from its end on, are
    the fields `into`.
    """

    field: str
    separator: str = Field(default=" ", min_length=1)
    between: str = Field(default="-", min_length=1)
    into: tuple[str, ...] = Field(min_length=1)


class Schema(Strict):
    """A log's shape. `columns` are in the order of the fields of a line.

    `ignore_rest` ignores fields that no column names. `nulls` are values that are missing in every
    column. `slots` is the mark in `slot:value` pairs. `split_by` is `random`, or the column whose
    rows of one value share a split; by default, the latest rows are held out.
    """

    name: str
    format: Literal["text", "parquet", "json"] = "text"
    separator: str = Field(default="\t", min_length=1)
    header: bool = False
    quote: str | None = Field(default=None, min_length=1, max_length=1)
    quoted_line_breaks: bool = optional(False)
    charset: Literal["utf-8", "latin-1"] = optional("utf-8")
    skip_lines: int = optional(0, ge=0, le=1_000_000)
    ignore_rest: bool = optional(False)
    nulls: tuple[Text, ...] = optional(())
    slots: str | None = optional(None, min_length=1, max_length=1)
    explode: Explosion | None = optional(None)
    split_by: str | None = optional(None)
    embedding: EmbeddingShape = EmbeddingShape()
    columns: tuple[Column, ...]

    @field_validator("columns", mode="before")
    @classmethod
    def expand_ranges(cls, columns: Any) -> Any:
        """Replace ranges such as `I1..I13` by their columns, and complete histories."""
        if not isinstance(columns, list):
            return columns
        return complete_histories(expand_ranges(columns))

    @model_validator(mode="after")
    def _check(self) -> Self:
        names = [column.name for column in self.columns]
        if repeated := find_repeated(names):
            raise ValueError(f"two columns are called {', '.join(map(repr, repeated))}")
        if not self.labels:
            raise ValueError("a column must have `role: label`")
        for role in ("time", "weight", "split"):
            if sum(column.role == role for column in self.columns) > 1:
                raise ValueError(f"at most one column may have `role: {role}`")
        if not self.sparse:
            raise ValueError("at least one column must have `role: sparse`")
        self._check_names()
        self._check_tables()
        for column in self.sparse:
            if column.source is not None and (self.time is None or self.time.name != column.source):
                raise ValueError(f"{column.name!r}: `source` must name the column of `role: time`")
            self._check_history(column)
        self._check_text()
        self._check_splits()
        return self

    def _check_names(self) -> None:
        """Raise ValueError where a column of the data set cannot have its name."""
        names = [column.name for column in (*self.dense, *self.sparse, *self.passed)]
        for name, count in Counter(names).items():
            if name == LABEL:
                raise ValueError(
                    f"only the label may be called {LABEL!r}; give the column another `name`, and "
                    f"`field: {LABEL}`"
                )
            if name in PARTITION_KEYS:
                raise ValueError(
                    f"{name!r} is reserved for a data set's directories; give the column another "
                    f"`name`, and `field: {name}`"
                )
            if not _NAME.fullmatch(name):
                raise ValueError(f"{name!r} cannot be a column's name; {_NAME_RULE}")
            if count > 1:
                raise ValueError(f"two columns of the data set are called {name!r}")

    def _check_text(self) -> None:
        """Raise ValueError where the keys contradict each other on how lines are written."""
        for key in ("separator", "quote", "slots"):
            value = getattr(self, key) or ""
            if not value.isascii() or set(value) & set("\r\n"):
                raise ValueError(f"`{key}` must be ASCII, and no line break")
        if self.quote == self.separator:
            raise ValueError("`quote` and `separator` must differ")
        if self.quote is not None and len(self.separator) > 1:
            raise ValueError("`quote` needs a `separator` of one character")
        if self.quoted_line_breaks and self.quote is None:
            raise ValueError("`quoted_line_breaks` needs `quote`")
        slotted = any(column.slot is not None for column in self.columns)
        if slotted != (self.slots is not None):
            raise ValueError(
                "`slots`, the mark between slot and value, and a column's `slot` go together"
            )
        if slotted and (self.header or self.quote or self.slots == self.separator):
            raise ValueError(
                "`slots` goes neither with `header` nor `quote`, nor is it `separator`"
            )

    def _check_splits(self) -> None:
        """Raise ValueError where `split_by` names no column that can tell rows apart."""
        if self.split_by is None:
            return
        if self.split is not None:
            raise ValueError("give `split_by` or a column of `role: split`, not both")
        if self.split_by != RANDOM and self.split_by not in self._single:
            raise ValueError(
                f"`split_by` must be {RANDOM}, or name a key or a sparse column that is no list"
            )

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

    def _check_history(self, column: SparseColumn) -> None:
        """Raise ValueError where a column's history cannot be made."""
        if column.history is None:
            return
        if self.time is None:
            raise ValueError(f"{column.name!r}: `history` needs a column of `role: time`")
        of, by = column.history.of, column.history.by
        if of not in {c.name for c in self.sparse if not (c.multi or c.buckets)}:
            raise ValueError(
                f"{column.name!r}: `of` must name a sparse column without `multi` and `buckets`"
            )
        if by not in self._single:
            raise ValueError(
                f"{column.name!r}: `by` must name a key or a sparse column that is no list"
            )
        if column.table_name != next(c.table_name for c in self.sparse if c.name == of):
            raise ValueError(f"{column.name!r}: its table must be that of {of!r}")

    @cached_property
    def fields(self) -> tuple[Column, ...]:
        """The columns that a line of the log holds, which are all but those made from others."""
        return tuple(c for c in self.columns if not (isinstance(c, SparseColumn) and c.is_made))

    @cached_property
    def histories(self) -> tuple[SparseColumn, ...]:
        """The sparse columns that are made from earlier rows."""
        return tuple(column for column in self.sparse if column.history is not None)

    @cached_property
    def log_names(self) -> tuple[str, ...]:
        """The log's names of the columns, in the order of their first mention."""
        names = list(dict.fromkeys(column.log_name for column in self.fields))
        if self.explode is None:
            return tuple(names)
        field, parts = self.explode.field, self.explode.into
        return tuple(dict.fromkeys([*(field if n in parts else n for n in names), field]))

    @cached_property
    def is_plain(self) -> bool:
        """Whether the log has each column by its name, with values that are cast as they are."""
        return not self.nulls and all(
            column.log_name == column.name and column.is_raw and column.is_plain
            for column in self.fields
        )

    @cached_property
    def functions(self) -> tuple[str, ...]:
        """The functions of the user's own that the columns name: code that the schema runs."""
        return tuple(column.function for column in self.fields if column.function is not None)

    @cached_property
    def plain_columns(self) -> dict[str, Column]:
        """The only column of each field that is cast as it is, by the log's name.

        Of labels, it is the first alone: the compiled parser reads one.
        """
        used = [column for column in self.fields if column.role != "drop"]
        fields = Counter(column.log_name for column in used)
        later_labels = {column.name for column in self.labels[1:]}
        return {
            column.log_name: column
            for column in used
            if fields[column.log_name] == 1
            and column.is_raw
            and column.is_plain
            and not self.nulls
            and column.name not in later_labels
        }

    @cached_property
    def raw_fields(self) -> frozenset[str]:
        """The log's names of the fields that are read as text, for the schema's rules."""
        used = {column.log_name for column in self.fields if column.role != "drop"}
        exploded = {self.explode.field} if self.explode else set()
        return frozenset(used - set(self.plain_columns) | exploded)

    @cached_property
    def labels(self) -> tuple[LabelColumn, ...]:
        """The labels' columns, in order."""
        return tuple(column for column in self.columns if isinstance(column, LabelColumn))

    @cached_property
    def label(self) -> LabelColumn:
        """The column of the first label, which a data set calls `label`."""
        return self.labels[0]

    @cached_property
    def dense(self) -> tuple[DenseColumn, ...]:
        """The dense features, in order; a vector is one for each of its numbers."""
        dense = (column for column in self.columns if isinstance(column, DenseColumn))
        return tuple(feature for column in dense for feature in column.features)

    @cached_property
    def learnt_columns(self) -> tuple[str, ...]:
        """The dense features that are standardised by what is learnt from the train rows."""
        return tuple(feature.name for feature in self.dense if feature.standardize is True)

    @cached_property
    def sparse(self) -> tuple[SparseColumn, ...]:
        """The sparse columns, in order, including derived ones."""
        return tuple(column for column in self.columns if isinstance(column, SparseColumn))

    @cached_property
    def time(self) -> TimeColumn | None:
        """The time column, where the log has one."""
        return next((c for c in self.columns if isinstance(c, TimeColumn)), None)

    @cached_property
    def weight(self) -> WeightColumn | None:
        """The column of the rows' weights, where the log has one."""
        return next((c for c in self.columns if isinstance(c, WeightColumn)), None)

    @cached_property
    def key_columns(self) -> tuple[KeyColumn, ...]:
        """The columns that the data set keeps as text, in order."""
        return tuple(column for column in self.columns if isinstance(column, KeyColumn))

    @cached_property
    def passed(self) -> tuple[LabelColumn | WeightColumn | KeyColumn, ...]:
        """What a data set has beside its first label and features: labels, the weight, keys."""
        return (*self.labels[1:], *([self.weight] if self.weight else []), *self.key_columns)

    @cached_property
    def split(self) -> SplitColumn | None:
        """The column that gives each row's split, where the log has one."""
        return next((c for c in self.columns if isinstance(c, SplitColumn)), None)

    @cached_property
    def split_order(self) -> SplitOrder:
        """What decides the order of rows, of which the last are held out.

        `given` is the split column; `value` the hash of the column `split_by`, which keeps rows of
        one value together.
        """
        if self.split is not None:
            return "given"
        if self.split_by is not None:
            return "random" if self.split_by == RANDOM else "value"
        return "position" if self.time is None else "time"

    @cached_property
    def _single(self) -> set[str]:
        """The log's columns of one value a row: keys, and sparse columns that are no lists."""
        sparse = (column for column in self.sparse if not (column.multi or column.source))
        return {column.name for column in (*self.key_columns, *sparse)}

    @cached_property
    def tables(self) -> dict[str, tuple[SparseColumn, ...]]:
        """Each embedding table's columns, tables in the order of their first column."""
        tables: dict[str, list[SparseColumn]] = {}
        for column in self.sparse:
            tables.setdefault(column.table_name, []).append(column)
        return {name: tuple(columns) for name, columns in tables.items()}

    def replace(self, **changes: Any) -> "Schema":
        """Return a valid schema that differs in these keys, which the caller vouches for."""
        return Schema.model_construct(**{**dict(self), **changes})

    def select(self, *roles: str) -> "Schema":
        """Return the schema of rows that have only the columns of some roles, each in its field."""
        columns = tuple(column for column in self.columns if column.role in roles)
        return self.replace(columns=columns, explode=None, split_by=None)

    def with_given_histories(self) -> "Schema":
        """Return the schema of rows that bring their histories with them, as lists."""
        columns = (
            column.model_copy(update={"history": None}) if column in self.histories else column
            for column in self.columns
        )
        return self.replace(columns=tuple(columns))

    def dim(self, column: SparseColumn) -> int:
        """Return the number of elements in an embedding row of `column`'s table."""
        return column.dim or self.embedding.dim
