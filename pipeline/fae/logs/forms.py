"""Parts that columns and the schema have in common: how lists and numbers are written, and more.

A key that a schema does not use is not written into the documents of its data sets, so that these
stay as they were before the key existed.
"""

import re
from collections import Counter
from collections.abc import Sequence
from itertools import chain, islice
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag

_OPTIONAL = "optional"
#: Names that errors have for the two forms of `standardize`.
CONSTANTS, LEARNT = "constants", "learnt"
_MAX_RANGE_COLUMNS = 10_000
MAX_COLUMNS = 100_000


def optional(default: Any, **rules: Any) -> Any:
    """Return a key that a schema may leave out, and that its document then leaves out too."""
    return Field(default=default, json_schema_extra={_OPTIONAL: True}, **rules)


def _to_text(value: Any) -> Any:
    """Return a plain word, whole number or truth value of YAML as the log writes it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) or value is None:
        raise ValueError(f"YAML reads this as {value}; put the log's text between quotes")
    return str(value) if isinstance(value, int) else value


#: A value as the log writes it.
Text = Annotated[str, BeforeValidator(_to_text)]


class Strict(BaseModel):
    """A part of a schema: it takes its own keys only, and never changes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    def document(self) -> dict[str, Any]:
        """Return the part as plain data, which `model_validate` reads back."""
        document = {}
        for name, info in type(self).model_fields.items():
            value, extra = getattr(self, name), info.json_schema_extra
            if not (isinstance(extra, dict) and _OPTIONAL in extra and value == info.default):
                document[name] = _to_plain(value)
        return document


def _to_plain(value: Any) -> Any:
    if isinstance(value, Strict):
        return value.document()
    return [_to_plain(item) for item in value] if isinstance(value, tuple) else value


class ListText(Strict):
    """How a list is written in text: its separator, and whether it stands in `[` and `]`."""

    separator: str = Field(default=",", min_length=1, max_length=1)
    brackets: bool = optional(False)


class ListShape(ListText):
    """How a multi-valued column is written in text, and how many of its last values are kept."""

    max_length: int | None = Field(default=None, ge=1)


class VectorShape(ListText):
    """How many numbers a vector has, and how it is written in text."""

    size: int = Field(ge=1, le=65536)


class Moments(Strict):
    """The mean and the standard deviation that numbers are standardised by."""

    mean: float = Field(allow_inf_nan=False)
    std: float = Field(gt=0, allow_inf_nan=False)


def _tag_standardize(value: Any) -> str:
    return LEARNT if value is True else CONSTANTS


#: How a column is standardised: by constants, or by those that are learnt from the train rows.
Standardize = Annotated[
    Annotated[Moments, Tag(CONSTANTS)] | Annotated[Literal[True], Tag(LEARNT)],
    Discriminator(_tag_standardize),
]


class History(Strict):
    """A list of the last `length` values of the column `of` in earlier rows of one value of `by`.

    Rows are in the order of their times, and at one time in that of the log.
    """

    of: str
    by: str
    length: int = Field(ge=1, le=65536)


def complete_histories(columns: list[Any]) -> list[Any]:
    """Return columns of which each with a `history` has the table and encoding of its values."""
    named: dict[str, Any] = {}
    for column in columns:
        if isinstance(column, dict) and isinstance(column.get("name"), str):
            named.setdefault(column["name"], column)
    completed = []
    for column in columns:
        history = column.get("history") if isinstance(column, dict) else None
        name = history.get("of") if isinstance(history, dict) else None
        of = named.get(name) if isinstance(name, str) else None
        if of is not None:
            same = {key: of[key] for key in ("encoding", "digits", "dim") if key in of}
            table = of.get("table") or of["name"]
            column = {**same, "table": table, **column}
            column["multi"] = column.get("multi") or {}
        completed.append(column)
    return completed


def find_repeated(names: Sequence[str]) -> list[str]:
    """Return the names that occur more than once, sorted."""
    return sorted(name for name, count in Counter(names).items() if count > 1)


def expand_ranges(columns: list[Any]) -> list[Any]:
    """Return the columns with one for each name of a range; raises ValueError for too many."""
    singles = chain.from_iterable(map(expand_range, columns))
    expanded = list(islice(singles, MAX_COLUMNS + 1))
    if len(expanded) > MAX_COLUMNS:
        raise ValueError(f"more than {MAX_COLUMNS:,} columns")
    return expanded


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
