"""The rule `inputs` against the optimum by brute force, its bound, and the other rules."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fae.hotset.problem import (
    Objective,
    Problem,
    Ranking,
    StackedRows,
    StackedSamples,
    bound_worth,
    count_affordable,
)
from fae.hotset.rules import RULES
from fae.hotset.rules.peeling import STATE, index_samples_by_row, measure_worth, peel

FOR_INPUTS = Objective()


def problem(
    tables: list[int],
    inputs: list[list[int]],
    prices: list[int],
    budget: int,
    objective: Objective = FOR_INPUTS,
) -> Problem:
    """Tables of these numbers of rows, id 0 included; inputs as lists of stacked rows."""
    first = np.cumsum([0, *tables])
    accesses = np.bincount([row for one in inputs for row in one], minlength=int(first[-1]))
    rows = StackedRows.from_accesses(
        tuple(f"t{i}" for i in range(len(tables))),
        first,
        accesses.astype(np.int64),
        np.array(prices, dtype=np.int64),
    )
    flat = np.array([row for one in inputs for row in one], dtype=np.int32)
    offsets = np.cumsum([0, *map(len, inputs)]).astype(np.int64)
    return Problem(rows, lambda: StackedSamples(flat, offsets), budget, objective)


@st.composite
def problems(draw: st.DrawFn) -> Problem:
    """At most nine rows that may be hot and twelve inputs, a row a table and input at most."""
    tables = draw(st.lists(st.integers(2, 4), min_size=1, max_size=3))
    first = np.cumsum([0, *tables])
    rows = [
        st.sampled_from([None, *range(int(first[t]) + 1, int(first[t + 1]))])
        for t in range(len(tables))
    ]
    inputs = draw(st.lists(st.tuples(*rows), min_size=1, max_size=12))
    prices = draw(st.lists(st.sampled_from([4, 4, 8, 12]), min_size=len(tables), max_size=8))
    prices = prices[: len(tables)]
    most = int(np.repeat(prices, tables).sum())
    budget = draw(st.integers(sum(prices), most))
    weights = draw(st.sampled_from([Objective(1, 0), Objective(1, 0.25), Objective(0, 1)]))
    kept = [[row for row in one if row is not None] for one in inputs]
    return problem(tables, kept, prices, budget, weights)


def optimum(given: Problem) -> float:
    """The most that any set of rows within the budget is worth, looking at all of them."""
    rows, inputs = given.rows, given.read_samples()
    sets = [set(inputs.rows[a:b].tolist()) for a, b in itertools.pairwise(inputs.offsets)]
    left = given.budget_bytes - int(rows.cost_bytes[rows.oov_rows].sum())
    best = 0.0
    for count in range(rows.seen_rows.size + 1):
        for chosen in itertools.combinations(rows.seen_rows.tolist(), count):
            if sum(int(rows.cost_bytes[row]) for row in chosen) > left:
                continue
            whole = sum(one <= set(chosen) for one in sets)
            accessed = sum(int(rows.accesses[row]) for row in chosen)
            reached = given.objective.per_sample * whole + given.objective.per_access * accessed
            best = max(best, reached)
    return best


@given(problems())
def test_no_rule_beats_the_optimum_and_inputs_is_never_below_accesses(given: Problem) -> None:
    best = optimum(given)
    reached = {
        name: measure_worth(given, given.read_samples(), rule(given).ranked_rows)
        for name, rule in RULES.items()
    }
    ranking = RULES["inputs"](given)
    assert ranking.loads is not None
    most = bound_worth(given.rows, ranking.loads, np.array([given.budget_bytes]))[0]
    assert all(value <= best + 1e-9 for value in reached.values())
    assert reached["inputs"] >= reached["accesses"]
    assert most >= best - 1e-9


def test_inputs_comes_nearer_to_the_optimum_than_any_other_rule() -> None:
    rng = np.random.default_rng(5)
    total = dict.fromkeys([*RULES, "optimum"], 0.0)
    for _ in range(60):
        heads = rng.zipf(1.6, size=(14, 3)).clip(max=4)
        inputs = [[int(head) + 5 * t for t, head in enumerate(one)] for one in heads]
        given = problem([5, 5, 5], inputs, [4, 4, 4], 4 * int(rng.integers(5, 11)))
        total["optimum"] += optimum(given)
        for name, rule in RULES.items():
            total[name] += measure_worth(given, given.read_samples(), rule(given).ranked_rows)
    near = {name: value / total["optimum"] for name, value in total.items()}
    assert near["inputs"] > 0.97
    assert max(near, key=lambda name: near[name] if name != "optimum" else 0) == "inputs"


def test_rows_that_serve_together_beat_rows_that_are_merely_frequent() -> None:
    # Row 1 is in every input, but each with a partner of its own, while 2 and 5 serve three alone.
    inputs = [[1, 6], [1, 7], [1, 8], [1, 9], [2, 5], [2, 5], [2, 5]]
    given = problem([4, 6], inputs, [4, 4], 4 * 4)
    by_accesses = measure_worth(given, given.read_samples(), RULES["accesses"](given).ranked_rows)
    by_inputs = measure_worth(given, given.read_samples(), RULES["inputs"](given).ranked_rows)
    assert (by_accesses, by_inputs) == (0, 3)


def test_a_dear_row_must_earn_its_bytes() -> None:
    # Two inputs need the row of 16 bytes, three others two rows of 4 bytes each.
    inputs = [[1], [1], [4], [4], [5]]
    given = problem([3, 4], inputs, [16, 4], 20 + 8)
    placed = RULES["inputs"](given).ranked_rows
    bought = placed.head(count_affordable(given.rows, placed, given.budget_bytes)).to_rows()
    assert set(bought.tolist()) == {0, 3, 4, 5}


def test_an_objective_of_accesses_ranks_by_accesses() -> None:
    inputs = [[1, 5], [1, 6], [1, 7], [2, 8], [2, 8]]
    given = problem([4, 6], inputs, [4, 4], 4 * 4, Objective(0, 1))
    placed = RULES["inputs"](given).ranked_rows.to_rows()
    assert given.rows.accesses[placed[2:4]].tolist() == [3, 2]


def test_every_seen_row_is_ranked_once_and_id_0_comes_first() -> None:
    rng = np.random.default_rng(1)
    inputs = [[int(a), 30 + int(b)] for a, b in rng.integers(1, 25, (200, 2))]
    given = problem([30, 30], inputs, [4, 8], 200)
    ranking: Ranking = RULES["inputs"](given)
    assert ranking.ranked_rows.to_rows()[:2].tolist() == [0, 30]
    assert sorted(ranking.ranked_rows.to_rows()[2:].tolist()) == given.rows.seen_rows.tolist()
    again = RULES["inputs"](given)
    assert ranking.ranked_rows.to_rows().tolist() == again.ranked_rows.to_rows().tolist()


def test_loads_share_out_every_input() -> None:
    inputs = [[1, 5], [1, 6], [2, 5], []]
    given = problem([4, 4], inputs, [4, 4], 12)
    loads = RULES["inputs"](given).loads
    assert loads is not None
    assert loads.sum() == pytest.approx(len(inputs))


def random_inputs() -> tuple[np.ndarray, np.ndarray, list[list[int]]]:
    """300 inputs of some of 50 rows: their rows, their offsets, and both as lists."""
    rng = np.random.default_rng(2)
    inputs = [sorted(set(rng.integers(0, 50, 4).tolist())) for _ in range(300)]
    flat = np.array([row for one in inputs for row in one], dtype=np.int32)
    return flat, np.cumsum([0, *map(len, inputs)]).astype(np.int64), inputs


def peeled(stop_bytes: int, charged: np.ndarray) -> np.ndarray:
    flat, offsets, _ = random_inputs()
    state = np.zeros(50, dtype=STATE)
    state["inverse_cost"] = 1
    price = np.full(50, 4, dtype=np.int64)
    starts, held_by = index_samples_by_row(flat, offsets, 50)
    return peel(flat, offsets, starts, held_by, state, 1.0, price, stop_bytes, charged)


def test_peeling_charges_each_input_to_the_first_of_its_rows_to_go() -> None:
    charged = np.full(300, -1, dtype=np.int32)
    order = peeled(-1, charged)
    assert sorted(order.tolist()) == list(range(50))
    place = np.argsort(order)
    inputs = random_inputs()[2]
    assert charged.tolist() == [min(one, key=lambda row: place[row]) for one in inputs]


def test_peeling_may_end_early_and_then_leaves_living_inputs_as_they_were() -> None:
    charged = np.full(300, -1, dtype=np.int32)
    order = peeled(4 * 20, charged)
    assert order.tolist() == peeled(-1, np.zeros(300, dtype=np.int32))[:30].tolist()
    gone = set(order.tolist())
    for one, row in zip(random_inputs()[2], charged.tolist(), strict=True):
        assert (row == -1) == gone.isdisjoint(one)


def test_the_threshold_rule_bounds_the_hot_bytes_of_large_tables() -> None:
    rng = np.random.default_rng(3)
    size = 100_000
    accesses = np.sort(rng.zipf(1.5, size).clip(max=10_000))[::-1].astype(np.int64)
    accesses[0] = 0
    rows = StackedRows.from_accesses(
        ("t",), np.array([0, size]), accesses, np.array([68], dtype=np.int64)
    )
    given = Problem(
        rows, lambda: StackedSamples(np.empty(0, np.int32), np.zeros(1, np.int64)), 10**6
    )
    ranking = RULES["threshold"](given)
    notes = ranking.notes
    assert notes["true_bytes"] <= notes["estimated_bytes"] <= 10**6
    assert notes["true_bytes"] == 68 * (1 + int((accesses >= notes["threshold"]).sum()))


def test_the_rule_per_table_takes_a_like_share_of_each() -> None:
    inputs = [[1 + i % 10, 11 + 1 + i % 20] for i in range(200)]
    given = problem([11, 21], inputs, [4, 4], 4 * (2 + 15))
    placed = RULES["per-table"](given).ranked_rows
    bought = placed.head(count_affordable(given.rows, placed, given.budget_bytes)).to_rows()
    tables = np.bincount(given.rows.table_of_row[bought], minlength=2) - 1
    assert tables.tolist() == [5, 10]
