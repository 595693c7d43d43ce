"""The device's kernels do what the host does, for rows in either memory, staged or not.

On a GPU they are compiled, elsewhere Triton's interpreter runs them.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fae_trainer.data.batches import Batch
from fae_trainer.embedding import device_rows
from fae_trainer.embedding.device_rows import DeviceRows, StagedRows, runs_kernels
from fae_trainer.embedding.host_rows import POOLINGS, HostRows
from fae_trainer.embedding.layout import Layout
from fae_trainer.embedding.optimizers import ROW_OPTIMIZERS, RowStep
from fae_trainer.embedding.tables import Tables
from tests.support import quick_scans  # noqa: F401
from tests.support.embedded_batches import EmbeddedBatches, embedded_batches

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
EXACT = {"rtol": 1e-12, "atol": 1e-14}
OPTIMIZERS = st.sampled_from([name for name, rule in ROW_OPTIMIZERS.items() if rule.has_kernel])
STEP = RowStep(0.3, weight_decay=0.1)
POOLING = st.sampled_from(POOLINGS)
DIMS = st.sampled_from([1, 3, 4, 7, 16, 20])
#: Ids that fill up to nine tiles, since the interpreter is slow.
few_ids = partial(embedded_batches, samples=6)
FEW = settings(max_examples=max(6, settings().max_examples // 5))

pytestmark = pytest.mark.skipif(not runs_kernels(DEVICE), reason="Triton is not installed")


@pytest.fixture(autouse=True, scope="module")
def small_blocks() -> Iterator[None]:
    """Have few ids fill several blocks and tiles, and a row's occurrences span many."""
    with pytest.MonkeyPatch.context() as patch:
        if DEVICE.type == "cpu":
            patch.setattr(device_rows, "_BLOCK", 8)
            patch.setattr(device_rows, "_TILES_AT_A_TIME", 2)
        yield


class Both:
    """The same tables for the host and for the device, float64."""

    def __init__(self, layout: Layout, dim: int, optimizer: str, pooling: str) -> None:
        rule = ROW_OPTIMIZERS[optimizer]
        cpu, kind = torch.device("cpu"), torch.float64
        self.on_host = Tables(layout, dim, cpu, kind, rule)
        locked = DEVICE.type == "cuda"
        self.on_device = Tables(layout, dim, DEVICE, kind, rule, page_locked=locked)
        for tables in (self.on_host, self.on_device):
            tables.initialise(1)
        self.host = HostRows(self.on_host, pooling)
        shards = (self.on_device.hot, self.on_device.cold)
        self.device = DeviceRows(layout, *shards, rule, pooling=pooling)
        self.device.set_step(STEP)

    def step_on_host(self, batch: Batch, rng: np.random.Generator) -> tuple[torch.Tensor, ...]:
        """Update by a random gradient; return the vectors before, and the gradient."""
        lookup = self.host.plan(batch)
        vectors, gathered = self.host.look_up(lookup)
        gradient = torch.from_numpy(rng.standard_normal(vectors.shape))
        self.host.update(lookup, gathered, gradient, STEP)
        return vectors, gradient.to(DEVICE)

    def assert_same(self) -> None:
        if DEVICE.type == "cuda":
            torch.cuda.synchronize()
        for found, expected in (
            (self.on_device.rows(), self.on_host.rows()),
            (self.on_device.states(), self.on_host.states()),
        ):
            torch.testing.assert_close(found, expected, **EXACT)


@FEW
@given(work=few_ids(2), dim=DIMS, optimizer=OPTIMIZERS, pooling=POOLING)
def test_rows_are_looked_up_and_updated_where_they_lie(
    work: EmbeddedBatches, dim: int, optimizer: str, pooling: str
) -> None:
    both = Both(work.layout, dim, optimizer, pooling)
    for batch in work.batches:
        expected, gradient = both.step_on_host(batch, work.rng)
        there = batch.to(DEVICE)
        slots = both.device.find_slots(there.ids, there.offsets)
        torch.testing.assert_close(both.device.look_up(slots).cpu(), expected, **EXACT)
        both.device.update(slots, gradient)
    both.assert_same()


