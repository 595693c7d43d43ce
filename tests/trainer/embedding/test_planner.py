"""Plans find each id's row at its owner, once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from fae_trainer.data.batches import Batch
from fae_trainer.embedding.layout import Layout, make_layout
from fae_trainer.embedding.planner import Planner
from fae_trainer.model import graph_step
from tests.support.trainer_batches import leaf_batches
from tests.support.trainer_data import RAGGED, write_dataset

sizes = st.lists(
    st.integers(1, 30).flatmap(lambda rows: st.tuples(st.just(rows), st.integers(0, rows))),
    min_size=1,
    max_size=5,
)


@given(sizes, st.integers(0, 2**32), st.integers(1, 20))
def test_lookups_find_each_row_at_its_owner(
    tables: list[tuple[int, int]], seed: int, batch: int
) -> None:
    rng = np.random.default_rng(seed)
    rows, hot = (np.array(values, dtype=np.int64) for values in zip(*tables, strict=True))
    features = rng.integers(0, len(tables), 4)
    places = Layout(tuple(map(str, range(len(tables)))), rows, hot, features)
    ids = rng.integers(0, rows[features], (batch, 4))
    label, flat = torch.zeros(batch), torch.from_numpy(ids.ravel())
    empty = torch.empty((batch, 0))
    owners = [("hot", t, i) for t, (_, h) in enumerate(tables) for i in range(h)]
    owners_cold = [("cold", t, i) for t, (r, h) in enumerate(tables) for i in range(h, r)]
    for offsets in (None, torch.arange(batch * 4 + 1)):
        planned = Batch(label, empty, flat, offsets, hot=False)
        lookup = Planner(places).plan_lookup(planned)
        distinct = [owners[p] for p in lookup.hot] + [owners_cold[p] for p in lookup.cold]
        assert len(set(distinct)) == len(distinct)
        found = [distinct[number][1:] for number in lookup.inverse]
        assert found == list(zip(np.tile(features, batch), ids.ravel(), strict=True))
        assert set(lookup.inverse) == set(range(len(distinct)))
    slots = Planner(places).plan_slots(planned)
    cold = [owners_cold[p] for p in slots.cold]
    assert len(set(cold)) == len(cold)
    every = [*owners, *cold]
    found = [every[slot][1:] for slot in slots.slots]
    assert found == list(zip(np.tile(features, batch), ids.ravel(), strict=True))
    size = min(slots.slots.size, len(owners) + 1)
    at, inverse = graph_step.find_distinct(torch.from_numpy(slots.slots), len(owners), size)
    hot = sorted({int(slot) for slot in slots.slots if slot < len(owners)})
    assert at.tolist() == hot + [len(owners)] * (size - len(hot))
    rows = torch.cat([at, len(owners) + torch.arange(len(cold))])
    assert rows[inverse].tolist() == slots.slots.tolist()


def test_slots_are_as_wide_as_the_rows_need() -> None:
    few, many = (
        Layout(("a",), np.array([rows]), np.array([5]), np.array([0]))
        for rows in (2**31 - 1, 2**31)
    )
    assert (few.slot_type, many.slot_type) == (np.int32, np.int64)


def test_lookups_of_one_planner_do_not_disturb_each_other(tmp_path: Path) -> None:
    manifest = write_dataset(tmp_path / "data", RAGGED)
    places = make_layout(manifest, [table.hot_rows for table in manifest.tables])
    planner = Planner(places)
    for batch in leaf_batches(tmp_path / "data", "train", "cold", 16):
        one, fresh = planner.plan_lookup(batch), Planner(places).plan_lookup(batch)
        for name in ("hot", "cold", "inverse"):
            np.testing.assert_array_equal(getattr(one, name), getattr(fresh, name))
