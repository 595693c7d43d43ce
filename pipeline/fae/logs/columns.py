"""The columns of a schema: what each means and how its values are written in the log."""

import zoneinfo
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from fae.logs.forms import (
    History,
    ListShape,
    ListText,
    Moments,
    Standardize,
    Strict,
    Text,
    VectorShape,
    optional,
)

Encoding = Literal["hex", "integer", "unsigned", "string"]
Derivation = Literal["hour_of_day", "day_of_week"]
#: Formats of times that are not strftime's; all but the first keep fractions of a second.
UNIX, UNIX_MS, UNIX_US, ISO_8601 = "unix", "unix_ms", "unix_us", "iso8601"
_MAX_FLOAT32 = 3.4028234e38
#: More hexadecimal digits than a 64-bit number has.
_MAX_NUMBER_DIGITS = 16


class RawValues(Strict):
    """Where a column's values come from, before they are cast.

    `field` is the log's name of the column, where it is another; `slot` is the one before its
    values in a log of `slot:value` pairs. Values in `nulls` are missing; by default, those of the
    schema. `function`, as `module:name`, is the user's own: it takes a Polars expression of the raw
    values and returns one.
    """

    role: str
    name: str
    field: str | None = optional(None)
    slot: Text | None = optional(None)
    nulls: tuple[Text, ...] | None = optional(None)
    function: str | None = optional(None, pattern=r"^[\w.]+:\w+$")

    @property
    def log_name(self) -> str:
        """The log's name of the column: its slot, its field or its own name."""
        return self.slot or self.field or self.name

    @property
    def list_text(self) -> "ListText | None":
        """How the column's lists are written in text, where its values are lists."""
        return None

    @property
    def is_raw(self) -> bool:
        """Whether the log's values are cast as they are."""
        return self.nulls is None and self.function is None


class LabelColumn(RawValues):
    """What a model predicts: 0 or 1.

    A value is 1 if it is at least `threshold`, or if it is one of `positive`, and 0 otherwise;
    `map` gives the label of each value. With `missing: keep`, a row without one has the label -1.
    """

    role: Literal["label"]
    name: str
    threshold: float | None = optional(None, allow_inf_nan=False)
    positive: tuple[Text, ...] | None = optional(None, min_length=1)
    map: dict[Text, Literal[0, 1]] | None = optional(None, min_length=1)
    missing: Literal["reject", "keep"] = optional("reject")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if sum(rule is not None for rule in (self.threshold, self.positive, self.map)) > 1:
            raise ValueError("give one of `threshold`, `positive` and `map`")
        return self

    @property
    def is_plain(self) -> bool:
        """Whether the log writes each label as 0 or 1."""
        return self.missing == "reject" and not self.has_rule

    @property
    def has_rule(self) -> bool:
        """Whether a rule makes 0 or 1 of what the log writes."""
        return (self.threshold, self.positive, self.map) != (None, None, None)


class DenseColumn(RawValues):
    """A number; a missing one becomes `missing`, and then `transform` is applied.

    `log1p` is Criteo's convention: log(x + 1), where a negative x counts as 0. Before it, numbers
    are cut to the range `clip`; after it, `standardize` subtracts a mean and divides by a standard
    deviation, which are given, or with True learnt from the train rows: then staged numbers are
    those before this step. A `vector` of numbers becomes a column for each, NAME_1, NAME_2 and so
    on.
    """

    role: Literal["dense"]
    name: str
    missing: float = Field(default=0.0, ge=-_MAX_FLOAT32, le=_MAX_FLOAT32, allow_inf_nan=False)
    transform: Literal["none", "log1p"] = "log1p"
    clip: tuple[float, float] | None = optional(None)
    standardize: Standardize | None = optional(None)
    vector: VectorShape | None = optional(None)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.clip is not None and not self.clip[0] <= self.clip[1]:
            raise ValueError("`clip` must be [lowest, highest]")
        return self

    @property
    def is_plain(self) -> bool:
        """Whether the log writes one number, which is staged with nothing but `transform`."""
        return (self.clip, self.moments, self.vector) == (None, None, None)

    @property
    def moments(self) -> Moments | None:
        """The constants that the schema gives to standardise by."""
        return self.standardize if isinstance(self.standardize, Moments) else None

    @property
    def list_text(self) -> ListText | None:
        """How the vector is written in text."""
        return self.vector

    @property
    def features(self) -> tuple[Self, ...]:
        """The columns of the data set that this one becomes: itself, or one for each number."""
        if self.vector is None:
            return (self,)
        names = [f"{self.name}_{number}" for number in range(1, self.vector.size + 1)]
        return tuple(self.model_copy(update={"name": name, "vector": None}) for name in names)


