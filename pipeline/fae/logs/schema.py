"""A log's shape as data: which columns there are, what each means, and how it is written.

A schema is a YAML file. The presets in `pipeline/schemas/` are schemas like any other and serve as
examples; README.md lists the keys.
"""

from __future__ import annotations

import re
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from fae.format.errors import SchemaError
from fae.format.manifest import LABEL

Encoding = Literal["hex", "integer", "string"]
Derivation = Literal["hour_of_day", "day_of_week"]
FILE_SAFE = re.compile(r"[\w][\w .+-]*")
_LARGEST = 3.4028234e38  # the largest float32
#: Readers take these from the folders of a data set.
_FOLDERS = ("split", "temperature")


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class LabelColumn(_Strict):
    """The click: 0 or 1."""

    role: Literal["label"]
    name: str


class DenseColumn(_Strict):
    """A number; missing becomes `missing`, then `transform` is applied.

    `log1p` is Criteo's convention: negative counts as 0, then log(x + 1).
    """

    role: Literal["dense"]
    name: str
    missing: float = Field(default=0.0, ge=-_LARGEST, le=_LARGEST, allow_inf_nan=False)
    transform: Literal["none", "log1p"] = "log1p"


class ListShape(_Strict):
    """How a multi-valued column is written in text, and how many of its last values are kept."""

    separator: str = Field(default=",", min_length=1, max_length=1)
    max_length: int | None = Field(default=None, ge=1)


class SparseColumn(_Strict):
    """A category, looked up in an embedding table; a missing one is a value of its own.

    `encoding` says how values are written: hexadecimal digits (`digits` of them exactly, where
    given), 64-bit integers, or any text. `multi` makes the column a list. Columns that name one
    `table` share it. `source` and `derive` make the column from the time column instead.
    """

    role: Literal["sparse"]
    name: str
    encoding: Encoding = "string"
    digits: int | None = Field(default=None, ge=1, le=16)
    multi: ListShape | None = None
    table: str = ""
    dim: int | None = Field(default=None, ge=1, le=65536)
    source: str | None = None
    derive: Derivation | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.source is None) != (self.derive is None):
            raise ValueError("`source` (the time column) and `derive` go together")
        if self.source is not None and self.multi is not None:
            raise ValueError("a column derived from the time is no list: leave out `multi`")
        if self.digits is not None and self.encoding != "hex":
            raise ValueError("`digits` belongs to `encoding: hex`")
        return self

    @property
    def table_name(self) -> str:
        """The embedding table's name: the column's own, unless it shares another."""
        return self.table or self.name


class TimeColumn(_Strict):
    """When the input happened, in a strftime `format`, or `unix` for seconds since 1970 (UTC)."""

    role: Literal["time"]
    name: str
    format: str = "unix"


class DroppedColumn(_Strict):
    """A column of the log that is not used, such as a row's id."""

    role: Literal["drop"]
    name: str


Column = Annotated[
    LabelColumn | DenseColumn | SparseColumn | TimeColumn | DroppedColumn,
    Field(discriminator="role"),
]


class EmbeddingShape(_Strict):
    """The dimension of every table that does not state its own."""

    dim: int = Field(default=16, ge=1, le=65536)


class Schema(_Strict):
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
    def _expanded(cls, columns: Any) -> Any:
        """Columns with ranges such as `I1..I13` written out, one column a name."""
        if not isinstance(columns, list):
            return columns
        return [one for column in columns for one in _written_out(column)]

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        names = [column.name for column in self.columns]
        doubled = sorted({name for name in names if names.count(name) > 1})
        if doubled:
            raise ValueError(f"two columns are called {', '.join(map(repr, doubled))}")
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
            if feature.name in _FOLDERS:
                raise ValueError(f"{feature.name!r} names a data set's folders, not a column")
            if not FILE_SAFE.fullmatch(feature.name):
                raise ValueError(f"{feature.name!r} cannot name a column: use letters, digits")
        self._check_tables()
        for column in self.sparse:
            if column.source is not None and (self.time is None or self.time.name != column.source):
                raise ValueError(f"{column.name!r}: `source` must name the column of `role: time`")
        for key in ("separator", "quote"):
            value = getattr(self, key)
            if value is not None and (not value.isascii() or value in "\r\n"):
                raise ValueError(f"`{key}` must be one ASCII character and no line end")
        if self.quote == self.separator:
            raise ValueError("`quote` and `separator` must differ")
        return self

    def _check_tables(self) -> None:
        first: dict[str, SparseColumn] = {}
        for column in self.sparse:
            if not FILE_SAFE.fullmatch(column.table_name):
                raise ValueError(f"{column.table_name!r} cannot be a table's name")
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
        """The columns that a line of the log holds: all but the derived ones."""
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
        """The sparse columns, in order, derived ones among them."""
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
        """Elements of an embedding row of `column`'s table."""
        return column.dim or self.embedding.dim

    def document(self) -> dict[str, Any]:
        """The schema as plain data; `Schema.model_validate` reads it back."""
        return self.model_dump(mode="json")


