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
import numpy.typing as npt

from fae.arrays.run_length import RowRanges
from fae.hotset.rules.accesses import accesses
from fae.hotset.rules.peeling import STATE, holders, peel, wholly_hot
from fae.hotset.rules.problem import Floats, Order, Problem, Ranking, StackedInputs, bound, cut

#: Passes end when the hot set is within this share of the bound, or when this many have touched
#: this many accesses each.
GAP = 0.003
TOUCHES = 300_000_000
LEAST_PASSES, MOST_PASSES = 3, 200
#: Every so many passes, from the first on, all rows are dropped; the other passes end when the rows
#: that are left take this share of the budget.
WHOLE_PASS, DEPTH = 4, 0.5


def inputs(problem: Problem) -> Ranking:
    """Rows by iterated peeling, in the order of the pass that is best at the budget.

    Most passes end below the budget, since that is where the choice is made; the rows that are left
    are ranked as the last whole pass did. Never worth less than `accesses` at the budget. Linear in
    the accesses, of which it holds about 9 bytes each, and 80 a row. Deterministic.
    """
    rows, given = problem.rows, problem.inputs()
    count, per_input = rows.count, problem.objective.per_input
    starts, held_by = holders(given.rows, given.offsets, count)
    certain = _certain(problem)
    charged = np.full(given.count, rows.out_of_vocabulary[0], dtype=np.int32)
    state = np.zeros(count, dtype=STATE)
    state["rate"] = rows.price.min() / rows.price
    best = accesses(problem).placed
    best_worth = worth(problem, given, best)
    loads = np.zeros(count)
    whole = np.empty(0, dtype=np.int32)
    for passes in range(1, MOST_PASSES + 1):
        state["load"] = loads + certain
        is_whole = passes % WHOLE_PASS == 1
        stop_bytes = -1 if is_whole else int(DEPTH * problem.budget_bytes)
        dropped = peel(
            given.rows, given.offsets, starts, held_by, state, per_input, rows.price, stop_bytes,
            charged,
        )  # fmt: skip
        loads += certain + per_input * np.bincount(charged, minlength=count)
        whole = dropped[::-1] if is_whole else whole
        found = rows.runs(_placed(problem, dropped, whole))
        reached = worth(problem, given, found)
        if reached >= best_worth:  # a later pass is better at other budgets
            best, best_worth = found, reached
        most = bound(rows, loads / passes, np.array([problem.budget_bytes]))[0]
        enough = best_worth >= (1 - GAP) * most or passes * given.rows.size >= TOUCHES
        if enough and passes >= LEAST_PASSES:
            break
    return Ranking(best, loads / passes, {"passes": passes})


def worth(problem: Problem, given: StackedInputs, placed: RowRanges) -> float:
    """What the rows of `placed` that the budget buys are worth by the problem's objective."""
    rows, objective = problem.rows, problem.objective
    bought = placed.head(cut(rows, placed, problem.budget_bytes))
    hot = np.zeros(rows.count, dtype=np.bool_)
    hot[bought.to_rows()] = True
    whole = wholly_hot(given.rows, given.offsets, hot)
    accesses = float(rows.levels.sum_ranges(bought).sum()) if objective.per_access else 0.0
    return objective.per_input * whole + objective.per_access * accesses


def _certain(problem: Problem) -> Floats:
    """What each row is worth whatever else is hot: its accesses; nothing by most objectives."""
    return problem.objective.per_access * problem.rows.accesses.astype(np.float64)


Rows = npt.NDArray[np.int32]


def _placed(problem: Problem, dropped: Rows, whole: Rows) -> Order:
    """Id 0 of each table, then the seen rows, last dropped first.

    Rows that are not in `dropped` come before those that are, in the order of `whole`, which has
    the rows of a whole pass, last dropped first.
    """
    rows = problem.rows
    gone = np.zeros(rows.count, dtype=np.bool_)
    gone[dropped] = True
    seen = np.zeros(rows.count, dtype=np.bool_)
    seen[rows.seen] = True
    order = np.concatenate([whole[~gone[whole]], dropped[::-1]])
    return np.concatenate([rows.out_of_vocabulary, order[seen[order]]])
