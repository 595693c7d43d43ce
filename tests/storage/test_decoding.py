"""Row groups that decode to more than memory holds are refused before they are decoded."""

from __future__ import annotations

import threading
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fae.format.errors import LogError
from fae.logs.blocks import row_groups_held
from fae.logs.files import locate_log, open_parquet
from fae.storage import decoding

ROWS = 1000
REPEATED = pa.array([0] * ROWS, pa.int32())
TEXT = pa.DictionaryArray.from_arrays(REPEATED, pa.array(["x" * 1000]))
#: One text is long, and used once.
OUTLIER = pa.DictionaryArray.from_arrays(
    pa.array([1] + [0] * (ROWS - 1), pa.int32()), pa.array(["short", "x" * 1000])
)
LISTS = pa.ListArray.from_arrays(pa.array(range(0, ROWS + 1, 100), pa.int32()), TEXT)
NUMBERS = pa.ListArray.from_arrays(
    pa.array([0, ROWS // 2, ROWS], pa.int32()), pa.array([7] * ROWS, pa.int64())
)
NULLS = pa.DictionaryArray.from_arrays(pa.array([None] * ROWS, pa.int32()), pa.array(["x"]))


def check(path: Path, column: pa.Array, limit: int, rows_at_once: int = ROWS) -> None:
    """Check a log of one column, and another that is not read, in memory for `limit` bytes."""
    table = pa.table({"a.b": column, "unused": pa.array(["x" * 2000] * len(column))})
    pq.write_table(table, path / "log.parquet")
    log = locate_log(str(path / "log.parquet"))
    with pytest.MonkeyPatch.context() as patch, open_parquet(log) as file:
        stored = file.metadata.row_group(0).column(0)
        texts = stored.total_uncompressed_size if stored.physical_type == "BYTE_ARRAY" else 0
        patch.setattr(decoding, "read_most_memory", lambda: 4 * (limit + texts))
        with row_groups_held(log, file, [0], ["a.b"], rows_at_once):
            pass


@pytest.mark.parametrize(
    ("column", "size"),
    [
        pytest.param(TEXT, ROWS * 1008, id="a text that is repeated"),
        pytest.param(TEXT.cast(pa.binary()), ROWS * 1008, id="bytes that are repeated"),
        pytest.param(LISTS, ROWS * 1008, id="texts of lists"),
        pytest.param(OUTLIER, ROWS * 8 + 1000 + 5 * (ROWS - 1), id="one long text"),
        pytest.param(NUMBERS, ROWS * 8, id="lists of many numbers"),
        pytest.param(NULLS, ROWS * 8, id="no text at all"),
        pytest.param(pa.array([b"abc" * 10] * ROWS, pa.binary(30)), ROWS * 30, id="wide bytes"),
    ],
)
def test_decoded_bytes_are_counted(tmp_path: Path, column: pa.Array, size: int) -> None:
    check(tmp_path, column, size)
    with pytest.raises(LogError, match=r"column 'a\.b'"):
        check(tmp_path, column, size - 1)


def test_rows_are_counted_that_are_read_at_once(tmp_path: Path) -> None:
    check(tmp_path, TEXT, 10 * 1008, rows_at_once=10)
    with pytest.raises(LogError, match=r"column 'a\.b'"):
        check(tmp_path, TEXT, 10 * 1008, rows_at_once=11)


def test_threads_together_hold_no_more_than_one_may() -> None:
    allowance, order = decoding._Allowance(), []

    def hold(size: int) -> None:
        with allowance.hold(size, 100):
            order.append(size)

    with allowance.hold(50, 100), allowance.hold(60, 100):  # its own do not make a thread wait
        others = [threading.Thread(target=hold, args=(size,)) for size in (80, 70)]
        for other in others:
            other.start()
            other.join(0.02)
            assert other.is_alive()
        order.append(0)
    for other in others:
        other.join()
    assert order[0] == 0
    assert sorted(order[1:]) == [70, 80]


def test_threads_that_hold_some_do_not_wait_for_each_other() -> None:
    allowance, both = decoding._Allowance(), threading.Barrier(2)

    def hold_twice() -> None:
        with allowance.hold(50, 100):
            both.wait()
            with allowance.hold(60, 100):
                pass

    threads = [threading.Thread(target=hold_twice, daemon=True) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()


def test_rows_of_a_file_are_read_from_the_row_groups_that_hold_them(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": range(10)}), tmp_path / "x.parquet", row_group_size=3)
    found = decoding.iter_row_groups(tmp_path / "x.parquet", rows=range(4, 7))
    assert [frame["a"].to_list() for frame in found] == [[4, 5], [6]]


def test_the_message_names_file_column_sizes_and_remedy(tmp_path: Path) -> None:
    text = pa.DictionaryArray.from_arrays(pa.array([0] * 3000, pa.int32()), pa.array(["x" * 2**20]))
    with pytest.raises(LogError) as caught:
        check(tmp_path, text, 2**30, rows_at_once=3000)
    assert str(caught.value) == (
        "log.parquet: the columns of row group 0 would take 2.9 GiB of memory, "
        "column 'a.b' 2.9 GiB of them; at most 1.0 GiB are decoded at once, 25% of this machine's "
        "memory. If the log is sound, write it with fewer rows in a row group."
    )
