"""The rule `inputs` against the optimum by brute force, its bound, and the other rules."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fae.hotset.problem import Objective, Problem, count_affordable
from fae.hotset.rules import RULES, peeling
from fae.hotset.rules.peeling import measure_worth, rank_by_peeling
from fae.hotset.rules.peeling_pass import STATE, index_samples_by_row, peel
from tests.support.stacked_tables import problem, stacked, stacked_samples

HOT_SAMPLES = Objective()


@pytest.fixture(scope="module", autouse=True)
def few_passes() -> Iterator[None]:
    """Stop early: on so few rows the bound stays above the optimum, and passes would go on."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(peeling, "MAX_PASSES", 20)
        yield


def counted_problem(
    tables: list[int],
    samples: list[list[int]],
    row_bytes: list[int],
    budget_bytes: int,
    objective: Objective = HOT_SAMPLES,
) -> Problem:
    """Return a problem over tables of so many rows, accesses counted from the samples."""
    offsets = np.cumsum([0, *tables])
    accesses = np.bincount(list(itertools.chain(*samples)), minlength=int(offsets[-1]))
    counts = [accesses[begin:end].tolist() for begin, end in itertools.pairwise(offsets)]
    return problem(stacked(counts, row_bytes), budget_bytes, samples, objective)


@st.composite
def problems(draw: st.DrawFn) -> Problem:
    """Draw up to nine rows that may be hot, and twelve samples with one row or none per table."""
    tables = draw(st.lists(st.integers(2, 4), min_size=1, max_size=3))
    offsets = np.cumsum([0, *tables])
    rows = [
        st.sampled_from([None, *range(int(begin) + 1, int(end))])
        for begin, end in itertools.pairwise(offsets)
    ]
    drawn = draw(st.lists(st.tuples(*rows), min_size=1, max_size=12))
    row_bytes = [draw(st.sampled_from([4, 4, 8, 12])) for _ in tables]
    budget = draw(st.integers(sum(row_bytes), int(np.repeat(row_bytes, tables).sum())))
    objective = draw(st.sampled_from([Objective(1, 0), Objective(1, 0.25), Objective(0, 1)]))
    samples = [[row for row in sample if row is not None] for sample in drawn]
    return counted_problem(tables, samples, row_bytes, budget, objective)


def find_optimum(solved: Problem) -> float:
    """Return the largest worth of any set of rows within the budget, after trying them all."""
    rows, samples = solved.rows, solved.read_samples()
    seen = rows.seen_rows
    bit = np.zeros(rows.count, dtype=np.int64)
    bit[seen] = 1 << np.arange(seen.size)
    masks = [
        int(bit[samples.rows[begin:end]].sum())
        for begin, end in itertools.pairwise(samples.offsets)
    ]
    sets = np.arange(1 << seen.size)
    members = (sets[:, np.newaxis] & bit[seen]) > 0  # (sets, seen rows)
    fits = members @ rows.cost_bytes[seen] <= solved.budget_bytes - rows.row_bytes.sum()
    hot_samples = sum((sets & mask) == mask for mask in masks)
    worth = solved.objective.per_sample * hot_samples
    worth = worth + solved.objective.per_access * (members @ rows.accesses[seen])
    return float(worth[fits].max())


def measure(solved: Problem, rule: str) -> float:
    """Return the worth of what the budget buys from a rule's ranking."""
    return measure_worth(solved, solved.read_samples(), RULES[rule](solved).ranked_rows)


def buy(solved: Problem, rule: str) -> list[int]:
    """Return the rows that the budget buys from a rule's ranking."""
    ranked = RULES[rule](solved).ranked_rows
    return (
        ranked.head(count_affordable(solved.rows, ranked, solved.budget_bytes)).to_rows().tolist()
    )


@given(solved=problems())
def test_no_rule_beats_the_optimum_and_inputs_is_never_below_accesses(solved: Problem) -> None:
    optimum = find_optimum(solved)
    worth = {rule: measure(solved, rule) for rule in RULES}
    loads = rank_by_peeling(solved).loads
    assert loads is not None
    assert loads.bound_worth(np.array([solved.budget_bytes]))[0] >= optimum - 1e-9
    assert all(value <= optimum + 1e-9 for value in worth.values())
    assert worth["inputs"] >= worth["accesses"]


