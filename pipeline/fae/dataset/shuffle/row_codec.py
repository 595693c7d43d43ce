"""The row codec: encoded rows packed into 32-bit words, so that a shuffle moves a row as one piece.

A packed row has a word for each field: a label, the bits of a float, an id, or the length of a list
of ids, or of a text's words. The ids of all lists of a row follow one another in a separate array.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from fae.arrays.arrow import to_arrow, to_numpy
from fae.arrays.buffers import reuse_buffer
from fae.arrays.jit import kernel

_KEY, _WORDS, _LISTS = "key", "words", "lists"
BYTES_PER_WORD = 4
#: Rows that are unpacked together, few enough for the nearest cache.
_ROWS_PER_BLOCK = 64

Words = npt.NDArray[np.int32]
#: Numbers of rows, or positions in the array of list ids.
Positions = npt.NDArray[np.int64]


#: Fills up the last word of a text; no byte of UTF-8 has this value.
_NO_TEXT = 0xFF


def pack_texts(texts: pa.LargeStringArray) -> tuple[Words, Words]:
    """Return the number of words of each text, shape (texts,), and the words of all texts."""
    _, offsets_buffer, content = texts.buffers()
    offsets = np.frombuffer(offsets_buffer, np.int64)[texts.offset : texts.offset + len(texts) + 1]
    sizes = np.diff(offsets)
    lengths = -(-sizes // BYTES_PER_WORD)
    octets = np.full(int(lengths.sum()) * BYTES_PER_WORD, _NO_TEXT, dtype=np.uint8)
    first = (np.cumsum(lengths) - lengths) * BYTES_PER_WORD  # byte of each text among the words
    targets = np.repeat(first - (offsets[:-1] - offsets[0]), sizes) + np.arange(sizes.sum())
    used = np.frombuffer(content or b"", np.uint8)[offsets[0] : offsets[-1]]
    octets[targets] = used
    return lengths.astype(np.int32), octets.view(np.int32)


def unpack_texts(lengths: Words, words: Words) -> pa.StringArray:
    """Return the texts that `pack_texts` made words of."""
    octets = np.ascontiguousarray(words).view(np.uint8)
    is_text = octets != _NO_TEXT
    ends = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]) * BYTES_PER_WORD
    offsets = np.concatenate([[0], np.cumsum(is_text)])[ends].astype(np.int32)
    buffers = (pa.py_buffer(offsets), pa.py_buffer(octets[is_text]))
    return pa.StringArray.from_buffers(lengths.size, *buffers)


@dataclass(frozen=True)
class Columns:
    """Encoded rows column by column: `fields` (fields, rows), and `lists` by their lengths' field.

    The ids of a list column, or the words of texts, follow one another row by row; its field has
    each row's length.
    """

    fields: Words
    lists: dict[int, Words]


@dataclass(frozen=True)
class PackedRows:
    """Encoded rows row by row: `keys` (rows,), `words` (rows, fields), and the ids of all `lists`.

    Row i's lists are `lists[starts[i]:starts[i + 1]]`, column after column. `words`, and the fields
    unpacked from it, are buffers that the thread's next call of the same function overwrites.
    """

    keys: npt.NDArray[np.uint64]
    words: Words
    starts: Positions
    lists: Words

    @classmethod
    def pack(cls, columns: Columns, keys: npt.NDArray[np.uint64], order: Positions) -> PackedRows:
        """Return the rows of `columns` in `order`, with their keys."""
        rows, fields = order.size, columns.fields.shape[0]
        words = reuse_buffer("packed words", (rows, fields), np.int32)
        _pack_words(columns.fields, order, words)
        starts = np.zeros(rows + 1, dtype=np.int64)
        for field in columns.lists:
            starts[1:] += words[:, field]
        np.cumsum(starts, out=starts)
        lists = np.empty(int(starts[-1]), dtype=np.int32)
        targets = starts[:-1].copy()
        for field, ids in columns.lists.items():
            lengths = columns.fields[field]
            sources = np.cumsum(lengths, dtype=np.int64) - lengths
            _copy_lists(ids, sources[order], lengths[order], targets, lists)
        return cls(keys[order], words, starts, lists)

    def unpack(self, order: Positions, list_fields: tuple[int, ...]) -> Columns:
        """Return the rows in `order`, column by column; `list_fields` have the lists' lengths."""
        fields = reuse_buffer("fields", (self.words.shape[1], order.size), np.int32)
        _unpack_words(self.words, order, fields)
        sources = self.starts[:-1][order]
        lists = {}
        for field in list_fields:
            lengths = fields[field]
            ids = np.empty(int(lengths.sum(dtype=np.int64)), dtype=np.int32)
            targets = np.cumsum(lengths, dtype=np.int64) - lengths
            _copy_lists(self.lists, sources, lengths, targets, ids)
            sources += lengths  # where the row's list of the next field begins
            lists[field] = ids
        return Columns(fields, lists)

    def take(self, order: Positions) -> PackedRows:
        """Return the rows in `order`."""
        words = reuse_buffer("packed words", self.words.shape, np.int32)
        np.take(self.words, order, axis=0, out=words, mode="clip")  # `raise` makes another copy
        lengths = np.diff(self.starts)[order].astype(np.int32)
        starts = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
        lists = np.empty(int(starts[-1]), dtype=np.int32)
        _copy_lists(self.lists, self.starts[:-1][order], lengths, starts[:-1].copy(), lists)
        return PackedRows(self.keys[order], words, starts, lists)

    def to_batches(self, bounds: Positions) -> list[pa.RecordBatch]:
        """Return a record batch of the rows between each two neighbours of `bounds`."""
        row_bytes = BYTES_PER_WORD * self.words.shape[1]
        dtype, buffers = pa.binary(row_bytes), [None, pa.py_buffer(self.words)]
        rows = pa.FixedSizeBinaryArray.from_buffers(dtype, len(self.keys), buffers)
        columns = {_KEY: to_arrow(self.keys), _WORDS: rows}
        if self.lists.size:
            starts, lists = to_arrow(self.starts), to_arrow(self.lists)
            columns[_LISTS] = pa.LargeListArray.from_arrays(starts, lists)
        batch = pa.record_batch(columns)
        return [batch.slice(start, stop - start) for start, stop in itertools.pairwise(bounds)]

    @classmethod
    def from_batch(cls, batch: pa.RecordBatch) -> PackedRows:
        """Return the rows of a record batch, in its memory."""
        rows = batch.column(_WORDS)
        shape = len(rows), rows.type.byte_width // BYTES_PER_WORD
        words = np.frombuffer(rows.buffers()[1], np.int32, shape[0] * shape[1])
        starts, lists = np.zeros(shape[0] + 1, dtype=np.int64), np.empty(0, dtype=np.int32)
        if _LISTS in batch.schema.names:
            column = batch.column(_LISTS)
            starts, lists = to_numpy(column.offsets), to_numpy(column.values)
        return cls(to_numpy(batch.column(_KEY)), words.reshape(shape), starts, lists)

    def slice(self, start: int, stop: int) -> PackedRows:
        """Return neighbouring rows, in the same memory."""
        keys, words = self.keys[start:stop], self.words[start:stop]
        return PackedRows(keys, words, self.starts[start : stop + 1], self.lists)

    @classmethod
    def concat(cls, pieces: Sequence[PackedRows]) -> PackedRows:
        """Return the rows of all pieces, one piece after the other."""
        keys = np.concatenate([piece.keys for piece in pieces])
        words = reuse_buffer("words of pieces", (keys.size, pieces[0].words.shape[1]), np.int32)
        np.concatenate([piece.words for piece in pieces], out=words)
        starts = np.zeros(keys.size + 1, dtype=np.int64)
        lengths = [piece.starts[1:] - piece.starts[:-1] for piece in pieces]
        np.cumsum(np.concatenate(lengths), out=starts[1:])
        lists = [piece.lists[piece.starts[0] : piece.starts[-1]] for piece in pieces]
        return cls(keys, words, starts, np.concatenate(lists))


