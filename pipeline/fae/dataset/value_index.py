"""An index of a vocabulary: the id of each staged value, found in one access to memory.

Both kinds are hash tables with open addressing, two thirds full: a slot is the next one after the
value's own that was free. They take 24 bytes for each value, and texts their bytes too.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from fae.arrays.arrow import Int64Array
from fae.arrays.jit import compile_cached, kernel, kernel_helper
from fae.format.manifest import OOV_ID
from fae.format.signals import signals_deferred

Bytes = npt.NDArray[np.uint8]
#: Two numbers for each slot: a value (or a text's hash), and its id (or the text's position). The
#: second is _FREE where nothing is in the slot.
Slots = npt.NDArray[np.int64]

_FREE = -1
_SLOTS_PER_VALUE = 1.5
#: 2^64 divided by the golden ratio, as a signed number: Fibonacci hashing (Knuth, TAOCP 3, 6.4).
_GOLDEN = np.int64(-7046029254386353131)


class ValueIndex(ABC):
    """The ids of a table's staged values; an unknown value has id 0, out of vocabulary."""

    def __init__(self, missing_id: int) -> None:
        """Take the id of the missing category."""
        self.missing_id = missing_id

    @staticmethod
    def build(values: pl.Series, ids: pl.Series) -> ValueIndex:
        """Return the index of distinct staged values, of which a null is the missing category."""
        is_missing = values.is_null()
        missing_id = ids.filter(is_missing).to_list()
        kind = _TextIndex if values.dtype == pl.String() else _NumberIndex
        known, their_ids = values.filter(~is_missing), ids.filter(~is_missing).cast(pl.Int64())
        return kind(known, their_ids.to_numpy(), missing_id[0] if missing_id else OOV_ID)

    def find(self, values: pl.Series) -> Int64Array:
        """Return the id of each staged value, shape (values,)."""
        values = values.rechunk() if values.n_chunks() > 1 else values
        ids = self._find_present(values)
        if values.null_count():
            validity, first = values.to_arrow().buffers()[0], values.to_arrow().offset
            bits = np.frombuffer(validity, dtype=np.uint8)
            valid = np.unpackbits(bits, bitorder="little", count=first + len(values))[first:]
            ids[valid == 0] = self.missing_id
        return ids

    @abstractmethod
    def _find_present(self, values: pl.Series) -> Int64Array:
        """Return the id of each value that is not null, and anything for the others."""

    @abstractmethod
    def find_one(self, value: Any) -> int:
        """Return the id of one staged value that is not null."""


class _NumberIndex(ValueIndex):
    def __init__(self, values: pl.Series, ids: Int64Array, missing_id: int) -> None:
        super().__init__(missing_id)
        values = values.rechunk()
        self._slots = _allocate(len(values))
        _put_numbers(self._slots, _to_bits(values), ids)
        with signals_deferred():
            self.find_one(0)

    def _find_present(self, values: pl.Series) -> Int64Array:
        ids = np.empty(len(values), dtype=np.int64)
        _find_numbers(self._slots, _to_bits(values), ids)
        return ids

    def find_one(self, value: Any) -> int:
        return int(_find_number(self._slots, value if value < 2**63 else value - 2**64))


class _TextIndex(ValueIndex):
    def __init__(self, values: pl.Series, ids: Int64Array, missing_id: int) -> None:
        super().__init__(missing_id)
        self._offsets, self._text = _to_bytes(values)
        self._ids = np.append(ids, OOV_ID)  # the last one is that of the position _FREE
        self._slots = _allocate(len(values))
        _put_texts(self._slots, self._offsets, self._text)
        with signals_deferred():
            self.find_one("-")

    def _find_present(self, values: pl.Series) -> Int64Array:
        positions = np.empty(len(values), dtype=np.int64)
        _find_texts(self._slots, self._offsets, self._text, *_to_bytes(values), positions)
        return self._ids[positions]

    def find_one(self, value: Any) -> int:
        text = np.frombuffer(value.encode(), dtype=np.uint8)
        position = _find_text(self._slots, self._offsets, self._text, text, 0, text.size)
        return int(self._ids[position])


def _allocate(values: int) -> Slots:
    """Return free slots for so many values."""
    slots = np.empty((int(values * _SLOTS_PER_VALUE) + 1, 2), dtype=np.int64)
    slots[:, 1] = _FREE
    return slots