@FEW
@given(
    work=few_ids(3), dim=DIMS, optimizer=OPTIMIZERS, pooling=POOLING,
    spare=st.integers(0, 9),
)  # fmt: skip
def test_rows_staged_for_the_next_batch_learn_what_this_one_teaches(
    work: EmbeddedBatches, dim: int, optimizer: str, pooling: str, spare: int
) -> None:
    both = Both(work.layout, dim, optimizer, pooling)
    rows, batches = both.device, [batch.to(DEVICE) for batch in work.batches]
    room = max(len(batch.ids) for batch in batches)
    room += spare if batches[0].offsets is not None else 0
    example = batches[0].ids.new_empty(room)
    current, other = (StagedRows(rows, example, batches[0].offsets) for _ in range(2))
    current.put(batches[0].ids, batches[0].offsets)
    rows.stage(current)
    for number, batch in enumerate(batches):
        expected, gradient = both.step_on_host(work.batches[number], work.rng)
        torch.testing.assert_close(rows.look_up_staged(current).cpu(), expected, **EXACT)
        rows.write_back(other)
        if number + 1 < len(batches):
            other.put(batches[number + 1].ids, batches[number + 1].offsets)
            rows.stage(other)
        rows.update_staged(current, gradient.view(len(batch), -1, dim), other)
        current, other = other, current
    rows.write_back(other)
    both.assert_same()


@FEW
@given(work=few_ids(3), dim=DIMS, optimizer=OPTIMIZERS, pooling=POOLING)
def test_several_lookups_are_one_update(
    work: EmbeddedBatches, dim: int, optimizer: str, pooling: str
) -> None:
    both = Both(work.layout, dim, optimizer, pooling)
    on_host, on_device = [], []
    for batch in work.batches:
        there = batch.to(DEVICE)
        slots, lookup = both.device.find_slots(there.ids, there.offsets), both.host.plan(batch)
        gradient = torch.from_numpy(work.rng.standard_normal(both.host.look_up(lookup)[0].shape))
        on_host.append((lookup, gradient))
        on_device.append((slots, gradient.to(DEVICE)))
    lookup, gradient = both.host.merge(on_host)
    both.host.update(lookup, both.on_host.gather(lookup.distinct), gradient, STEP)
    both.device.update(*both.device.merge(on_device))
    both.assert_same()


@FEW
@given(work=few_ids(1), owners=st.integers(1, 4))
def test_each_owner_updates_its_own_cold_rows(work: EmbeddedBatches, owners: int) -> None:
    both = Both(work.layout, 3, "rowwise_adagrad", "sum")
    batch = work.batches[0].to(DEVICE)
    _, gradient = both.step_on_host(work.batches[0], work.rng)
    hot = both.on_device.hot
    before = hot.packed.clone()
    for owner in range(owners):
        hot.packed.copy_(before)  # each owner has hot rows of its own
        rows = DeviceRows(
            work.layout, hot, both.on_device.cold, ROW_OPTIMIZERS["rowwise_adagrad"],
            owner=owner, owners=owners,
        )  # fmt: skip
        rows.set_step(STEP)
        rows.update(rows.find_slots(batch.ids, batch.offsets), gradient)
    both.assert_same()


def test_slots_of_many_rows_are_wide() -> None:
    """As slots of more than 2 ** 31 rows are; the rows themselves are not made."""
    sizes = np.array([2**33, 5]), np.array([2**32, 2])
    layout = Layout(("many", "few"), *sizes, np.array([0, 1]))
    assert layout.slot_type == np.int64
    small = Tables(
        Layout(("a",), *(np.array([n]) for n in (3, 1)), np.array([0])), 4, DEVICE, torch.float64,
        ROW_OPTIMIZERS["sgd"],
    )  # fmt: skip
    rows = DeviceRows(layout, small.hot, small.hot, ROW_OPTIMIZERS["sgd"])
    ids = torch.tensor([0, 1, 2**32 - 1, 4, 2**33 - 1, 2], device=DEVICE)
    found = rows.find_slots(ids, None).slots.tolist()
    hot = 2**32 + 2
    assert found == [0, 2**32 + 1, 2**32 - 1, hot + 2**32 + 2, hot + 2**32 - 1, hot + 2**32]
