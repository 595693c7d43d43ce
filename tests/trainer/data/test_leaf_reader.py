"""Reading a leaf: every row once and in order, from any position, and no file too many."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from fae.format.manifest import Manifest
from fae_trainer.data.batches import Batch
from fae_trainer.data.loader import HotColdLoader
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


def test_shape_of_no_hot_rows_reads(tmp_path: Path) -> None:
    write_dataset(tmp_path / "data", Shape(hot=0))
    assert not list(leaf_batches(tmp_path / "data", "train", "hot", 16))


def expected_batches(
    sizes: list[list[int]], hot: bool, epoch: int, batch_size: int, mixed: int
) -> list[list[int]]:
    """The order that an epoch of seed 5 is said to have: a leaf's row numbers by batch.

    `sizes` has the rows of each window of each file.
    """

    def permute(count: int, *key: int) -> list[int]:
        return np.random.default_rng([5, epoch, hot, *key]).permutation(count).tolist()

    files = [[(file, number) for number in range(len(rows))] for file, rows in enumerate(sizes)]
    if mixed == 1:
        shuffled = [[files[f][n] for n in permute(len(files[f]), f)] for f in permute(len(files))]
        mixes = [[window] for window in itertools.chain(*shuffled)]
    else:
        windows = list(itertools.chain(*files))
        shuffled = [windows[n] for n in permute(len(windows), 0)]
        count = -(-len(windows) // mixed)
        bounds = [len(windows) * mix // count for mix in range(count + 1)]
        mixes = [shuffled[start:stop] for start, stop in itertools.pairwise(bounds)]
    flat = list(itertools.chain(*sizes))
    begins = dict(zip(itertools.chain(*files), np.cumsum([0, *flat]).tolist(), strict=False))
    epoch_rows = []  # (mix, window of the mix, row of the leaf)
    for mix_number, mix in enumerate(mixes):
        counts = [sizes[file][number] for file, number in mix]
        orders = [
            iter([begins[file, number] + row for row in permute(count, file, number)])
            for (file, number), count in zip(mix, counts, strict=True)
        ]
        sources = np.repeat(np.arange(len(mix)), counts)
        if len(mix) > 1:
            sources = sources[permute(len(sources), *mix[0], 1)]
        epoch_rows += [(mix_number, source, next(orders[source])) for source in sources.tolist()]
    chunks = [epoch_rows[at : at + batch_size] for at in range(0, len(epoch_rows), batch_size)]
    return [[row for *_, row in sorted(chunk, key=lambda row: row[:2])] for chunk in chunks]


@pytest.mark.parametrize("mixed", [1, 2, 3, 100])
def test_an_epoch_has_the_order_that_is_documented(tmp_path: Path, mixed: int) -> None:
    data = tmp_path / "data"
    manifest = write_dataset(data, dataclasses.replace(RAGGED, files=3, group=10))
    loader = HotColdLoader(data, batch_size=16, seed=5, buffer_rows=20, mixed_windows=mixed)
    for epoch in range(2):
        batches = list(loader)
        for kind in ("hot", "cold"):
            rows = expected_rows(data, manifest, "train", kind)
            files = [file.rows for file in manifest.splits["train"][kind].files]
            sizes = [[min(20, size - at) for at in range(0, size, 20)] for size in files]
            expected = expected_batches(sizes, kind == "hot", epoch, 16, mixed)
            found = [as_rows(iter([batch])) for batch in batches if batch.hot == (kind == "hot")]
            assert found == [[rows[number] for number in batch] for batch in expected]


def test_rows_of_all_files_meet_where_all_windows_are_mixed(tmp_path: Path) -> None:
    manifest = write_dataset(tmp_path / "data", Shape(cold=400, files=4, group=50))
    rows = expected_rows(tmp_path / "data", manifest, "train", "cold")
    window = {row: number // 50 for number, row in enumerate(rows)}
    assert len(window) == 400
    met = {}
    for mixed in (1, 8):
        loader = HotColdLoader(
            tmp_path / "data", batch_size=80, buffer_rows=50, mixed_windows=mixed
        )
        batches = [as_rows(iter([batch])) for batch in loader if not batch.hot]
        met[mixed] = [len({window[row] for row in batch}) for batch in batches]
    assert max(met[1]) <= 3
    assert met[8] == [8] * 5
