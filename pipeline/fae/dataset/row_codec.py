"""Records: encoded rows as runs of 32-bit words, so that a shuffle moves each row as one piece.

A record has a word for each field: the label, a dense feature's bits, an id, or the number of a
list's ids. The ids of all of a record's lists follow one another in `lists`.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from fae.arrays.arrow import to_arrow, to_numpy
from fae.arrays.buffers import reuse_buffer
from fae.arrays.jit import kernel

_KEY, _WORDS, _LISTS = "key", "words", "lists"
#: So many records are turned into columns together; they fit in a near cache.
_TOGETHER = 64

Words = npt.NDArray[np.int32]
Order = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Columns:
    """Encoded rows column by column: `fields` (fields, rows), `lists` by the field of its lengths.

    A list column's ids stand row after row; its field counts each row's ids.
    """

    fields: Words
    lists: dict[int, Words]


@dataclass(frozen=True)
class Records:
    """Encoded rows: `keys` (rows,), `words` (rows, fields), `lists` the ids of their lists.

    Row i's lists lie at `starts[i]` to `starts[i + 1]` in `lists`, column after column. Words, and
    the fields that are made of them, lie in the thread's workspace.
    """

    keys: npt.NDArray[np.uint64]
    words: Words
    starts: Order
    lists: Words

    @classmethod
    def woven(cls, columns: Columns, keys: npt.NDArray[np.uint64], order: Order) -> Records:
        """The rows `order` of `columns`, with their keys."""
        rows, fields = order.size, columns.fields.shape[0]
        words = reuse_buffer("woven words", (rows, fields), np.int32)
        _weave(columns.fields, order, words)
        starts = np.zeros(rows + 1, dtype=np.int64)
        for field in columns.lists:
            starts[1:] += words[:, field]
        np.cumsum(starts, out=starts)
        lists = np.empty(int(starts[-1]), dtype=np.int32)
        place = starts[:-1].copy()
        for field, ids in columns.lists.items():
            lengths = columns.fields[field]
            begins = np.cumsum(lengths, dtype=np.int64) - lengths
            _copy(ids, begins[order], lengths[order], place, lists)
        return cls(keys[order], words, starts, lists)

    def columns(self, order: Order, list_fields: tuple[int, ...]) -> Columns:
        """The rows `order`, column by column; `list_fields` are the lists' lengths."""
        fields = reuse_buffer("fields", (self.words.shape[1], order.size), np.int32)
        _unweave(self.words, order, fields)
        place = self.starts[:-1][order]
        lists = {}
        for field in list_fields:
            lengths = fields[field]
            ids = np.empty(int(lengths.sum(dtype=np.int64)), dtype=np.int32)
            begins = np.cumsum(lengths, dtype=np.int64) - lengths
            _copy(self.lists, place, lengths, begins, ids)
            place += lengths
            lists[field] = ids
        return Columns(fields, lists)

    def batches(self, cuts: Order) -> list[pa.RecordBatch]:
        """The rows between each two of `cuts` as record batches."""
        width = 4 * self.words.shape[1]
        rows = pa.FixedSizeBinaryArray.from_buffers(
            pa.binary(width), len(self.keys), [None, pa.py_buffer(self.words)]
        )
        table = {_KEY: to_arrow(self.keys), _WORDS: rows}
        if self.lists.size:
            table[_LISTS] = pa.LargeListArray.from_arrays(
                to_arrow(self.starts), to_arrow(self.lists)
            )
        batch = pa.record_batch(table)
        return [batch.slice(start, stop - start) for start, stop in itertools.pairwise(cuts)]

    @staticmethod
    def keys_of(batch: pa.RecordBatch) -> npt.NDArray[np.uint64]:
        """The keys of a record batch."""
        return to_numpy(batch.column(_KEY))

    @classmethod
    def joined(cls, batches: list[pa.RecordBatch]) -> Records:
        """The rows of record batches, one after the other."""
        pieces = [_unpacked(batch) for batch in batches]
        keys, words, lengths, lists = zip(*pieces, strict=True)
        rows, fields = sum(map(len, words)), words[0].shape[1]
        joined = np.concatenate(words, out=reuse_buffer("joined words", (rows, fields), np.int32))
        starts = np.concatenate([[0], np.cumsum(np.concatenate(lengths))])
        return cls(np.concatenate(keys), joined, starts, np.concatenate(lists))


def _unpacked(batch: pa.RecordBatch) -> tuple[Any, ...]:
    """Keys, words, lengths of the lists and the lists of a batch."""
    rows = batch.column(_WORDS)
    width = rows.type.byte_width
    buffer, begin = rows.buffers()[1], rows.offset * width
    words = np.frombuffer(buffer, np.int32, len(rows) * width // 4, begin)
    lengths, lists = np.zeros(len(rows), dtype=np.int64), np.empty(0, dtype=np.int32)
    if _LISTS in batch.schema.names:
        column = batch.column(_LISTS)
        lengths, lists = np.diff(to_numpy(column.offsets)), to_numpy(column.flatten())
    return Records.keys_of(batch), words.reshape(len(rows), width // 4), lengths, lists


@kernel
def _weave(fields: Words, order: Order, words: Words) -> None:
    """Columns to records; each column is read in its own order, which is quicker."""
    width, place = fields.shape[0], np.empty_like(order)
    place[order] = np.arange(order.size)
    for row in range(order.size):
        to = place[row]
        for field in range(width):
            words[to, field] = fields[field, row]


@kernel
def _unweave(words: Words, order: Order, fields: Words) -> None:
    """Records to columns, some at a time, so that columns are written in runs."""
    width = fields.shape[0]
    some = np.empty((_TOGETHER, width), dtype=np.int32)
    for begin in range(0, order.size, _TOGETHER):
        count = min(_TOGETHER, order.size - begin)
        for row in range(count):
            at = order[begin + row]
            for field in range(width):
                some[row, field] = words[at, field]
        for field in range(width):
            for row in range(count):
                fields[field, begin + row] = some[row, field]


@kernel
def _copy(source: Words, begins: Order, lengths: Words, places: Order, target: Words) -> None:
    """Copy `lengths[i]` words from `begins[i]` to `places[i]`, and move the places on."""
    for one in range(lengths.size):
        for at in range(lengths[one]):
            target[places[one] + at] = source[begins[one] + at]
        places[one] += lengths[one]
