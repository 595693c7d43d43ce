"""The network's own gradient, the layout's arithmetic, and first weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fae_trainer.data.batches import Batch
from fae_trainer.embedding.layout import Layout, make_layout
from fae_trainer.embedding.optimizers import ROW_OPTIMIZERS
from fae_trainer.embedding.planner import Planner
from fae_trainer.embedding.tables import Tables
from fae_trainer.model import graph_step
from fae_trainer.model.dlrm import PairwiseDots, index_lower_triangle, index_pairs
from tests.support.trainer_batches import leaf_batches
from tests.support.trainer_data import RAGGED, Shape, write_dataset


@pytest.mark.parametrize("vectors", [1, 2, 5])
def test_pairwise_dots_and_their_gradient(vectors: int) -> None:
    x = torch.randn(3, vectors, 4, dtype=torch.float64, requires_grad=True)
    lower, both = index_lower_triangle(vectors), index_pairs(vectors)
    expected = [(x[:, i] * x[:, j]).sum(1) for i in range(vectors) for j in range(i)]
    found = PairwiseDots.apply(x, lower, both)
    assert found.shape == (3, vectors * (vectors - 1) // 2)
    if expected:
        torch.testing.assert_close(found, torch.stack(expected, 1))
    assert torch.autograd.gradcheck(lambda v: PairwiseDots.apply(v, lower, both), (x,))


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


def _tables(hot: list[int], dtype: torch.dtype = torch.float32) -> Tables:
    rows = np.array([70_000, 9], dtype=np.int64)
    places = Layout(("big", "small"), rows, np.array(hot, dtype=np.int64), np.array([0, 1]))
    cpu = torch.device("cpu")
    return Tables(places, 3, cpu, dtype, ROW_OPTIMIZERS["rowwise_adagrad"])


def test_first_values_do_not_depend_on_the_layout() -> None:
    plain = _tables([0, 0])
    plain.initialise(5)
    for hot in ([70_000, 9], [66_000, 4], [1, 0]):
        other = _tables(hot)
        other.initialise(5)
        double = _tables(hot, torch.float64)
        double.initialise(5)
        for name, rows in plain.rows().items():
            assert torch.equal(other.rows()[name], rows)
            torch.testing.assert_close(double.rows()[name].float(), rows, rtol=1e-6, atol=0)
    bound = 9**-0.5
    small = plain.rows()["small"]
    assert small.abs().max() <= bound
    assert small.abs().max() > bound / 2
    again = _tables([0, 0])
    again.initialise(6)
    assert not torch.equal(again.rows()["small"], small)


def test_loading_puts_rows_and_states_where_their_ids_say() -> None:
    rows = {"big": torch.randn(70_000, 3), "small": torch.randn(9, 3)}
    states = {"big": torch.rand(70_000, 1), "small": torch.rand(9, 1)}
    tables = _tables([500, 4])
    tables.load(rows, states)
    assert torch.equal(tables.hot.rows[500:504], rows["small"][:4])
    assert torch.equal(tables.cold.rows[:69_500], rows["big"][500:])
    for found, given_values in ((tables.rows(), rows), (tables.states(), states)):
        assert all(torch.equal(found[name], given_values[name]) for name in rows)


def test_shape_of_no_hot_rows_reads(tmp_path: Path) -> None:
    write_dataset(tmp_path / "data", Shape(hot=0))
    assert not list(leaf_batches(tmp_path / "data", "train", "hot", 16))
