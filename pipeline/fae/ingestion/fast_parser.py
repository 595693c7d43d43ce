"""Parse the plain lines of a text into typed columns, in one compiled pass over their bytes.

A line is plain where every field is written in the one obvious way: a label of 0 or 1, a decimal
number of at most 15 digits, an integer of at most 18, hexadecimal digits, text without quotes.
Nearly every line of a log is plain. The kernel returns the numbers of the others, the odd lines,
for `parser.py` to parse. It may give a line up at the slightest doubt, but it must never read one
in another way than `parser.py` would.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from fae.arrays.arrow import BoolArray, Int64Array, to_arrow
from fae.arrays.jit import kernel, kernel_helper
from fae.ingestion.cast.times import MAX_SECONDS
from fae.logs.blocks import Text
from fae.logs.columns import Column, DenseColumn, SparseColumn, TimeColumn
from fae.logs.schema import Schema

#: How the kernel reads a field. A field that is never plain makes every line odd.
_NEVER_PLAIN = -1
_DROP, LABEL, DENSE, HEX32, HEX64, INTEGER, TEXT = range(7)

_NEWLINE, _RETURN, _MINUS, _POINT, _ZERO, _NINE = b"\n\r-.09"
_MAX_ASCII, _MAX_BYTE = 127, 255
_CHARACTERS_IN_NUMBERS = set("0123456789abcdefABCDEF-.")

#: Integers of 15 digits are below 2^53, so float64 holds them exactly; those of 18 fit in int64.
MAX_DECIMAL_DIGITS, MAX_INTEGER_DIGITS, MAX_HEX_DIGITS = 15, 18, 16
POWERS_OF_TEN = np.array([10.0**power for power in range(MAX_DECIMAL_DIGITS + 1)])
#: log(x + 1) of the small integers that counts nearly always are.
LOG1P_TABLE = np.array([math.log1p(x) for x in range(1 << 12)], dtype=np.float32)
#: The value of each byte as a hexadecimal digit.
NO_DIGIT = 255
HEX_VALUES = np.full(256, NO_DIGIT, dtype=np.uint8)
for _value, _digit in enumerate("0123456789abcdef"):
    HEX_VALUES[ord(_digit)] = HEX_VALUES[ord(_digit.upper())] = _value

Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class PlainLines:
    """What the plain lines of a text hold, in their order, and where its odd lines are.

    `columns` has the fields by name. Those of `typed` are as the schema wants them: label int8,
    dense float32 and transformed, hex uint32 or uint64, integer and unix time int64; null is
    missing. The others are text. `odd_lines` are the numbers, from 0, of the lines that are not
    plain. Line i lies at bytes `line_starts[i]` to `line_starts[i + 1]`.
    """

    columns: pl.DataFrame
    typed: frozenset[str]
    odd_lines: Int64Array
    line_starts: Int64Array


def parse_plain_lines(data: Text, fields: tuple[str, ...], schema: Schema) -> PlainLines:
    """Parse the plain lines of `data`, whose fields are the columns `fields` in that order.

    Each line, the last one too, must end in a line break. Raises pyarrow.ArrowInvalid where the
    text of a plain line is not UTF-8.
    """
    text = np.frombuffer(data, dtype=np.uint8)
    lines = _count_lines(text)
    columns = [schema.plain_columns.get(name) for name in fields]
    kinds = np.array([choose_kind(column) for column in columns], dtype=np.int64)
    kinds[[name in schema.raw_fields for name in fields]] = TEXT
    if {schema.separator, schema.quote} & _CHARACTERS_IN_NUMBERS:
        kinds[:] = _NEVER_PLAIN  # the kernel could not tell where a number ends

    # The columns of a kind are the rows of one array; `slots` has each field's row. An odd multiple
    # of 16 as their length keeps them from competing for the same sets of the CPU's caches.
    slots = np.array([np.count_nonzero(kinds[:f] == kinds[f]) for f in range(len(fields))])
    size = lines + 48 - lines % 32
    labels = np.empty((1, size), dtype=np.int8)
    dense = _allocate(kinds, DENSE, size, np.float32)
    hex32 = _allocate(kinds, HEX32, size, np.uint32)
    hex64 = _allocate(kinds, HEX64, size, np.uint64)
    integers = _allocate(kinds, INTEGER, size, np.int64)
    text_starts = _allocate(kinds, TEXT, size, np.int64)
    text_lengths = np.empty_like(text_starts)
    present = np.empty((len(fields), size), dtype=np.bool_)
    line_starts = np.empty(lines + 1, dtype=np.int64)
    odd_lines = np.empty(lines, dtype=np.int64)
    rows = _parse_lines(
        text, ord(schema.separator), ord(schema.quote or "\n"), kinds, slots,
        np.array([count_required_digits(column) for column in columns]),
        np.array([limit_integer(column) for column in columns]),
        np.array([column.missing if isinstance(column, DenseColumn) else 0 for column in columns]),
        np.array([getattr(column, "transform", "") == "log1p" for column in columns]),
        labels, dense, hex32, hex64, integers, text_starts, text_lengths, present,
        line_starts, odd_lines,
    )  # fmt: skip
    values = {LABEL: labels, DENSE: dense, HEX32: hex32, HEX64: hex64, INTEGER: integers}
    arrays: dict[str, Any] = {}
    for f, (name, kind, slot) in enumerate(zip(fields, kinds.tolist(), slots, strict=True)):
        if kind == TEXT:
            arrays[name] = _copy_texts(text, text_starts[slot, :rows], text_lengths[slot, :rows])
        elif kind in (LABEL, DENSE):
            arrays[name] = values[kind][slot, :rows]
        elif kind in values:
            arrays[name] = to_arrow(values[kind][slot, :rows], present[f, :rows])
    typed = frozenset(name for name, kind in zip(fields, kinds, strict=True) if kind != TEXT)
    return PlainLines(pl.DataFrame(arrays), typed, odd_lines[: lines - rows], line_starts)


def choose_kind(column: Column | None) -> int:
    """Return how the compiled parsers read the fields of a column."""
    if column is None or column.role == "drop":
        return _DROP
    if isinstance(column, TimeColumn):
        return INTEGER if column.format == "unix" else TEXT
    if isinstance(column, SparseColumn):
        if column.multi is not None or column.encoding == "string":
            return TEXT
        if column.encoding == "hex":
            return HEX32 if (column.digits or MAX_HEX_DIGITS) <= 8 else HEX64
        return INTEGER
    return DENSE if isinstance(column, DenseColumn) else LABEL


def count_required_digits(column: Column | None) -> int:
    """Return the number of a hexadecimal value's digits, 0 for any; 1 for a time, never missing."""
    if isinstance(column, SparseColumn):
        return column.digits or 0
    return 1 if isinstance(column, TimeColumn) else 0


