"""The columns of a schema: what each means and how its values are written in the log."""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Encoding = Literal["hex", "integer", "string"]
Derivation = Literal["hour_of_day", "day_of_week"]
_MAX_FLOAT32 = 3.4028234e38


class Strict(BaseModel):
    """A part of a schema: it takes its own keys only, and never changes."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class LabelColumn(Strict):
    """The click: 0 or 1."""

    role: Literal["label"]
    name: str


class DenseColumn(Strict):
    """A number; a missing one becomes `missing`, and then `transform` is applied.

    `log1p` is Criteo's convention: log(x + 1), where a negative x counts as 0.
    """

    role: Literal["dense"]
    name: str
    missing: float = Field(default=0.0, ge=-_MAX_FLOAT32, le=_MAX_FLOAT32, allow_inf_nan=False)
    transform: Literal["none", "log1p"] = "log1p"


class ListShape(Strict):
    """How a multi-valued column is written in text, and how many of its last values are kept."""

    separator: str = Field(default=",", min_length=1, max_length=1)
    max_length: int | None = Field(default=None, ge=1)


class SparseColumn(Strict):
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


class TimeColumn(Strict):
    """The time of a row, in a strftime `format`, or `unix` for seconds since 1970 (UTC)."""

    role: Literal["time"]
    name: str
    format: str = "unix"


class DroppedColumn(Strict):
    """A column of the log that is not used, such as a row's id."""

    role: Literal["drop"]
    name: str


Column = Annotated[
    LabelColumn | DenseColumn | SparseColumn | TimeColumn | DroppedColumn,
    Field(discriminator="role"),
]
