"""Parse the plain texts of a table's columns into typed ones, in one compiled pass each.

A text is plain where `fast_parser.py` would call a field plain, and is read as the kernel there
reads it; `parser.py` parses the rows that hold any other.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from fae.arrays.arrow import BoolArray, Int64Array, to_arrow
from fae.arrays.jit import kernel
from fae.ingestion.fast_parser import (
    DENSE,
    HEX32,
    HEX64,
    HEX_VALUES,
    INTEGER,
    LABEL,
    LOG1P_TABLE,
    MAX_DECIMAL_DIGITS,
    MAX_HEX_DIGITS,
    MAX_INTEGER_DIGITS,
    NO_DIGIT,
    POWERS_OF_TEN,
    Bytes,
    choose_kind,
    count_required_digits,
    limit_integer,
)
from fae.logs.columns import Column, DenseColumn

#: A view of a text, as Arrow has it: its length, and in the rest of its bytes the text itself where
#: it has at most 12 bytes, else the number of the buffer that holds it and its position there.
_VIEW_BYTES, _MAX_INLINE_BYTES = 16, 12
_MINUS, _POINT, _ZERO = b"-.0"


def parse_plain_texts(texts: pl.Series, column: Column) -> tuple[pl.Series, BoolArray] | None:
    """Return the values of a column of texts, and which of its rows are not plain.

    The values are as `fast_parser.PlainLines` has them; where the row is not plain, they mean
    nothing. Return None for a column of a kind that is not parsed here, such as a list.
    """
    kind = choose_kind(column)
    if kind not in (LABEL, DENSE, HEX32, HEX64, INTEGER):
        return None
    odd, present = np.empty((2, len(texts)), dtype=np.bool_)
    located = _locate_texts(texts)
    required = count_required_digits(column)
    if kind in (HEX32, HEX64):
        numbers = np.empty(len(texts), dtype=np.uint32 if kind == HEX32 else np.uint64)
        _parse_hex_texts(*located, required, numbers, present, odd)
        return pl.Series(texts.name, to_arrow(numbers, present)), odd
    if kind == INTEGER:
        integers = np.empty(len(texts), dtype=np.int64)
        _parse_integer_texts(*located, required, limit_integer(column), integers, present, odd)
        return pl.Series(texts.name, to_arrow(integers, present)), odd
    if kind == DENSE:
        assert isinstance(column, DenseColumn)
        dense = np.empty(len(texts), dtype=np.float32)
        _parse_decimal_texts(*located, column.missing, column.transform == "log1p", dense, odd)
        return pl.Series(texts.name, dense), odd
    labels = np.empty(len(texts), dtype=np.int64)
    _parse_integer_texts(*located, 1, 2, labels, present, odd)
    return pl.Series(texts.name, labels.astype(np.int8)), odd


def _locate_texts(texts: pl.Series) -> tuple[Bytes, Int64Array, Int64Array]:
    """Return bytes that hold texts, where each text begins in them, and its length; 0 for null."""
    texts = texts.rechunk() if texts.n_chunks() > 1 else texts
    array = texts.to_arrow(compat_level=pl.CompatLevel.newest())
    validity, views, *buffers = array.buffers()
    words = np.frombuffer(views or b"", dtype=np.uint32).reshape(-1, _VIEW_BYTES // 4)
    words = words[array.offset : array.offset + len(texts)]
    pieces = [np.frombuffer(buffer, dtype=np.uint8) for buffer in buffers]
    data = words.view(np.uint8).ravel()
    if pieces:
        data = np.concatenate([data, *pieces])
    firsts = np.cumsum([words.nbytes, *(piece.size for piece in pieces)], dtype=np.int64)
    places, lengths = np.empty((2, len(texts)), dtype=np.int64)
    bits = np.frombuffer(validity or b"", dtype=np.uint8)
    _locate_views(words, firsts, bits, array.offset, places, lengths)
    return data, places, lengths


@kernel
def _locate_views(
    words: npt.NDArray[np.uint32], firsts: Int64Array, valid_bits: Bytes, first_bit: int,
    places: Int64Array, lengths: Int64Array,
) -> None:  # fmt: skip
    for row in range(lengths.size):
        bit = first_bit + row
        is_null = valid_bits.size > 0 and not valid_bits[bit >> 3] >> (bit & 7) & 1
        lengths[row] = 0 if is_null else words[row, 0]
        if lengths[row] <= _MAX_INLINE_BYTES:
            places[row] = row * _VIEW_BYTES + 4
        else:
            places[row] = firsts[words[row, 2]] + words[row, 3]


@kernel
def _parse_hex_texts(
    text: Bytes, places: Int64Array, lengths: Int64Array,
    required: int, numbers: npt.NDArray[Any], present: BoolArray, odd: BoolArray,
) -> None:  # fmt: skip
    for row in range(numbers.size):
        at, length = places[row], lengths[row]
        number = np.uint64(0)
        plain = length == required if required else length <= MAX_HEX_DIGITS
        if plain:
            for i in range(at, at + length):
                digit = HEX_VALUES[text[i]]
                plain &= digit != NO_DIGIT
                number = number << np.uint64(4) | np.uint64(digit)
        numbers[row] = number
        present[row] = length > 0
        odd[row] = length > 0 and not plain


@kernel
def _parse_integer_texts(
    text: Bytes, places: Int64Array, lengths: Int64Array,
    required: int, limit: int, integers: Int64Array, present: BoolArray, odd: BoolArray,
) -> None:  # fmt: skip
    for row in range(integers.size):
        at, length = places[row], lengths[row]
        negative = length > 0 and text[at] == _MINUS
        digits = length - negative
        plain = max(required, int(negative)) <= digits <= MAX_INTEGER_DIGITS
        number = np.int64(0)
        if plain:
            for i in range(at + negative, at + length):
                digit = text[i] - np.int64(_ZERO)
                plain &= 0 <= digit <= 9
                number = number * 10 + digit
        integers[row] = -number if negative else number
        present[row] = length > 0
        odd[row] = not plain or number >= limit


@kernel
def _parse_decimal_texts(
    text: Bytes, places: Int64Array, lengths: Int64Array,
    missing: float, takes_log: bool, dense: npt.NDArray[np.float32], odd: BoolArray,
) -> None:  # fmt: skip
    """Fill `dense` as `fast_parser.py` does, which says why the decimals are exact."""
    for row in range(dense.size):
        at, length = places[row], lengths[row]
        negative = length > 0 and text[at] == _MINUS
        plain = length <= MAX_DECIMAL_DIGITS + 2 and not (negative and length == 1)
        whole, point = np.int64(0), at + length
        if plain:
            for i in range(at + negative, at + length):
                digit = text[i] - np.int64(_ZERO)
                if 0 <= digit <= 9:
                    whole = whole * 10 + digit
                elif text[i] == _POINT and point == at + length:
                    point = i
                else:
                    plain = False
        decimals = max(at + length - point - 1, 0)
        digits = length - negative - (point < at + length)
        # Parsers disagree on "5." and ".5".
        plain &= point == at + length or (point > at + negative and decimals > 0)
        plain &= digits <= MAX_DECIMAL_DIGITS and not (negative and whole == 0)
        if length == 0:
            number = missing
        else:
            number = whole / POWERS_OF_TEN[min(decimals, MAX_DECIMAL_DIGITS)]
        if negative:
            number = -number
        if not takes_log:
            dense[row] = number
        elif length > 0 and decimals == 0 and not negative and whole < LOG1P_TABLE.size:
            dense[row] = LOG1P_TABLE[whole]
        else:
            dense[row] = math.log1p(max(number, 0.0))
        odd[row] = not plain
