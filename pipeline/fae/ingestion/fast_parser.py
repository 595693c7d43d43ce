"""Plain lines into typed columns, in one compiled pass over their bytes.

A line is plain where every field is written in the one obvious way: a label of 0 or 1, numbers of
at most 15 digits, integers of at most 18, hexadecimal digits, text without quotes. That is nearly
every line of a log. What the others mean is for `parsing.py` to say.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from fae.arrays.arrow import to_arrow
from fae.arrays.jit import kernel, kernel_helper
from fae.logs.blocks import Text
from fae.logs.schema import Column, DenseColumn, Schema, SparseColumn, TimeColumn

#: How a field is read.
_DROP, _LABEL, _DENSE, _HEX32, _HEX64, _INTEGER, _TEXT = range(7)
_NEWLINE, _RETURN, _MINUS, _POINT = 10, 13, 45, 46
#: A float64 holds a number of so many digits, and so large a power of ten, exactly.
_DIGITS = 15
_INTEGER_DIGITS = 18
_OF_NUMBERS = b"0123456789abcdefABCDEF-."
_NOT_ASCII = 128

_TENS = np.array([10.0**power for power in range(_DIGITS + 1)])
#: log(x + 1) of the small integers that counts nearly always are.
_LOG1P = np.array([math.log1p(x) for x in range(1 << 12)], dtype=np.float32)
_NO_DIGIT = 255
_HEX_DIGITS = np.full(256, _NO_DIGIT, dtype=np.uint8)
for _value, _digit in enumerate("0123456789abcdef"):
    _HEX_DIGITS[ord(_digit)] = _HEX_DIGITS[ord(_digit.upper())] = _value

LineNumbers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Plain:
    """What the plain lines of a text hold, in their order.

    `columns` has the fields by name. Those of `typed` are as the schema wants them: label int8,
    dense float32 and transformed, hex uint32 or uint64, integer and unix time int64; null is
    missing. The others are text. `odd` are the numbers, from 0, of the lines that are not plain;
    line i lies at `starts[i]` to `starts[i + 1]`.
    """

    columns: pl.DataFrame
    typed: frozenset[str]
    odd: LineNumbers
    starts: LineNumbers


def parse_plain_lines(data: Text, fields: tuple[str, ...], schema: Schema) -> Plain:
    """The plain lines of `data`, whose fields are the columns `fields` in that order.

    Each line, the last one too, must end in a line break.
    """
    text = np.frombuffer(data, dtype=np.uint8)
    lines = _count(text, _NEWLINE)
    by_name = {column.name: column for column in schema.fields}
    columns = [by_name.get(name) for name in fields]
    kinds = np.array([_kind(column) for column in columns], dtype=np.int64)
    if schema.separator.encode() in _OF_NUMBERS or (schema.quote or "\n").encode() in _OF_NUMBERS:
        kinds[:] = -1  # nothing is plain
    size = lines + 48 - lines % 32  # columns begin in different sets of the cache
    labels = np.empty((1, size), dtype=np.int8)
    dense = _room(kinds, _DENSE, size, np.float32)
    hex32 = _room(kinds, _HEX32, size, np.uint32)
    hex64 = _room(kinds, _HEX64, size, np.uint64)
    integers = _room(kinds, _INTEGER, size, np.int64)
    begins = _room(kinds, _TEXT, size, np.int64)
    lengths = np.empty_like(begins)
    given = np.empty((len(fields), size), dtype=np.bool_)
    places = np.array([np.count_nonzero(kinds[:f] == kinds[f]) for f in range(len(fields))])
    starts = np.empty(lines + 1, dtype=np.int64)
    odd = np.empty(lines, dtype=np.int64)
    rows = _tokenize(
        text, ord(schema.separator), ord(schema.quote or "\n"), kinds, places,
        np.array([_digits(column) for column in columns]),
        np.array([column.missing if isinstance(column, DenseColumn) else 0 for column in columns]),
        np.array([getattr(column, "transform", "") == "log1p" for column in columns]),
        _LOG1P, _TENS, _HEX_DIGITS,
        labels, dense, hex32, hex64, integers, begins, lengths, given, starts, odd,
    )  # fmt: skip
    values = {_LABEL: labels, _DENSE: dense, _HEX32: hex32, _HEX64: hex64, _INTEGER: integers}
    made: dict[str, Any] = {}
    for f, (name, kind, place) in enumerate(zip(fields, kinds.tolist(), places, strict=True)):
        if kind == _TEXT:
            made[name] = _texts(text, begins[place, :rows], lengths[place, :rows])
        elif kind in (_LABEL, _DENSE):
            made[name] = values[kind][place, :rows]
        elif kind in values:
            made[name] = to_arrow(values[kind][place, :rows], given[f, :rows])
    final = frozenset(name for name, kind in zip(fields, kinds, strict=True) if kind != _TEXT)
    return Plain(pl.DataFrame(made), final, odd[: lines - rows], starts)


def _kind(column: Column | None) -> int:
    if column is None or column.role == "drop":
        return _DROP
    if isinstance(column, TimeColumn):
        return _INTEGER if column.format == "unix" else _TEXT
    if isinstance(column, SparseColumn):
        if column.multi is not None or column.encoding == "string":
            return _TEXT
        if column.encoding == "hex":
            return _HEX32 if (column.digits or 16) <= 8 else _HEX64
        return _INTEGER
    return _DENSE if isinstance(column, DenseColumn) else _LABEL


def _digits(column: Column | None) -> int:
    """How many digits a hexadecimal value has, 0 where that is free; a time has one at least."""
    if isinstance(column, SparseColumn):
        return column.digits or 0
    return 1 if isinstance(column, TimeColumn) else 0


def _room(kinds: LineNumbers, kind: int, size: int, dtype: Any) -> npt.NDArray[Any]:
    return np.empty((np.count_nonzero(kinds == kind), size), dtype=dtype)


def _texts(text: npt.NDArray[np.uint8], begins: LineNumbers, lengths: LineNumbers) -> pa.Array:
    """Pieces of `text`, as UTF-8; ArrowInvalid where one is none."""
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    joined = np.empty(int(offsets[-1]), dtype=np.uint8)
    _join(text, begins, offsets, joined)
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(joined)]
    pieces = pa.LargeStringArray.from_buffers(lengths.size, *buffers[1:])
    pieces.validate(full=True)
    return pieces


@kernel
def _count(text: npt.NDArray[np.uint8], byte: int) -> int:
    count = 0
    for one in text:
        count += one == byte
    return count


@kernel
def _join(
    text: npt.NDArray[np.uint8],
    begins: LineNumbers,
    offsets: LineNumbers,
    joined: npt.NDArray[np.uint8],
) -> None:
    for one in range(begins.size):
        for at in range(offsets[one + 1] - offsets[one]):
            joined[offsets[one] + at] = text[begins[one] + at]


@kernel_helper
def _decimal(text: npt.NDArray[np.uint8], at: int, before: int) -> tuple[int, int]:
    """What the decimal digits from `at` on make of `before`, and where they end."""
    while 48 <= text[at] <= 57:
        before = before * 10 + (text[at] - 48)
        at += 1
    return before, at


@kernel
def _tokenize(
    text: npt.NDArray[np.uint8],
    separator: int,
    quote: int,
    kinds: LineNumbers,
    places: LineNumbers,
    digits: LineNumbers,
    missing: npt.NDArray[np.float64],
    logarithmic: npt.NDArray[np.bool_],
    log1p: npt.NDArray[np.float32],
    tens: npt.NDArray[np.float64],
    hex_digits: npt.NDArray[np.uint8],
    labels: npt.NDArray[np.int8],
    dense: npt.NDArray[np.float32],
    hex32: npt.NDArray[np.uint32],
    hex64: npt.NDArray[np.uint64],
    integers: LineNumbers,
    begins: LineNumbers,
    lengths: LineNumbers,
    given: npt.NDArray[np.bool_],
    starts: LineNumbers,
    odd: LineNumbers,
) -> int:
    """Fill the columns from the plain lines; how many these are."""
    fields = kinds.size
    at = row = line = 0
    starts[0] = 0
    while at < text.size:
        plain = True
        for field in range(fields):
            kind, place = kinds[field], places[field]
            begin = at
            byte = text[at]
            if kind in (_HEX32, _HEX64):
                found = np.uint64(0)
                digit = hex_digits[byte]
                while digit != _NO_DIGIT:
                    found = found << np.uint64(4) | np.uint64(digit)
                    at += 1
                    digit = hex_digits[text[at]]
                count = at - begin
                if count != digits[field] and count > 0 and (digits[field] > 0 or count > 16):
                    plain = False
                given[field, row] = count > 0
                if kind == _HEX32:
                    hex32[place, row] = found
                else:
                    hex64[place, row] = found
            elif kind == _DENSE:
                negative = byte == _MINUS
                at += negative
                first = at
                whole, at = _decimal(text, at, 0)
                count = at - first
                number = float(whole)
                if count == 0:
                    plain = plain and not negative
                    number = missing[field]
                    whole = -1
                if text[at] == _POINT:
                    at += 1
                    first = at
                    plain = plain and count > 0
                    whole, at = _decimal(text, at, whole)
                    fraction = at - first
                    plain = plain and fraction > 0
                    count += fraction
                    number = whole / tens[min(fraction, _DIGITS)]
                    whole = -1
                if count > _DIGITS or (negative and number == 0):
                    plain = False
                if negative:
                    number = -number
                    whole = -1
                if not logarithmic[field]:
                    dense[place, row] = number
                elif 0 <= whole < log1p.size:
                    dense[place, row] = log1p[whole]
                else:
                    dense[place, row] = math.log1p(max(number, 0.0))
            elif kind == _INTEGER:
                negative = byte == _MINUS
                at += negative
                first = at
                whole, at = _decimal(text, at, 0)
                count = at - first
                if count > _INTEGER_DIGITS or count < max(digits[field], int(negative)):
                    plain = False
                given[field, row] = count > 0
                integers[place, row] = -whole if negative else whole
            elif kind == _LABEL:
                at += 48 <= byte <= 49
                plain = plain and at > begin
                labels[0, row] = byte - 48
            elif kind in (_TEXT, _DROP):
                while byte != separator and byte != _NEWLINE:
                    if byte == quote or byte == 0 or (kind == _DROP and byte >= _NOT_ASCII):
                        plain = False
                    at += 1
                    byte = text[at]
                if kind == _TEXT:
                    end = at - (at > begin and byte == _NEWLINE and text[at - 1] == _RETURN)
                    begins[place, row] = begin
                    lengths[place, row] = end - begin
            else:
                plain = False
            if not plain:
                break
            if field < fields - 1:
                plain = text[at] == separator
                at += 1
                if not plain:
                    at -= 1
                    break
        if plain:
            at += text[at] == _RETURN
            plain = text[at] == _NEWLINE
        while text[at] != _NEWLINE:
            at += 1
        at += 1
        if plain and fields == 1 and at - starts[line] == 1:
            plain = False  # an empty line
        if plain:
            row += 1
        else:
            odd[line - row] = line
        line += 1
        starts[line] = at
    return row
