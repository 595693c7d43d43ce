"""Guess what a column means, and how its values are written, from its name and first values."""

import re
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from fae.inference.sample import Value

_NULLS = ("\\N", "NA", "N/A", "NULL", "null", "None", "NaN", "nan", "-")
_INTEGER = re.compile(r"[+-]?\d{1,20}(\.0)?")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_HEX = re.compile(r"[0-9a-fA-F]+")
_ISO = re.compile(r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:?\d\d)?)?")
_TIME_FORMATS = (
    *("%Y%m%d", "%Y%m%d%H%M%S", "%y%m%d%H", "%Y/%m/%d %H:%M:%S", "%Y/%m/%d"),
    *("%m/%d/%Y %I:%M:%S %p", "%m/%d/%Y %H:%M:%S", "%m/%d/%Y", "%d.%m.%Y %H:%M:%S"),
)
_FIRST_YEAR, _LAST_YEAR = 1990, 2100
#: The seconds since 1970 of their beginnings.
_FIRST_SECOND, _LAST_SECOND = 631_152_000, 4_102_444_800
_UNITS = {"unix": 1, "unix_ms": 10**3, "unix_us": 10**6}
#: Within these, integers are taken for times whatever the name: the years 2000 to 2035.
_FIRST_LIKELY, _LAST_LIKELY = 946_684_800, 2_051_222_400
_TIME_NAME = re.compile(
    r"time|date|stamp|hour|epoch|unix|(^|_)(ts|when|ms|millis)(_|$)|^t$|_at$|^day$", re.I
)
_ID_NAME = re.compile(
    r"id$|user|item|ad$|ads|site|domain|device|model|ip$|os$|app|channel|categ|code|type|zip|brand|"
    r"shop|city|region|country|gender|seller|campaign|creative|slot|pos$|^c\d+$",
    re.I,
)
_COUNT_NAME = re.compile(r"count|cnt|num|price|amount|bid|age$|duration|length|size|^i\d+$", re.I)
_LIST_SEPARATORS = ("|", ";", ",", " ")
#: Integers of at most so many different values are categories, whatever their name.
_FEW_VALUES = 30
_FREE_TEXT_CHARACTERS = 40
_MAX_INT64, _MAX_HEX_DIGITS = 2**63 - 1, 1024


@dataclass(frozen=True)
class Guess:
    """A column of a schema, its values in the sample, and what is said of it.

    `doubt` is what the user should look at; `note` is what the sample shows.
    """

    column: dict[str, Any]
    values: tuple[Value, ...]
    doubt: str = ""
    note: str = ""

    @property
    def name(self) -> str:
        """The log's name of the column."""
        return str(self.column.get("field", self.column["name"]))

    def become(self, doubt: str = "", note: str = "", **keys: Any) -> "Guess":
        """Return a guess of the same column with other keys."""
        kept = ("name", "field", "nulls")
        named = {key: value for key, value in self.column.items() if key in kept}
        return replace(self, column={**named, **keys}, doubt=doubt, note=note)

    def list_texts(self) -> list[str]:
        """Return the values that are text and not missing."""
        nulls = self.column.get("nulls", ())
        return [value for value in self.values if isinstance(value, str) and value not in nulls]


def guess_column(names: dict[str, str], values: Sequence[Value]) -> Guess:
    """Guess a column from its name, or name and field, and its values; labels are for later."""
    guess = Guess(dict(names), tuple(values))
    lists = [value for value in values if isinstance(value, list)]
    if lists:
        return _guess_list(guess, [one for value in lists for one in value], {})
    guess = _find_nulls(guess)
    texts = guess.list_texts()
    time = _guess_time(guess, texts) if texts else None
    if time is not None:
        return time
    if len(set(texts)) + (len(texts) < len(values)) <= 1:  # a missing value is one of its own
        always = f"always {texts[0]!r}" if texts else "without a value"
        return guess.become(role="drop", note=f"{always} in the sample")
    return (
        _guess_hex(guess, texts)
        or _guess_integer(guess, texts)
        or _guess_number(guess, texts)
        or _guess_text_list(guess, texts)
        or _guess_text(guess, texts)
    )


def _find_nulls(guess: Guess) -> Guess:
    r"""Add the texts that stand for a missing value: `\N`, and others beside numbers or times."""
    texts = [value for value in guess.values if isinstance(value, str)]
    found = [null for null in _NULLS if null in set(texts)]
    others = [text for text in texts if text not in found]
    typed = others and all(_NUMBER.fullmatch(text) or _ISO.fullmatch(text) for text in others)
    nulls = found if typed else [null for null in found if null in ("\\N", "NULL")]
    return replace(guess, column={**guess.column, "nulls": nulls}) if nulls else guess