class SparseColumn(RawValues):
    """A category, looked up in an embedding table; a missing one is a value of its own.

    `encoding` says how values are written: as hexadecimal digits (exactly `digits` of them, if
    set), 64-bit integers, signed or `unsigned`, or any text. `multi` makes the column a list.
    Columns that name the same `table` share it. `buckets` makes a number the count of these that it
    reaches. `source` and `derive` make the column from the time column instead, and `history` makes
    it from other rows.
    """

    role: Literal["sparse"]
    name: str
    encoding: Encoding = "string"
    digits: int | None = Field(default=None, ge=1, le=1024)
    multi: ListShape | None = None
    table: str = ""
    dim: int | None = Field(default=None, ge=1, le=65536)
    source: str | None = None
    derive: Derivation | None = None
    buckets: tuple[float, ...] | None = optional(None, min_length=1)
    history: History | None = optional(None)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.source is None) != (self.derive is None):
            raise ValueError("`source` (the time column) and `derive` go together")
        if self.source is not None and self.multi is not None:
            raise ValueError("a column derived from the time cannot be a list; remove `multi`")
        if self.digits is not None and self.encoding != "hex":
            raise ValueError("`digits` needs `encoding: hex`")
        if self.buckets is not None and (self.encoding != "integer" or self.multi or self.source):
            raise ValueError(
                "`buckets` needs `encoding: integer`, and neither `multi` nor `source`"
            )
        if self.buckets is not None and list(self.buckets) != sorted(set(self.buckets)):
            raise ValueError("`buckets` must ascend")
        if self.source is not None and self.history is not None:
            raise ValueError("a column is derived from the time or is a `history`, not both")
        if self.is_made and (self.field or self.slot or not self.is_raw):
            raise ValueError("a column made from others takes no values from the log")
        return self

    @property
    def is_made(self) -> bool:
        """Whether the column is made from others, so that lines of the log do not hold it."""
        return self.source is not None or self.history is not None

    @property
    def table_name(self) -> str:
        """The embedding table's name: the column's own, unless it shares another."""
        return self.table or self.name

    @property
    def is_long_hex(self) -> bool:
        """Whether values are hexadecimal numbers of more than 64 bits, which are staged as text."""
        return self.encoding == "hex" and (self.digits or 0) > _MAX_NUMBER_DIGITS

    @property
    def is_plain(self) -> bool:
        """Whether the log writes one value, as a number of 64 bits or as text."""
        text = self.multi is None or not self.multi.brackets
        known = self.encoding != "unsigned" and not self.is_long_hex
        return self.buckets is None and text and known

    @property
    def list_text(self) -> ListText | None:
        """How the lists are written in text, where the column is one."""
        return self.multi


class TimeColumn(RawValues):
    """The time of a row, in a strftime `format`, or `unix` for seconds since 1970 (UTC).

    `unix_ms` and `unix_us` are milliseconds and microseconds, `iso8601` is 2024-05-01T12:30:00.5Z
    and the like. A time that names no zone is one of `zone`, by default UTC, and hours and days
    are derived from the time there.
    """

    role: Literal["time"]
    name: str
    format: str = UNIX
    zone: str | None = optional(None)

    @field_validator("zone")
    @classmethod
    def _check_zone(cls, zone: str | None) -> str | None:
        if zone is not None and zone not in zoneinfo.available_timezones():
            raise ValueError("`zone` must be the name of a time zone, such as Europe/Paris")
        return zone

    @property
    def is_plain(self) -> bool:
        """Whether every time is read by `format` alone."""
        return True


class WeightColumn(RawValues):
    """How much a row counts in training: a number from 0 on."""

    role: Literal["weight"]
    name: str
    is_plain: ClassVar = False


class KeyColumn(RawValues):
    """Text that the data set keeps with each row, such as a row's or a user's id; no feature."""

    role: Literal["key"]
    name: str
    is_plain: ClassVar = False


class SplitColumn(RawValues):
    """Whether a row is for `train`, `valid` or `test`; `map` gives the split of each value."""

    role: Literal["split"]
    name: str
    map: dict[Text, Literal["train", "valid", "test"]] | None = optional(None, min_length=1)
    is_plain: ClassVar = False


class DroppedColumn(RawValues):
    """A column of the log that is not used, such as a row's id."""

    role: Literal["drop"]
    name: str
    is_plain: ClassVar = True


Column = Annotated[
    LabelColumn
    | DenseColumn
    | SparseColumn
    | TimeColumn
    | WeightColumn
    | KeyColumn
    | SplitColumn
    | DroppedColumn,
    Field(discriminator="role"),
]