@given(solved=problems(), most_others=st.sampled_from([0, 100]))
def test_a_core_and_a_band_keep_the_bound_and_never_fall_below_accesses(
    solved: Problem, most_others: int
) -> None:
    """Treat small problems as large ones, with a core of half the budget and a narrow band."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(peeling, "LARGE_ACCESSES", 0)
        patch.setattr(peeling, "CORE_SHARE", 0.5)
        patch.setattr(peeling, "BAND_BUDGETS", 1)
        patch.setattr(peeling, "MOST_OTHERS", most_others)
        ranking = rank_by_peeling(solved)
        assert measure(solved, "inputs") >= measure(solved, "accesses")
    assert ranking.loads is not None
    optimum = find_optimum(solved)
    assert ranking.loads.bound_worth(np.array([solved.budget_bytes]))[0] >= optimum - 1e-9
    rows, seen = ranking.ranked_rows.to_rows().tolist(), solved.rows.seen_rows.tolist()
    assert len(rows) == len(set(rows))
    assert set(rows) >= {*solved.rows.oov_rows.tolist(), *seen}


def test_inputs_is_nearer_to_the_optimum_than_any_other_rule() -> None:
    rng = np.random.default_rng(5)
    total = dict.fromkeys([*RULES, "optimum"], 0.0)
    for _ in range(60):
        heads = rng.zipf(1.6, size=(14, 3)).clip(max=4)
        samples = [[int(head) + 5 * t for t, head in enumerate(sample)] for sample in heads]
        solved = counted_problem([5, 5, 5], samples, [4, 4, 4], 4 * int(rng.integers(5, 11)))
        total["optimum"] += find_optimum(solved)
        for rule in RULES:
            total[rule] += measure(solved, rule)
    share = {rule: total[rule] / total["optimum"] for rule in RULES}
    assert share["inputs"] > 0.97
    assert max(share, key=lambda rule: share[rule]) == "inputs"


def test_rows_that_serve_together_beat_rows_that_are_merely_frequent() -> None:
    # Row 1 is in four samples, each time with another partner; 2 and 5 alone serve three.
    samples = [[1, 6], [1, 7], [1, 8], [1, 9], [2, 5], [2, 5], [2, 5]]
    solved = counted_problem([4, 6], samples, [4, 4], 4 * 4)
    assert (measure(solved, "accesses"), measure(solved, "inputs")) == (0, 3)


def test_an_expensive_row_must_earn_its_bytes() -> None:
    # Two samples need the row of 16 bytes, three others two rows of 4 bytes each.
    solved = counted_problem([3, 4], [[1], [1], [4], [4], [5]], [16, 4], 20 + 8)
    assert set(buy(solved, "inputs")) == {0, 3, 4, 5}


def test_an_objective_of_accesses_ranks_by_accesses() -> None:
    samples = [[1, 5], [1, 6], [1, 7], [2, 8], [2, 8]]
    solved = counted_problem([4, 6], samples, [4, 4], 4 * 4, Objective(0, 1))
    ranked = rank_by_peeling(solved).ranked_rows.to_rows()
    assert solved.rows.accesses[ranked[2:4]].tolist() == [3, 2]


def test_the_rows_of_one_sample_are_bought_together() -> None:
    # Three samples have a row of their own in each table; the budget buys two such pairs.
    samples = [[1, 5], [2, 6], [3, 7]]
    solved = counted_problem([4, 4], samples, [4, 4], 4 * 6)
    assert measure(solved, "inputs") == 2


def test_passes_end_when_they_gain_nothing() -> None:
    """The bound of three samples in a ring stays above what one row of three can reach."""
    solved = counted_problem([4], [[1, 2], [2, 3], [1, 3]], [4], 4 * 3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(peeling, "MAX_PASSES", 200)
        patch.setattr(peeling, "PATIENCE_PASSES", 7)
        assert rank_by_peeling(solved).notes == {"passes": 8}


def test_loads_distribute_the_worth_of_every_sample() -> None:
    samples = [[1, 5], [1, 6], [2, 5], []]
    loads = rank_by_peeling(counted_problem([4, 4], samples, [4, 4], 12)).loads
    assert loads is not None
    assert loads.total == pytest.approx(len(samples))


def random_samples() -> list[list[int]]:
    """Return 300 samples of some of 50 rows."""
    rng = np.random.default_rng(2)
    return [sorted(set(rng.integers(0, 50, 4).tolist())) for _ in range(300)]


def peel_random_samples(stop_bytes: int, charged: np.ndarray) -> list[int]:
    """Return the order in which rows of 4 bytes each are removed; `charged` is set."""
    samples = stacked_samples(random_samples())
    state = np.zeros(50, dtype=STATE)
    state["inverse_cost"] = 1
    cost_bytes = np.full(50, 4, dtype=np.int64)
    starts, by_row = index_samples_by_row(samples.rows, samples.offsets, 50)
    order = peel(
        samples.rows, samples.offsets, starts, by_row, state, 1.0, cost_bytes, stop_bytes, charged
    )
    return order.tolist()


def test_peeling_charges_each_sample_to_the_first_of_its_rows_to_go() -> None:
    charged = np.full(300, -1, dtype=np.int32)
    order = peel_random_samples(-1, charged)
    assert sorted(order) == list(range(50))
    assert charged.tolist() == [min(sample, key=order.index) for sample in random_samples()]


def test_peeling_may_stop_early_and_then_leaves_surviving_samples_uncharged() -> None:
    charged = np.full(300, -1, dtype=np.int32)
    order = peel_random_samples(4 * 20, charged)
    assert order == peel_random_samples(-1, np.zeros(300, dtype=np.int32))[:30]
    for sample, row in zip(random_samples(), charged.tolist(), strict=True):
        assert (row == -1) == set(order).isdisjoint(sample)
