"""Reading a leaf: every row once and in order, from any position, and no file too many."""

from __future__ import annotations

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