def limit_integer(column: Column | None) -> int:
    """Return what the absolute value of a plain integer is below."""
    return MAX_SECONDS if isinstance(column, TimeColumn) else 10**MAX_INTEGER_DIGITS


def _allocate(kinds: Int64Array, kind: int, size: int, dtype: Any) -> npt.NDArray[Any]:
    """Return an uninitialised array, shape (fields of `kind`, size)."""
    return np.empty((np.count_nonzero(kinds == kind), size), dtype=dtype)


def _copy_texts(text: Bytes, starts: Int64Array, lengths: Int64Array) -> pa.Array:
    """Return pieces of `text` as strings; raises pyarrow.ArrowInvalid where one is not UTF-8."""
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    joined = np.empty(int(offsets[-1]), dtype=np.uint8)
    _join_pieces(text, starts, offsets, joined)
    buffers = (pa.py_buffer(offsets), pa.py_buffer(joined))
    strings = pa.LargeStringArray.from_buffers(lengths.size, *buffers)
    strings.validate(full=True)
    return strings


@kernel
def _count_lines(text: Bytes) -> int:
    lines = 0
    for byte in text:
        lines += byte == _NEWLINE
    return lines


@kernel
def _join_pieces(text: Bytes, starts: Int64Array, offsets: Int64Array, joined: Bytes) -> None:
    for piece in range(starts.size):
        for i in range(offsets[piece + 1] - offsets[piece]):
            joined[offsets[piece] + i] = text[starts[piece] + i]


# The kernel never looks past the end of the text: it ends in a line break, which stops every loop
# below, and the byte after any other byte is still in the text. Numbers of too many digits overflow
# silently; as their line is odd, nothing uses them.


