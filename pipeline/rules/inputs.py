"""Peeling for inputs: the hot set that makes the most inputs wholly hot.

An input is hot only when all its rows are, so the worth of a row depends on the rows beside it.
Choosing rows of bounded bytes that hold the most inputs is the densest-subhypergraph problem with a
budget. A pass of peeling is Charikar's greedy algorithm (2000); passes that remember what each row
has cost so far are Greedy++ (Boob et al., "Flowless", WWW 2020), which converges to the densest
decomposition (Chekuri, Quanrud and Torres, SODA 2022). What the rows have cost also bounds from
above what any hot set could reach, so the rule knows how far it is from the best.
"""

from __future__ import annotations

import numpy as np

from pipeline.rules.accesses import accesses
from pipeline.rules.peeling import STATE, holders, peel, wholly_hot
from pipeline.rules.problem import Floats, Order, Problem, Ranking, StackedInputs, bound, cut

#: Passes end when the hot set is within this share of the bound, or when they have touched this
#: many accesses; there are always at least, and never more than, this many.
GAP = 0.003
TOUCHES = 300_000_000
LEAST_PASSES, MOST_PASSES = 3, 200


def inputs(problem: Problem) -> Ranking:
    """Rows by iterated peeling, in the order of the pass that is best at the budget.

    Never worth less than `accesses` at the budget. Linear in the accesses, of which it holds about
    9 bytes each, and 80 a row. Deterministic.
    """
    rows, given = problem.rows, problem.inputs()
    starts, held_by = holders(given.rows, given.offsets, rows.accesses.size)
    per_input = problem.objective.per_input
    certain = _certain(problem, given)
    state = np.zeros(rows.accesses.size, dtype=STATE)
    state["rate"] = rows.price.min() / rows.price
    best = accesses(problem).placed
    best_worth = worth(problem, given, best)
    loads = np.zeros(rows.accesses.size)
    for passes in range(1, MOST_PASSES + 1):
        loads += certain
        state["load"] = loads
        order, deaths = peel(given.rows, given.offsets, starts, held_by, state, per_input)
        loads[order] += per_input * deaths
        found = _placed(problem, order)
        reached = worth(problem, given, found)
        if reached >= best_worth:  # a later pass is better at other budgets
            best, best_worth = found, reached
        most = bound(rows, loads / passes, np.array([problem.budget_bytes]))[0]
        enough = best_worth >= (1 - GAP) * most or passes * given.rows.size >= TOUCHES
        if enough and passes >= LEAST_PASSES:
            break
    return Ranking(best, loads / passes, {"passes": passes})


def worth(problem: Problem, given: StackedInputs, placed: Order) -> float:
    """What the rows of `placed` that the budget buys are worth by the problem's objective."""
    rows, objective = problem.rows, problem.objective
    bought = placed[: cut(rows, placed, problem.budget_bytes)]
    hot = np.zeros(rows.accesses.size, dtype=np.bool_)
    hot[bought] = True
    whole = wholly_hot(given.rows, given.offsets, hot)
    return objective.per_input * whole + objective.per_access * float(rows.accesses[bought].sum())


def _certain(problem: Problem, given: StackedInputs) -> Floats:
    """What each row is worth whatever else is hot: its accesses, and inputs that are always hot."""
    certain = problem.objective.per_access * problem.rows.accesses.astype(np.float64)
    always_hot = int((np.diff(given.offsets) == 0).sum())
    certain[problem.rows.out_of_vocabulary[0]] += problem.objective.per_input * always_hot
    return certain


def _placed(problem: Problem, dropped: np.ndarray[tuple[int], np.dtype[np.int32]]) -> Order:
    """Id 0 of each table, then the seen rows, last dropped first."""
    rows = problem.rows
    seen = np.zeros(rows.accesses.size, dtype=np.bool_)
    seen[rows.seen] = True
    kept = dropped[::-1].astype(np.int64)
    return np.concatenate([rows.out_of_vocabulary, kept[seen[kept]]])
