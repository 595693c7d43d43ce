"""The schema: a log's shape as data, that is its columns, what each means and how it is written.

A schema is a YAML file. The presets in `presets/` are schemas like any other and serve as examples;
README.md lists the keys.
"""

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
#: Names of columns and tables, which become names of files.
_NAME = re.compile(r"[\w][\w .+-]*")
_NAME_RULE = "use letters, digits, '_', '.', '+', '-' and ' '"
_MAX_FLOAT32 = 3.4028234e38
_MAX_RANGE_COLUMNS = 10_000
#: Readers of a data set take these from the names of its directories.
_PARTITION_KEYS = ("split", "temperature")


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class LabelColumn(_Strict):
    """The click: 0 or 1."""

    role: Literal["label"]
    name: str


class DenseColumn(_Strict):
    """A number; a missing one becomes `missing`, and then `transform` is applied.

    `log1p` is Criteo's convention: log(x + 1), where a negative x counts as 0.
    """

    role: Literal["dense"]
    name: str
    missing: float = Field(default=0.0, ge=-_MAX_FLOAT32, le=_MAX_FLOAT32, allow_inf_nan=False)
    transform: Literal["none", "log1p"] = "log1p"


class ListShape(_Strict):
    """How a multi-valued column is written in text, and how many of its last values are kept."""

    separator: str = Field(default=",", min_length=1, max_length=1)
    max_length: int | None = Field(default=None, ge=1)


class SparseColumn(_Strict):
    """A category, looked up in an embedding table; a missing one is a value of its own.

    `encoding` says how values are written: as hexadecimal digits (exactly `digits` of them, if
    set), 64-bit integers, or any text. `multi` makes the column a list. Columns that name the same
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
    def _check(self) -> Self:
        if (self.source is None) != (self.derive is None):
            raise ValueError("`source` (the time column) and `derive` go together")
        if self.source is not None and self.multi is not None:
            raise ValueError("a column derived from the time cannot be a list; remove `multi`")
        if self.digits is not None and self.encoding != "hex":
            raise ValueError("`digits` needs `encoding: hex`")
        return self

    @property
    def table_name(self) -> str:
        """The embedding table's name: the column's own, unless it shares another."""
        return self.table or self.name


class TimeColumn(_Strict):
    """The time of a row, in a strftime `format`, or `unix` for seconds since 1970 (UTC)."""

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
    """The dimension of every table that does not set its own."""

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
    def _expand_ranges(cls, columns: Any) -> Any:
        """Replace each range such as `I1..I13` by one column for each name."""
        if not isinstance(columns, list):
            return columns
        return [single for column in columns for single in _expand_range(column)]

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


def _expand_range(column: Any) -> list[Any]:
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


def list_presets() -> list[str]:
    """Return the names of the schemas that come with the program."""
    names = (file.name for file in resources.files("fae.logs.presets").iterdir())
    return sorted(name.removesuffix(".yaml") for name in names if name.endswith(".yaml"))


def load_schema(name_or_path: str) -> Schema:
    """Return the preset called `name_or_path`, or the schema in the YAML file there.

    Raises SchemaError, which names the place in the file, what was found and what is valid.
    """
    if name_or_path in list_presets():
        text = (resources.files("fae.logs.presets") / f"{name_or_path}.yaml").read_text("utf-8")
        return parse_schema(text, name_or_path)
    path = Path(name_or_path)
    if path.suffix not in (".yaml", ".yml"):
        raise SchemaError(
            f"no schema is called {name_or_path!r}. Choose one of {', '.join(list_presets())}, "
            "or name a .yaml file."
        )
    try:
        return parse_schema(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise SchemaError(f"cannot read the schema {path}: {error}.") from None


def parse_schema(text: str, where: str) -> Schema:
    """Return the schema that YAML `text` describes; `where` names it in errors.

    Raises SchemaError as `load_schema` does.
    """
    try:
        document = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise SchemaError(f"{where} is not valid YAML: {error}") from None
    if not isinstance(document, dict):
        raise SchemaError(f"{where}: a schema must be a mapping with the keys {_keys(Schema)}.")
    try:
        return Schema.model_validate(document)
    except ValidationError as error:
        lines = "\n".join(f"  {_explain(mistake, document)}" for mistake in error.errors())
        raise SchemaError(f"{where}:\n{lines}") from None


def _keys(model: type[BaseModel]) -> str:
    return ", ".join(model.model_fields)


_ROLES: dict[str, type[BaseModel]] = {
    "label": LabelColumn,
    "dense": DenseColumn,
    "sparse": SparseColumn,
    "time": TimeColumn,
    "drop": DroppedColumn,
}
_MODELS: dict[str, type[BaseModel]] = {**_ROLES, "embedding": EmbeddingShape, "multi": ListShape}


def _explain(mistake: Any, document: dict[Any, Any]) -> str:
    """Return one of pydantic's errors as a sentence: the column, what was found, what is valid."""
    location = list(mistake["loc"])
    model: type[BaseModel] = Schema
    words: list[str] = []
    if location[:1] == ["columns"] and len(location) > 1 and isinstance(location[1], int):
        columns = [single for column in document["columns"] for single in _expand_range(column)]
        column = columns[location[1]]
        name = column.get("name") if isinstance(column, dict) else None
        words.append(f"column {name!r}" if name else f"column {location[1] + 1}")
        location = location[2:]
    for step in location:
        if isinstance(step, str) and step in _MODELS:
            model = _MODELS[step]
        if step not in _ROLES:
            words.append(f"`{step}`")
    prefix = "".join(f"{word}: " for word in words)
    if mistake["type"] == "extra_forbidden":
        return f"{prefix}unknown key. Valid keys: {_keys(model)}."
    if mistake["type"] in ("union_tag_invalid", "union_tag_not_found"):
        return f"{prefix}`role` must be one of {', '.join(_ROLES)}."
    if mistake["type"] == "missing":
        return f"{prefix}missing."
    message = mistake["msg"].removeprefix("Value error, ")
    found = "" if isinstance(mistake["input"], dict | list) else f" (found {mistake['input']!r})"
    return f"{prefix}{message}{found}."
