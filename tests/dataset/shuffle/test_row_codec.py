"""The row codec: rows survive being packed, shuffled, written, read back and unpacked."""

from __future__ import annotations

from itertools import chain

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from fae.dataset.shuffle.row_codec import Columns, PackedRows

words = st.integers(-(2**31), 2**31 - 1)
lists = st.lists(words, max_size=4)
Row = tuple[int, list[int], int, list[int]]
row_lists = st.lists(st.tuples(words, lists, words, lists), min_size=1, max_size=30)


def to_columns(rows: list[Row]) -> Columns:
    """Return rows as columns: two fields, and two list columns with their lengths."""
    first, first_lists, second, second_lists = zip(*rows, strict=True)
    fields = [first, [*map(len, first_lists)], second, [*map(len, second_lists)]]
    ids = {1: chain(*first_lists), 3: chain(*second_lists)}
    return Columns(
        np.array(fields, dtype=np.int32),
        {field: np.array([*flat], dtype=np.int32) for field, flat in ids.items()},
    )


def to_rows(columns: Columns) -> list[Row]:
    """Return columns as rows, the inverse of `to_columns`."""
    lists = {
        field: np.split(ids, np.cumsum(columns.fields[field])[:-1])
        for field, ids in columns.lists.items()
    }
    return [
        (first, lists[1][row].tolist(), second, lists[3][row].tolist())
        for row, (first, _, second, _) in enumerate(columns.fields.T.tolist())
    ]


@given(rows=row_lists, seed=st.integers(0, 99), cuts=st.sets(st.integers(0, 30)))
def test_rows_come_back_in_the_order_of_their_keys(
    rows: list[Row], seed: int, cuts: set[int]
) -> None:
    rng = np.random.default_rng(seed)
    keys = rng.permutation(len(rows)).astype(np.uint64)
    packed = PackedRows.pack(to_columns(rows), keys, rng.permutation(len(rows)))
    bounds = np.array([0, *sorted(cut for cut in cuts if 0 < cut < len(rows)), len(rows)])
    batches = packed.to_batches(bounds)
    assert [batch.num_rows for batch in batches] == np.diff(bounds).tolist()
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, batches[0].schema) as writer:
        for batch in batches:
            writer.write_batch(batch)
    reader = pa.ipc.open_file(sink.getvalue())
    shuffled = [reader.get_batch(i) for i in rng.permutation(reader.num_record_batches)]
    read = PackedRows.concat([PackedRows.from_batch(batch) for batch in shuffled])
    unpacked = to_rows(read.unpack(np.argsort(read.keys), (1, 3)))
    assert unpacked == [rows[i] for i in np.argsort(keys).tolist()]
