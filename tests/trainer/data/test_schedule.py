"""The order of batches: each once, as its name says, and the same for the same seed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fae.format.errors import ParameterError
from fae_trainer.data.schedule import Pace, Schedule, count_batches, cut_share, make_schedule
from fae_trainer.parameters import SCHEDULES

counts = st.integers(0, 300)
losses = st.lists(st.floats(0.1, 0.9), max_size=400)


def kinds(order: Schedule) -> str:
    return "".join("h" if order.is_hot(k) else "c" for k in range(order.batches))


@given(counts, counts, st.integers(0, 2**40), st.integers(0, 5), st.sampled_from(SCHEDULES), losses)
def test_each_batch_comes_exactly_once(
    hot: int, cold: int, seed: int, epoch: int, name: str, feedback: list[float]
) -> None:
    told = feedback + [0.5] * 101 * (epoch + 1)
    order = make_schedule(hot, cold, seed, epoch, name, told)
    assert order.complete
    found = kinds(order)
    assert (found.count("h"), found.count("c")) == (hot, cold)
    assert [order.hot_before(k) for k in range(order.batches + 1)] == [
        found[:k].count("h") for k in range(order.batches + 1)
    ]
    assert kinds(make_schedule(hot, cold, seed, epoch, name, told)) == found


@given(counts, counts, st.integers(0, 2**40))
def test_every_stretch_has_its_share_of_hot_batches(hot: int, cold: int, seed: int) -> None:
    order = make_schedule(hot, cold, seed, 0)
    for start in range(0, order.batches, 7):
        for stop in range(start, order.batches + 1, 5):
            found = order.hot_before(stop) - order.hot_before(start)
            assert abs(found - (stop - start) * hot / order.batches) < 1


@pytest.mark.parametrize("name", ["interleaved", "shuffled"])
def test_epochs_and_seeds_differ(name: str) -> None:
    orders = {
        kinds(make_schedule(31, 70, seed, epoch, name)) for seed in range(5) for epoch in range(5)
    }
    assert len(orders) > 10


def test_phases_are_all_cold_then_all_hot() -> None:
    assert kinds(make_schedule(3, 4, 5, 6, "phases")) == "cccchhh"


def test_the_pace_halves_on_a_rise_and_doubles_after_four_falls() -> None:
    pace, rates = Pace(), []
    falling = [0.9, 0.8, 0.7, 0.6, 0.5]
    for loss in [*falling, 0.4, 0.3, 0.35, *falling, 0.5, 0.4, 0.3, 0.2, 0.1, 1, 2, 3, 4, 5, 6, 7]:
        pace = pace.after(loss)
        rates.append(pace.rate)
    assert rates == [
        50, 50, 50, 50, 100, 100, 100, 50,
        25, 25, 25, 25, 50, 50, 50, 50, 50, 100,
        50, 25, 12, 6, 3, 1, 1,
    ]  # fmt: skip


def test_an_adaptive_order_is_known_round_by_round() -> None:
    seen = [
        kinds(make_schedule(4, 8, 0, 0, "adaptive", [0.5, 0.6, 0.7, 0.8][:n])) for n in range(4)
    ]
    assert seen[0] == "cccchh"
    assert seen[1] == seen[2] == seen[3] == "cccchhcccchh"
    assert not make_schedule(4, 8, 0, 0, "adaptive").complete
    assert kinds(make_schedule(4, 8, 0, 1, "adaptive", [0.5, 0.6])) == "cch"
    assert kinds(make_schedule(4, 8, 0, 1, "adaptive", [0.5, 0.6, 0.7])) == "cchch"


@given(counts, counts, losses)
def test_feedback_adds_to_an_adaptive_order_and_changes_nothing_before(
    hot: int, cold: int, feedback: list[float]
) -> None:
    before = ""
    for told in range(len(feedback) + 1):
        order = make_schedule(hot, cold, 0, 0, "adaptive", feedback[:told])
        now = kinds(order)
        assert now.startswith(before)
        if order.complete:
            break
        assert len(now) > len(before)
        before = now


@given(st.integers(0, 10_000), st.integers(1, 500))
def test_batches_hold_all_rows(rows: int, batch_size: int) -> None:
    assert count_batches(rows, batch_size) == len(range(0, rows, batch_size))


@given(st.integers(0, 3000), st.integers(1, 70), st.integers(1, 9))
def test_shares_are_disjoint_complete_and_equal(rows: int, size: int, world_size: int) -> None:
    try:
        shares = [cut_share(rows, size, rank, world_size) for rank in range(world_size)]
    except ParameterError:
        left = rows // world_size % size
        assert rows < world_size or (size == 1 and rows % world_size and not left)
        return
    assert [one.start for one in shares] == [
        rows * rank // world_size for rank in range(world_size)
    ]
    assert (shares[0].start, shares[-1].start + shares[-1].rows) == (0, rows)
    for one in shares:
        assert one.batches == shares[0].batches
        bounds = [one.before(batch) for batch in range(one.batches + 1)]
        sizes = [bounds[at + 1] - bounds[at] for at in range(one.batches)]
        assert sum(sizes) == one.rows
        assert all(0 < found <= size for found in sizes)
        assert all(found == size for found in sizes[:-2])