def _to_bits(values: pl.Series) -> Int64Array:
    """Return each number as 64 bits; any bits for null."""
    array = values.to_arrow()
    dtype = np.dtype(array.type.to_pandas_dtype())
    content = array.buffers()[1] if len(array) else b""
    numbers = np.frombuffer(content, dtype, len(array), array.offset * dtype.itemsize)
    return numbers.view(np.int64) if dtype == np.uint64 else numbers.astype(np.int64, copy=False)


def _to_bytes(texts: pl.Series) -> tuple[Int64Array, Bytes]:
    """Return where each text begins, and where the last one ends, in the bytes of all of them."""
    array = texts.rechunk().to_arrow(compat_level=pl.CompatLevel.oldest())
    _, offsets, content = array.buffers()
    if not len(array):
        return np.zeros(1, dtype=np.int64), np.empty(0, dtype=np.uint8)
    ends = np.frombuffer(offsets, np.int64, len(array) + 1, array.offset * 8)
    return ends, np.frombuffer(content or b"", dtype=np.uint8)


@kernel_helper
def _choose_slot(bits: int, slots: int) -> Any:
    """Return the first slot for a value, of at most 2^32."""
    spread = np.uint64(bits * _GOLDEN) >> np.uint64(32)
    return np.int64(spread * np.uint64(slots) >> np.uint64(32))


@kernel_helper
def _hash_text(text: Bytes, start: int, stop: int) -> Any:
    """Return a hash of the bytes: each is mixed in by FNV-1a, and all bits at the end."""
    bits = np.int64(-3750763034362895579)
    for i in range(start, stop):
        bits = (bits ^ np.int64(text[i])) * np.int64(1099511628211)
    return bits ^ np.int64(np.uint64(bits) >> np.uint64(32))


@kernel
def _put_numbers(slots: Slots, values: Int64Array, ids: Int64Array) -> None:
    for i in range(values.size):
        slot = _choose_slot(values[i], slots.shape[0])
        while slots[slot, 1] != _FREE:
            slot = (slot + 1) % slots.shape[0]
        slots[slot, 0], slots[slot, 1] = values[i], ids[i]


def _find_number_in(slots: Slots, value: int) -> int:
    slot = _choose_slot(value, slots.shape[0])
    while slots[slot, 1] != _FREE and slots[slot, 0] != value:
        slot = (slot + 1) % slots.shape[0]
    return slots[slot, 1] if slots[slot, 1] != _FREE else OOV_ID


@kernel
def _find_numbers(slots: Slots, values: Int64Array, ids: Int64Array) -> None:
    for i in range(values.size):
        ids[i] = _find_number_in(slots, values[i])


@kernel
def _put_texts(slots: Slots, offsets: Int64Array, text: Bytes) -> None:
    for i in range(offsets.size - 1):
        bits = _hash_text(text, offsets[i], offsets[i + 1])
        slot = _choose_slot(bits, slots.shape[0])
        while slots[slot, 1] != _FREE:
            slot = (slot + 1) % slots.shape[0]
        slots[slot, 0], slots[slot, 1] = bits, i


def _find_text_in(
    slots: Slots, offsets: Int64Array, known: Bytes, text: Bytes, start: int, stop: int
) -> Any:
    """Return the position of the known text that equals text[start:stop], or _FREE."""
    bits = _hash_text(text, start, stop)
    slot = _choose_slot(bits, slots.shape[0])
    while slots[slot, 1] != _FREE:
        position = slots[slot, 1]
        first = offsets[position]
        if slots[slot, 0] == bits and offsets[position + 1] - first == stop - start:
            same = True
            for i in range(stop - start):
                same &= known[first + i] == text[start + i]
            if same:
                return position
        slot = (slot + 1) % slots.shape[0]
    return _FREE


@kernel
def _find_texts(
    slots: Slots, known_offsets: Int64Array, known: Bytes,
    offsets: Int64Array, text: Bytes, positions: Int64Array,
) -> None:  # fmt: skip
    for i in range(positions.size):
        positions[i] = _find_text_in(slots, known_offsets, known, text, offsets[i], offsets[i + 1])


# A kernel that defers signals takes many times as long as one look-up. These return a number, and
# each index has called its own once, so no signal interrupts the compiler.
_find_number = compile_cached(kernel_helper(_find_number_in))
_find_text = compile_cached(kernel_helper(_find_text_in))
