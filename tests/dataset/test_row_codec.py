"""Rows survive being woven into records, shuffled, written, joined and taken apart."""

from __future__ import annotations

from itertools import chain

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from fae.dataset.row_codec import Columns, PackedRows

words = st.integers(-(2**31), 2**31 - 1)
lists = st.lists(words, max_size=4)
rows = st.lists(st.tuples(words, lists, words, lists), min_size=1, max_size=30)


def columns_of(given_rows: list[tuple[int, list[int], int, list[int]]]) -> Columns:
    first, some, second, others = zip(*given_rows, strict=True)
    fields = [first, [len(one) for one in some], second, [len(one) for one in others]]
    flat = {1: list(chain(*some)), 3: list(chain(*others))}
    return Columns(
        np.array(fields, dtype=np.int32),
        {field: np.array(ids, dtype=np.int32) for field, ids in flat.items()},
    )


def rows_of(columns: Columns) -> list[tuple[int, list[int], int, list[int]]]:
    stops = {field: np.cumsum(columns.fields[field]).tolist() for field in columns.lists}
    found = []
    for row, (first, some, second, others) in enumerate(columns.fields.T.tolist()):
        cells = {
            field: columns.lists[field][stops[field][row] - length : stops[field][row]].tolist()
            for field, length in ((1, some), (3, others))
        }
        found.append((first, cells[1], second, cells[3]))
    return found


@given(given_rows=rows, seed=st.integers(0, 99), cuts=st.sets(st.integers(0, 30)))
def test_rows_come_back_by_key(
    given_rows: list[tuple[int, list[int], int, list[int]]], seed: int, cuts: set[int]
) -> None:
    rng = np.random.default_rng(seed)
    count = len(given_rows)
    keys = rng.permutation(count).astype(np.uint64)
    order = rng.permutation(count)
    records = PackedRows.pack(columns_of(given_rows), keys, order)
    ends = np.array([0, *sorted(cut for cut in cuts if 0 < cut < count), count])
    batches = records.to_batches(ends)
    assert [batch.num_rows for batch in batches] == np.diff(ends).tolist()
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, batches[0].schema) as writer:
        for batch in batches:
            writer.write_batch(batch)
    reader = pa.ipc.open_file(sink.getvalue())
    read = [reader.get_batch(i) for i in rng.permutation(reader.num_record_batches)]
    joined = PackedRows.from_batches(read)
    found = rows_of(joined.unpack(np.argsort(joined.keys), (1, 3)))
    assert found == [given_rows[i] for i in np.argsort(keys).tolist()]
