"""Lookups on the host find each id's row at its owner, once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from hypothesis import given

from fae.format.manifest import Manifest
from fae_trainer.embedding.host_rows import HostRows
from fae_trainer.embedding.layout import Layout, make_layout
from fae_trainer.embedding.optimizers import ROW_OPTIMIZERS
from fae_trainer.embedding.tables import Tables
from tests.support.embedded_batches import EmbeddedBatches, embedded_batches
from tests.support.trainer_batches import leaf_batches
from tests.support.trainer_data import RAGGED, write_dataset


def tables_of(layout: Layout) -> Tables:
    return Tables(layout, 3, torch.device("cpu"), torch.float32, ROW_OPTIMIZERS["sgd"])


@given(embedded_batches(count=1, samples=20))
def test_lookups_find_each_row_at_its_owner(work: EmbeddedBatches) -> None:
    (batch,), layout = work.batches, work.layout
    sizes = list(zip(layout.rows, layout.hot_rows, strict=True))
    hot = [(table, row) for table, (_, count) in enumerate(sizes) for row in range(count)]
    cold = [(table, row) for table, (rows, count) in enumerate(sizes) for row in range(count, rows)]
    rows = HostRows(tables_of(layout))
    lookup = rows.plan(batch)
    distinct = [hot[at] for at in lookup.distinct.hot] + [cold[at] for at in lookup.distinct.cold]
    assert len(set(distinct)) == len(distinct)
    assert set(lookup.inverse) == set(range(len(distinct)))
    lengths = np.ones(len(batch) * batch.features, dtype=int)
    if batch.offsets is not None:
        lengths = batch.offsets.diff().numpy()
    features = np.repeat(np.tile(layout.feature_table, len(batch)), lengths)
    expected = list(zip(features, batch.ids.tolist(), strict=True))
    assert [distinct[number] for number in lookup.inverse] == expected


def test_slots_are_as_wide_as_the_rows_need() -> None:
    few, many = (
        Layout(("a",), np.array([rows]), np.array([5]), np.array([0]))
        for rows in (2**31 - 1, 2**31)
    )
    assert (few.slot_type, many.slot_type) == (np.int32, np.int64)


def test_lookups_do_not_disturb_each_other(tmp_path: Path) -> None:
    write_dataset(tmp_path / "data", RAGGED)
    manifest = Manifest.read(tmp_path / "data")
    layout = make_layout(manifest, [table.hot_rows for table in manifest.tables])
    used = HostRows(tables_of(layout))
    for batch in leaf_batches(tmp_path / "data", "train", "cold", 16):
        one, fresh = used.plan(batch), HostRows(tables_of(layout)).plan(batch)
        np.testing.assert_array_equal(one.inverse, fresh.inverse)
        np.testing.assert_array_equal(one.distinct.hot, fresh.distinct.hot)
        np.testing.assert_array_equal(one.distinct.cold, fresh.distinct.cold)