@kernel
def _parse_lines(
    text: Bytes, separator: int, quote: int, kinds: Int64Array, slots: Int64Array,
    required_digits: Int64Array, limits: Int64Array,
    missing: npt.NDArray[np.float64], takes_log: BoolArray,
    labels: npt.NDArray[np.int8], dense: npt.NDArray[np.float32],
    hex32: npt.NDArray[np.uint32], hex64: npt.NDArray[np.uint64], integers: Int64Array,
    text_starts: Int64Array, text_lengths: Int64Array, present: BoolArray,
    line_starts: Int64Array, odd_lines: Int64Array,
) -> int:  # fmt: skip
    """Fill the columns from the plain lines, and return the number of these.

    `at` is the position of the next byte. A line's values go to row `row` of the columns. `row`
    moves on only where the whole line was plain, so the next line overwrites what an odd line left.
    """
    fields = kinds.size
    at = row = line = 0
    line_starts[0] = 0
    while at < text.size:
        plain = True
        for field in range(fields):
            kind, slot = kinds[field], slots[field]
            start = at
            if kind in (HEX32, HEX64):
                number, at = _parse_hex(text, at)
                digits, required = at - start, required_digits[field]
                fits = digits == required if required else digits <= MAX_HEX_DIGITS
                plain = digits == 0 or fits
                present[field, row] = digits > 0
                if kind == HEX32:
                    hex32[slot, row] = number
                else:
                    hex64[slot, row] = number
            elif kind == DENSE:
                # The quotient of two numbers that float64 holds exactly is the float64 nearest to
                # the decimal number, as every correct parser gives it (Clinger, "How to read
                # floating point numbers accurately", 1990). Written out here, because a function
                # that returns so many values takes half as long again.
                negative = text[at] == _MINUS
                first = at + negative
                whole, at = _parse_digits(text, first, 0)
                digits = at - first
                decimal = float(whole)
                count = -1 if negative else whole  # -1 where it has a sign or a fraction
                if digits == 0:
                    plain = not negative
                    decimal = missing[field]
                    count = -1
                if text[at] == _POINT:
                    first = at + 1
                    whole, at = _parse_digits(text, first, whole)
                    decimals = at - first
                    plain = digits > 0 and decimals > 0  # parsers disagree on "5." and ".5"
                    digits += decimals
                    decimal = whole / POWERS_OF_TEN[min(decimals, MAX_DECIMAL_DIGITS)]
                    count = -1
                if digits > MAX_DECIMAL_DIGITS or (negative and decimal == 0):
                    plain = False  # as float64 might round it; and "-0", for the sake of its sign
                if negative:
                    decimal = -decimal
                if not takes_log[field]:
                    dense[slot, row] = decimal
                elif 0 <= count < LOG1P_TABLE.size:
                    dense[slot, row] = LOG1P_TABLE[count]
                else:
                    dense[slot, row] = math.log1p(max(decimal, 0.0))
            elif kind == INTEGER:
                negative = text[at] == _MINUS
                first = at + negative
                whole, at = _parse_digits(text, first, 0)
                least = max(required_digits[field], int(negative))  # a lone "-" is odd
                plain = least <= at - first <= MAX_INTEGER_DIGITS and whole < limits[field]
                present[field, row] = at > first
                integers[slot, row] = -whole if negative else whole
            elif kind == LABEL:
                at += _ZERO <= text[at] <= _ZERO + 1
                plain = at > start
                labels[0, row] = text[start] - _ZERO
            elif kind == TEXT:
                at, plain = _skip_text(text, at, separator, quote, _MAX_BYTE)
                # A carriage return before the line break belongs to the line's end.
                carriage = at > start and text[at] == _NEWLINE and text[at - 1] == _RETURN
                text_starts[slot, row] = start
                text_lengths[slot, row] = at - carriage - start
            elif kind == _DROP:
                # Nothing checks later whether a dropped field is UTF-8, as ASCII is.
                at, plain = _skip_text(text, at, separator, quote, _MAX_ASCII)
            else:
                plain = False
            if not plain:
                break
            if field < fields - 1:
                if text[at] != separator:
                    plain = False
                    break
                at += 1
        if plain:
            at += text[at] == _RETURN
            plain = text[at] == _NEWLINE
        while text[at] != _NEWLINE:
            at += 1
        at += 1
        if plain:
            row += 1
        else:
            odd_lines[line - row] = line  # of the lines so far, `row` were plain
        line += 1
        line_starts[line] = at
    return row


@kernel_helper
def _parse_digits(text: Bytes, at: int, number: int) -> tuple[int, int]:
    """Append the decimal digits from `at` on to those of `number`; return it and where they end."""
    while _ZERO <= text[at] <= _NINE:
        number = number * 10 + (text[at] - _ZERO)
        at += 1
    return number, at


@kernel_helper
def _parse_hex(text: Bytes, at: int) -> tuple[Any, int]:
    """Return the number that the hexadecimal digits from `at` on make, and where they end."""
    number = np.uint64(0)
    digit = HEX_VALUES[text[at]]
    while digit != NO_DIGIT:
        number = number << np.uint64(4) | np.uint64(digit)
        at += 1
        digit = HEX_VALUES[text[at]]
    return number, at


@kernel_helper
def _skip_text(text: Bytes, at: int, separator: int, quote: int, max_byte: int) -> tuple[int, bool]:
    """Return where the field at `at` ends, and whether its bytes are plain.

    They are not where one is a quote, NUL or more than `max_byte`.
    """
    plain = True
    byte = text[at]
    while byte != separator and byte != _NEWLINE:
        if byte == quote or byte == 0 or byte > max_byte:
            plain = False
        at += 1
        byte = text[at]
    return at, plain
