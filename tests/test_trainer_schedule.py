"""The order of batches: each once, evenly, and the same for the same seed."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from trainer.schedule import batch_count, schedule

counts = st.integers(0, 300)


@given(counts, counts, st.integers(0, 2**40), st.integers(0, 5))
def test_each_batch_comes_exactly_once(hot: int, cold: int, seed: int, epoch: int) -> None:
    order = schedule(hot, cold, seed, epoch)
    kinds = [order.is_hot(position) for position in range(order.batches)]
    assert (kinds.count(True), kinds.count(False)) == (hot, cold)
    assert [order.hot_before(k) for k in range(order.batches + 1)] == [
        sum(kinds[:k]) for k in range(order.batches + 1)
    ]
    assert order == schedule(hot, cold, seed, epoch)


@given(counts, counts, st.integers(0, 2**40))
def test_every_stretch_has_its_share_of_hot_batches(hot: int, cold: int, seed: int) -> None:
    order = schedule(hot, cold, seed, 0)
    for start in range(0, order.batches, 7):
        for stop in range(start, order.batches + 1, 5):
            found = order.hot_before(stop) - order.hot_before(start)
            assert abs(found - (stop - start) * hot / order.batches) < 1


def test_epochs_and_seeds_begin_elsewhere() -> None:
    phases = {schedule(30, 70, seed, epoch).phase for seed in range(5) for epoch in range(5)}
    assert len(phases) > 10


@given(st.integers(0, 10_000), st.integers(1, 500))
def test_batches_hold_all_rows(rows: int, batch_size: int) -> None:
    assert batch_count(rows, batch_size) == len(range(0, rows, batch_size))