@kernel
def _pack_words(fields: Words, order: Positions, words: Words) -> None:
    """Transpose columns to rows and permute them.

    Columns are read from first to last row, and each packed row is written at once: sequential
    reads of many columns and a random write of one row cost less than the other way round.
    """
    width, target = fields.shape[0], np.empty_like(order)
    target[order] = np.arange(order.size)
    for row in range(order.size):
        position = target[row]
        for field in range(width):
            words[position, field] = fields[field, row]


@kernel
def _unpack_words(words: Words, order: Positions, fields: Words) -> None:
    """Permute rows and transpose them to columns.

    A block of rows is gathered into a small array first, so that each column is then written in
    runs of a block rather than one value at a time.
    """
    width = fields.shape[0]
    block = np.empty((_ROWS_PER_BLOCK, width), dtype=np.int32)
    for begin in range(0, order.size, _ROWS_PER_BLOCK):
        count = min(_ROWS_PER_BLOCK, order.size - begin)
        for row in range(count):
            source = order[begin + row]
            for field in range(width):
                block[row, field] = words[source, field]
        for field in range(width):
            for row in range(count):
                fields[field, begin + row] = block[row, field]


@kernel
def _copy_lists(
    source: Words, sources: Positions, lengths: Words, targets: Positions, target: Words
) -> None:
    """Copy `lengths[i]` words from `sources[i]` to `targets[i]`, and advance `targets`."""
    for row in range(lengths.size):
        for i in range(lengths[row]):
            target[targets[row] + i] = source[sources[row] + i]
        targets[row] += lengths[row]