def _written_out(column: Any) -> list[Any]:
    """`column`, or one column for each name of a range: `I1..I3` gives I1, I2 and I3."""
    name = column.get("name") if isinstance(column, dict) else None
    found = re.fullmatch(r"(.*?)(\d+)\.\.(.*?)(\d+)", name) if isinstance(name, str) else None
    if found is None or found[1] != found[3]:
        return [column]
    first, last = int(found[2]), int(found[4])
    if not first <= last < first + 10_000:
        raise ValueError(f"{name!r} is no range of columns: write the smaller number first")
    return [{**column, "name": f"{found[1]}{number}"} for number in range(first, last + 1)]


def list_presets() -> list[str]:
    """The names of the schemas that come with the program."""
    names = (file.name for file in resources.files("fae.logs.presets").iterdir())
    return sorted(name.removesuffix(".yaml") for name in names if name.endswith(".yaml"))


def load_schema(name_or_path: str) -> Schema:
    """The preset called `name_or_path`, or the schema in the YAML file there.

    Raises SchemaError, which names the place in the file, what was found and what is valid.
    """
    if name_or_path in list_presets():
        text = (resources.files("fae.logs.presets") / f"{name_or_path}.yaml").read_text("utf-8")
        return parse_schema(text, name_or_path)
    path = Path(name_or_path)
    if path.suffix not in (".yaml", ".yml"):
        raise SchemaError(
            f"no schema is called {name_or_path!r}. Presets: {', '.join(list_presets())}; "
            "or give the path of a .yaml file of your own."
        )
    try:
        return parse_schema(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise SchemaError(f"cannot read the schema {path}: {error}.") from None


def parse_schema(text: str, where: str) -> Schema:
    """The schema that YAML `text` describes; `where` names it in errors."""
    try:
        document = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise SchemaError(f"{where} is not YAML: {error}") from None
    if not isinstance(document, dict):
        raise SchemaError(f"{where}: a schema is a mapping with the keys {_keys(Schema)}.")
    try:
        return Schema.model_validate(document)
    except ValidationError as error:
        lines = "\n".join(f"  {_sentence(one, document)}" for one in error.errors())
        raise SchemaError(f"{where}:\n{lines}") from None


def _keys(model: type[BaseModel]) -> str:
    return ", ".join(model.model_fields)


_MODELS: dict[str, type[BaseModel]] = {
    "label": LabelColumn,
    "dense": DenseColumn,
    "sparse": SparseColumn,
    "time": TimeColumn,
    "drop": DroppedColumn,
    "embedding": EmbeddingShape,
    "multi": ListShape,
}


def _sentence(error: Any, document: dict[Any, Any]) -> str:
    """One of pydantic's errors as a sentence that names the column and lists what is valid."""
    location = list(error["loc"])
    model: type[BaseModel] = Schema
    words: list[str] = []
    if location[:1] == ["columns"] and len(location) > 1 and isinstance(location[1], int):
        columns = [one for column in document["columns"] for one in _written_out(column)]
        column = columns[location[1]]
        name = column.get("name") if isinstance(column, dict) else None
        words.append(f"column {name!r}" if name else f"column {location[1] + 1}")
        location = location[2:]
    for step in location:
        if isinstance(step, str) and step in _MODELS:
            model = _MODELS[step]
        if step not in ("label", "dense", "sparse", "time", "drop"):
            words.append(f"`{step}`")
    place = ": ".join(words)
    prefix = f"{place}: " if place else ""
    if error["type"] == "extra_forbidden":
        return f"{prefix}unknown key. Valid keys: {_keys(model)}."
    if error["type"] in ("union_tag_invalid", "union_tag_not_found"):
        return f"{prefix}`role` must be one of label, dense, sparse, time, drop."
    if error["type"] == "missing":
        return f"{prefix}is missing."
    message = error["msg"].removeprefix("Value error, ")
    found = "" if isinstance(error["input"], dict | list) else f" (found {error['input']!r})"
    return f"{prefix}{message}{found}."
