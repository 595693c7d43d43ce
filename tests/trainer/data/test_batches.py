"""Reading: every row once and in order, from anywhere, and damage named with its file."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fae.format.errors import DatasetError, FaeError
from fae.format.manifest import Manifest
from fae_trainer.data.batches import Batch
from fae_trainer.data.decoding import reading
from fae_trainer.data.loader import HotColdLoader
from fae_trainer.data.prefetch import prefetch
from tests.support.small_logs import resigned
from tests.support.trainer_batches import leaf_batches
from tests.support.trainer_data import RAGGED, Shape, write_dataset


def as_rows(batches: Iterator[Batch]) -> list[tuple[object, ...]]:
    rows = []
    for batch in batches:
        for i in range(len(batch)):
            one = batch.slice(i, i + 1)
            offsets = range(len(one.ids) + 1) if one.offsets is None else one.offsets
            ids, bounds = one.ids.tolist(), [int(bound) for bound in offsets]
            bags = tuple(tuple(ids[a:b]) for a, b in itertools.pairwise(bounds))
            rows.append((one.label.item(), tuple(one.dense[0].numpy()), bags))
    return rows


def expected_rows(
    data: Path, manifest: Manifest, split: str, kind: str
) -> list[tuple[object, ...]]:
    rows = []
    for file in manifest.splits[split][kind].files:
        for row in pq.read_table(data / file.path, partitioning=None).to_pylist():
            dense = tuple(np.float32(row[name]) for name in manifest.features.dense)
            cells = [(row[f.name], f.multi) for f in manifest.features.sparse]
            bags = tuple(tuple(cell) if multi else (cell,) for cell, multi in cells)
            rows.append((row["label"], dense, bags))
    return rows


@pytest.mark.parametrize("shape", [Shape(), RAGGED, Shape(dense=0, wide_ids=True)])
@pytest.mark.parametrize("batch_size", [1, 7, 25, 64, 1000])
def test_batches_hold_every_row_once_in_order(
    tmp_path: Path, shape: Shape, batch_size: int
) -> None:
    data = tmp_path / "data"
    manifest = write_dataset(data, shape)
    for kind in ("hot", "cold"):
        expected = expected_rows(data, manifest, "train", kind)
        batches = list(leaf_batches(data, "train", kind, batch_size))
        assert as_rows(iter(batches)) == expected
        assert {len(batch) for batch in batches[:-1]} <= {batch_size}
        assert all(batch.hot == (kind == "hot") for batch in batches)
        last = len(batches)
        for skip in {0, 1, last // 2, last - 1, last} & set(range(last + 1)):
            rest = leaf_batches(data, "train", kind, batch_size, skip)
            assert as_rows(rest) == expected[skip * batch_size :]


def test_a_split_is_its_hot_leaf_then_its_cold_one(tmp_path: Path) -> None:
    manifest = write_dataset(tmp_path / "data", RAGGED)
    both = [
        row
        for kind in ("hot", "cold")
        for row in expected_rows(tmp_path / "data", manifest, "valid", kind)
    ]
    assert as_rows(iter(HotColdLoader(tmp_path / "data", "valid", 16, shuffle=False))) == both


def test_skipping_opens_no_skipped_file(tmp_path: Path) -> None:
    manifest = write_dataset(tmp_path / "data", Shape())
    first, second = manifest.splits["train"]["cold"].files
    (tmp_path / "data" / first.path).write_bytes(bytes(first.bytes))
    batches = leaf_batches(tmp_path / "data", "train", "cold", first.rows, 1)
    assert sum(len(batch) for batch in batches) == second.rows


def _replace(column: str, values: Callable[[pa.Array], object]) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        table = pq.read_table(path, partitioning=None)
        index = table.schema.get_field_index(column)
        new = pa.array(values(table.column(column).combine_chunks()))
        pq.write_table(table.set_column(index, column, new), path)

    return damage


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[30:400] = b"\xff" * 370
    path.write_bytes(content)


def _shorten(path: Path) -> None:
    pq.write_table(pq.read_table(path, partitioning=None).slice(1), path)


def _drop(path: Path) -> None:
    pq.write_table(pq.read_table(path, partitioning=None).drop_columns(["d"]), path)


def _first(value: object) -> Callable[[pa.Array], object]:
    return lambda column: [value, *column.to_pylist()[1:]]


DAMAGE = {
    "absent": (Path.unlink, "is absent"),
    "cut": (_cut, "cannot be read as Parquet"),
    "flipped": (_flip, "cannot be read as Parquet"),
    "short": (_shorten, "has 44 rows, and the manifest says 45"),
    "no column": (_drop, "has no column 'd'"),
    "null id": (_replace("a", _first(None)), "column 'a' has 1 nulls"),
    "null dense": (_replace("dense_0", _first(None)), "column 'dense_0' has 1 nulls"),
    "null label": (_replace("label", _first(None)), "column 'label' has 1 nulls"),
    "nan": (_replace("dense_1", _first(float("nan"))), "column 'dense_1' has a value that is not"),
    "label 2": (_replace("label", _first(2)), "labels other than 0 and 1"),
    "text": (_replace("a", lambda c: [str(v) for v in c.to_pylist()]), "'a' cannot have type"),
    "halves": (_replace("dense_0", lambda c: c.cast(pa.float16())), "cannot have type halffloat"),
    "float ids": (_replace("a", lambda c: c.cast(pa.float64())), "'a' cannot have type double"),
    "lists": (_replace("a", lambda c: [[v] for v in c.to_pylist()]), "'a' cannot have type list"),
    "negative": (_replace("b", _first(-1)), "'b' has id -1, and table 'b' has ids from 0 to 6"),
    "too large": (_replace("b", _first(7)), "'b' has id 7, and table 'b' has ids from 0 to 6"),
    "cold in hot": (_replace("a", _first(10)), "'a' has id 10 in a hot file, and table 'a' is hot"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_named_with_its_file(tmp_path: Path, damage: str) -> None:
    shape = Shape(tables={"a": (50, 10), "b": (7, 7), "c": (30, 3), "d": (40, 15)})
    manifest = write_dataset(tmp_path / "data", shape)
    file = manifest.splits["train"]["hot"].files[0]
    act, message = DAMAGE[damage]
    act(tmp_path / "data" / file.path)
    if (tmp_path / "data" / file.path).exists():
        resigned(tmp_path / "data", file.path)
    with pytest.raises(DatasetError) as caught:
        list(leaf_batches(tmp_path / "data", "train", "hot", 16))
    assert message in str(caught.value)
    assert str(tmp_path / "data" / file.path) in str(caught.value)


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        ("clicked", _first([1, None]), "'clicked' has nulls in its lists"),
        ("clicked", _first(None), "'clicked' has 1 nulls"),
        ("clicked", _first([0, 60]), "'clicked' has id 60"),
        ("clicked", lambda c: [1] * len(c), "'clicked' is int64; it must be a list"),
    ],
)
def test_damage_in_lists_is_named(
    tmp_path: Path, column: str, values: Callable[[pa.Array], object], message: str
) -> None:
    manifest = write_dataset(tmp_path / "data", RAGGED)
    file = manifest.splits["train"]["cold"].files[1]
    _replace(column, values)(tmp_path / "data" / file.path)
    resigned(tmp_path / "data", file.path)
    with pytest.raises(DatasetError, match=message):
        list(leaf_batches(tmp_path / "data", "train", "cold", 16))


@pytest.mark.parametrize(
    ("raised", "says"),
    [
        (pa.ArrowException("Failed to launch worker thread: 11"), "cannot start another thread"),
        (pa.lib.ArrowMemoryError("malloc of size 64 failed"), "out of memory (malloc of size"),
        (pa.ArrowInvalid("no magic bytes"), "a.parquet cannot be read as Parquet: no magic"),
    ],
)
def test_a_machine_at_its_limit_is_no_fault_of_the_file(raised: Exception, says: str) -> None:
    with pytest.raises(FaeError) as caught, reading(Path("a.parquet")):
        raise raised
    assert str(caught.value).startswith(says)


def test_prefetching_keeps_order_and_bounds_what_is_ahead() -> None:
    made = []

    def items() -> Iterator[int]:
        for i in range(50):
            made.append(i)
            yield i

    with prefetch(items(), depth=3) as ahead:
        for taken in ahead:
            assert len(made) <= taken + 1 + 3 + 1
    assert made == list(range(50))


def test_an_error_in_the_thread_comes_where_its_item_would() -> None:
    def items() -> Iterator[int]:
        yield 1
        yield 2
        raise DatasetError("file 3")

    seen = []
    with pytest.raises(DatasetError, match="file 3"), prefetch(items(), depth=8) as ahead:
        seen.extend(ahead)
    assert seen == [1, 2]


def test_the_thread_ends_with_its_context() -> None:
    before = threading.active_count()
    with pytest.raises(ZeroDivisionError), prefetch(itertools.count(), depth=2) as ahead:
        1 // next(ahead)
    assert threading.active_count() == before