def _guess_time(guess: Guess, texts: list[str]) -> Guess | None:
    if all(_ISO.fullmatch(text) for text in texts):
        return guess.become(role="time", format="iso8601")
    is_named = bool(_TIME_NAME.search(guess.name))
    if not is_named and (_ID_NAME.search(guess.name) or len(set(texts)) <= _FEW_VALUES):
        return None
    if all(_NUMBER.fullmatch(text) for text in texts):
        first, last = (_FIRST_SECOND, _LAST_SECOND) if is_named else (_FIRST_LIKELY, _LAST_LIKELY)
        for unit, per_second in _UNITS.items():
            if all(first * per_second <= float(text) <= last * per_second for text in texts):
                doubt = "" if is_named else "taken for a time by its numbers alone"
                return guess.become(role="time", format=unit, doubt=doubt)
    if not is_named:
        return None
    for form in _TIME_FORMATS:
        if all(_is_time(text, form) for text in texts):
            doubt = "whether day or month comes first is a guess" if "%m/%d" in form else ""
            return guess.become(role="time", format=form, doubt=doubt)
    return None


def _is_time(text: str, form: str) -> bool:
    try:
        moment = datetime.strptime(text, form)
    except ValueError:
        return False
    return len(text) >= len("yymmddhh") and _FIRST_YEAR <= moment.year < _LAST_YEAR


def _guess_hex(guess: Guess, texts: list[str]) -> Guess | None:
    length = len(texts[0])
    uniform = all(len(text) == length and _HEX.fullmatch(text) for text in texts)
    if not uniform or not 6 <= length <= _MAX_HEX_DIGITS or all(text.isdigit() for text in texts):
        return None
    return _mark_unique(guess.become(role="sparse", encoding="hex", digits=length), texts)


def _guess_integer(guess: Guess, texts: list[str]) -> Guess | None:
    if not all(_INTEGER.fullmatch(text) for text in texts):
        return None
    numbers = [int(text.removesuffix(".0")) for text in texts]
    if max(numbers) > _MAX_INT64:
        return _mark_unique(guess.become(role="sparse", encoding="unsigned"), texts)
    sparse = guess.become(role="sparse", encoding="integer")
    if any(len(text) > 1 and text.lstrip("+-").startswith("0") for text in texts):
        return guess.become(role="sparse", note="text, as some numbers begin with 0")
    if _ID_NAME.search(guess.name):
        return _mark_unique(sparse, texts)
    transform = "log1p" if min(numbers) >= 0 else "none"
    dense = guess.become(role="dense", transform=transform, note=_describe(numbers))
    if _COUNT_NAME.search(guess.name):
        return dense
    doubt = (
        f"{len(set(numbers)):,} different integers; a category is `role: sparse`, a count `dense`"
    )
    if len(set(numbers)) <= _FEW_VALUES:
        return sparse
    return replace(dense if max(numbers) < 10**6 else sparse, doubt=doubt)


def _guess_number(guess: Guess, texts: list[str]) -> Guess | None:
    if not all(_NUMBER.fullmatch(text) for text in texts):
        return None
    numbers = [float(text) for text in texts]
    return guess.become(role="dense", transform="none", note=_describe(numbers))


def _describe(numbers: Sequence[float]) -> str:
    mean, std = statistics.fmean(numbers), statistics.pstdev(numbers)
    return f"from {min(numbers):g} to {max(numbers):g}, mean {mean:.4g}, std {std:.4g}"


def _guess_text_list(guess: Guess, texts: list[str]) -> Guess | None:
    bracketed = all(text.startswith("[") and text.endswith("]") for text in texts)
    if bracketed:
        elements = [part.strip(" '\"") for text in texts for part in text[1:-1].split(",")]
        return _guess_list(guess, [one for one in elements if one], {"brackets": True})
    for separator in _LIST_SEPARATORS:
        if sum(separator in text for text in texts) < len(texts) / 3:
            continue
        elements = [
            part for text in texts for part in text.removesuffix(separator).split(separator)
        ]
        plain = all(re.fullmatch(r"[\w.-]+", one) for one in elements)
        if plain and (separator != " " or any(one[-1:].isdigit() for one in elements)):
            return _guess_list(guess, elements, {"separator": separator})
    return None


def _guess_list(guess: Guess, elements: list[str], shape: dict[str, Any]) -> Guess:
    integers = bool(elements) and all(_INTEGER.fullmatch(one) for one in elements)
    encoding = {"encoding": "integer"} if integers else {}
    doubt = "taken for a list"
    if elements and not integers and all(_NUMBER.fullmatch(one) for one in elements):
        doubt = "a list of numbers; if all are as long, `role: dense` with `vector: {size: N}`"
    return guess.become(role="sparse", **encoding, multi=shape, doubt=doubt)


def _guess_text(guess: Guess, texts: list[str]) -> Guess:
    length = statistics.fmean(len(text) for text in texts)
    if length > _FREE_TEXT_CHARACTERS and len(set(texts)) > len(texts) / 2:
        return guess.become(role="drop", doubt="long texts that hardly repeat")
    return _mark_unique(guess.become(role="sparse"), texts)


def _mark_unique(guess: Guess, texts: list[str]) -> Guess:
    """Make a key of a column whose values never repeat: a row's id is no feature."""
    if len(texts) >= 20 and len(set(texts)) == len(guess.values):
        return guess.become(role="key", doubt="no value repeats in the sample; a category does")
    return guess
