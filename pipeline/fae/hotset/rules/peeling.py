"""Peeling: the hot set that makes the most samples wholly hot.

A sample is hot only if all its rows are, so the worth of a row depends on the rows beside it.
Choosing rows of bounded bytes that contain the most samples is the densest-subhypergraph problem
with a budget: rows are vertices, samples are hyperedges.

One pass of peeling is Charikar's greedy algorithm (APPROX 2000): remove the row of least worth per
byte, and with it the samples that access it, until no row is left; the last rows to go are the
densest. Every sample is charged to the row whose removal ended it. Greedy++ repeats passes (Boob et
al., "Flowless", WWW 2020), and adds to a row's worth the charges of earlier passes, its load: rows
that were charged much, though removed early, stay longer next time. It converges to the densest
decomposition (Chekuri, Quanrud and Torres, SODA 2022).

The mean loads of all passes assign each sample's worth to its own rows, so they also bound what
any hot set can reach (see `bound_worth`), and the rule stops once it is near enough to the bound.

Of a large log, most accesses are to rows that are hot under any rule, and most rows are accessed by
one sample. So a core of rows is hot from the start, only samples with other rows are read
(`contested`), and rows of one sample are one contestant (`contest`). A tenth of the accesses is
left.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Self

import numpy as np

from fae.arrays.arrow import BoolArray, Int32Array, Int64Array
from fae.arrays.jit import kernel
from fae.arrays.run_length import RowRanges
from fae.hotset.contested import find_contested
from fae.hotset.problem import (
    Floats,
    Problem,
    Ranking,
    StackedRows,
    StackedSamples,
    count_affordable,
)
from fae.hotset.rules.accesses import rank_by_accesses, rank_by_density
from fae.hotset.rules.contest import Contestants, join_rows
from fae.hotset.rules.peeling_pass import Peeler, count_hot_samples

#: Passes end once the worth of the hot set is within this share of the bound …
TARGET_GAP = 0.003
#: … or once so many passes together gain less than this share …
PATIENCE_PASSES, MIN_GAIN = 70, 0.0005
#: … or once all passes together have visited this share of all accesses, and at least so many.
VISITED_SHARE, MIN_VISITED = 0.45, 10_000_000
MIN_PASSES, MAX_PASSES = 5, 200
#: One pass in so many, the first included, removes all rows. The others stop when the remaining
#: rows take this share of the budget.
FULL_PASS_INTERVAL, STOP_SHARE = 4, 0.5
#: Where there are at least so many accesses, the densest rows up to this share of the budget are
#: taken for hot, and those that the first pass removes before so many budgets are left, for cold.
LARGE_ACCESSES, CORE_SHARE, BAND_BUDGETS = 4_000_000, 1 / 16, 4
#: The best price of a byte lies within so many octaves below the highest load per byte.
_PRICE_OCTAVES, _BISECTIONS = 40, 16


def rank_by_peeling(
    problem: Problem, support: Floats | None = None, max_passes: int | None = None
) -> Ranking:
    """Rank rows by repeated peeling, in the order of the pass that is best at the budget.

    Most passes stop below the budget, since the choice is made above it; the remaining rows are
    ranked as in the last full pass. The ranking is never worth less than that of `rank_by_accesses`
    at the budget. Time is linear in the accesses. Deterministic. `support` (rows,) are shares of
    the rows' worth that count when the next row to remove is chosen; None counts all. At most
    `max_passes` are made, by default MAX_PASSES.
    """
    rows = problem.rows
    by_accesses = rank_by_accesses(problem).ranked_rows
    bought = by_accesses.head(count_affordable(rows, by_accesses, problem.budget_bytes))
    is_large = rows.access_counts.total >= LARGE_ACCESSES
    core = _choose_core(problem, bought) if is_large else bought.head(0)
    contest = _Contest.of(problem, core, bought, may_join=support is None)
    peeler = contest.start(support)
    most_passes = max_passes or MAX_PASSES
    most_visits = max(VISITED_SHARE * rows.access_counts.total, MIN_VISITED)
    best: Int32Array | None = None
    worths = [contest.worth_of_accesses]
    visits = 0
    with problem.track(_estimate_passes(contest, most_visits, most_passes)) as end_step:
        for passes in range(1, most_passes + 1):
            visits += peeler.samples.rows.size
            order = peeler.make_pass(contest.stop_bytes(passes))
            worth = contest.measure_worth(peeler, order)
            if worth >= worths[-1]:  # of equals the later, which is better at other budgets
                best = peeler.list_all(order)
            worths.append(max(worth, worths[-1]))
            limit = contest.bound_worth(peeler.mean_loads())
            end_step()
            is_near = worths[-1] >= (1 - TARGET_GAP) * limit
            gain = worths[-1] - worths[max(len(worths) - 1 - PATIENCE_PASSES, 0)]
            is_done = passes > PATIENCE_PASSES and gain < MIN_GAIN * worths[-1]
            if passes >= MIN_PASSES and (is_near or is_done or visits >= most_visits):
                break
            if passes == 1 and is_large:
                peeler = peeler.narrow(order, BAND_BUDGETS * contest.free_bytes)
    ranked_rows = by_accesses if best is None else contest.rank(best)
    return Ranking(ranked_rows, contest.load_rows(peeler.mean_loads()), {"passes": passes})


def measure_worth(problem: Problem, samples: StackedSamples, ranked_rows: RowRanges) -> float:
    """Return the worth, by the problem's objective, of the `ranked_rows` that the budget buys."""
    rows, objective = problem.rows, problem.objective
    bought = ranked_rows.head(count_affordable(rows, ranked_rows, problem.budget_bytes))
    hot_samples = count_hot_samples(samples.rows, samples.offsets, _mark_rows(rows, bought))
    return objective.per_sample * hot_samples + _sum_access_worth(problem, bought)


def _sum_access_worth(problem: Problem, ranges: RowRanges) -> float:
    """Return what the accesses to rows are worth, if they count at all."""
    per_access = problem.objective.per_access
    return per_access * float(problem.rows.access_counts.sum_ranges(ranges).sum())


def _mark_rows(rows: StackedRows, marked: RowRanges) -> BoolArray:
    """Return which of all rows are among the marked ones."""
    is_marked = np.zeros(rows.count, dtype=np.bool_)
    is_marked[marked.to_rows()] = True
    return is_marked


def _choose_core(problem: Problem, bought: RowRanges) -> RowRanges:
    """Return the rows to take for hot, most accesses per byte first.

    They are among those that the rule `accesses` buys.
    """
    rows = problem.rows
    by_density = rank_by_density(rows)
    if not by_density.size:
        return by_density
    free_bytes = problem.budget_bytes - int(rows.row_bytes.sum())
    densest = by_density.head(count_affordable(rows, by_density, int(CORE_SHARE * free_bytes)))
    core = densest.to_rows()
    return rows.to_ranges(core[_mark_rows(rows, bought)[core]])


def _estimate_passes(contest: _Contest, most_visits: float, most_passes: int) -> int:
    """Return how many passes there are if they do not come near the bound before."""
    passes = int(most_visits // max(contest.samples.rows.size, 1))
    return min(max(passes, MIN_PASSES), most_passes)


@dataclass(frozen=True)
class _Contest:
    """A problem whose `core` is hot, and what else is to decide.

    `fixed` are the rows that are hot in any case: id 0 of each table, then the core. They are worth
    `fixed_worth`, distributed among them as `fixed_loads`. `worth_of_accesses` is the worth of what
    the rule `accesses` buys.
    """

    problem: Problem
    samples: StackedSamples
    contestants: Contestants
    certain: Floats
    fixed: RowRanges
    fixed_loads: Floats
    fixed_worth: float
    worth_of_accesses: float

    @classmethod
    def of(cls, problem: Problem, core: RowRanges, bought: RowRanges, *, may_join: bool) -> Self:
        """Return what is to decide; `bought` is what the rule `accesses` buys, core included."""
        rows, objective = problem.rows, problem.objective
        contested = find_contested(problem, core)
        left = contested.samples
        fixed = RowRanges.concat(rows.to_ranges(rows.oov_rows), core)
        fixed_rows = fixed.to_rows()
        loads = objective.per_access * rows.access_counts.take(fixed_rows).astype(np.float64)
        by_row = np.argsort(fixed_rows)
        charged = by_row[np.searchsorted(fixed_rows, contested.charged_rows, sorter=by_row)]
        loads[charged] += objective.per_sample * contested.charges
        hot = count_hot_samples(left.rows, left.offsets, _mark_rows(rows, bought))
        hot_worth = objective.per_sample * (contested.hot_count + hot)
        samples, contestants = join_rows(rows, core, left, may_join=may_join)
        certain = objective.per_access * contestants.sum_members(rows.access_counts)
        return cls(
            problem,
            samples,
            contestants,
            certain.astype(np.float64),
            fixed,
            loads,
            float(loads.sum()),
            hot_worth + _sum_access_worth(problem, bought),
        )

    @property
    def free_bytes(self) -> int:
        """The bytes of the budget that the fixed rows leave."""
        return self.problem.budget_bytes - self.problem.rows.sum_bytes(self.fixed)

    def start(self, support: Floats | None) -> Peeler:
        """Return a peeler among all contestants."""
        count, cost_bytes = self.contestants.count, self.contestants.cost_bytes
        inverse_cost = self.problem.rows.row_bytes.min() / cost_bytes
        if support is not None:  # contestants are rows, then
            inverse_cost *= support[self.contestants.members]
        return Peeler(
            self.samples,
            cost_bytes,
            inverse_cost.astype(np.float32),
            self.certain,
            self.problem.objective.per_sample,
            charged=np.zeros(self.samples.count, dtype=np.int32),
            loads=np.zeros(count),
            numbers=np.arange(count, dtype=np.int32),
            cold=np.empty(0, dtype=np.int32),
            cold_loads=np.zeros(count),
        )

    def stop_bytes(self, passes: int) -> int:
        """Return the bytes of the contestants at which a pass, numbered from 1, stops."""
        if passes % FULL_PASS_INTERVAL == 1:
            return -1
        spent = self.problem.budget_bytes - self.free_bytes
        return max(int(STOP_SHARE * self.problem.budget_bytes) - spent, -1)

    def measure_worth(self, peeler: Peeler, order: Int32Array) -> float:
        """Return the worth of what the budget buys: fixed rows, then contestants in `order`."""
        spent = np.cumsum(peeler.cost_bytes[order])
        hot = order[: np.searchsorted(spent, self.free_bytes, side="right")]
        is_hot = np.zeros(order.size, dtype=np.bool_)
        is_hot[hot] = True
        samples = peeler.samples
        hot_samples = count_hot_samples(samples.rows, samples.offsets, is_hot)
        return self.fixed_worth + peeler.per_sample * hot_samples + float(peeler.certain[hot].sum())

    def bound_worth(self, loads: Floats) -> float:
        """Return an upper bound on the worth of any hot set, from loads of the contestants."""
        rows = self.problem.rows
        tables = len(rows.tables)  # id 0 of each comes first, and takes its bytes in any case
        core_loads = self.fixed_loads[tables:]
        core_bytes = rows.list_costs(self.fixed.to_rows()[tables:])
        budget_bytes = self.problem.budget_bytes - int(rows.row_bytes.sum())
        all_loads = np.concatenate([loads, core_loads])
        cost_bytes = np.concatenate([self.contestants.cost_bytes, core_bytes])
        core_and_contest = _bound_knapsack(all_loads, cost_bytes, float(budget_bytes))
        return float(self.fixed_loads[:tables].sum()) + core_and_contest

    def rank(self, order: Int32Array) -> RowRanges:
        """Return the ranking with the contestants in `order`, of which unseen rows are left out."""
        rows = self.problem.rows
        members = self.contestants.list_members(order)
        seen = members[rows.access_counts.take(members) > 0]
        return RowRanges.concat(self.fixed, rows.to_ranges(seen))

    def load_rows(self, loads: Floats) -> Floats:
        """Return the loads of all rows, (rows,), from those of the contestants."""
        rows, members = self.problem.rows, self.contestants.members
        per_access = self.problem.objective.per_access
        of_rows: Floats = per_access * rows.access_counts.to_numpy().astype(np.float64)
        of_rows[self.fixed.to_rows()] = self.fixed_loads
        # The rows of a contestant have its charges in proportion to their bytes.
        per_byte = (loads - self.certain) / self.contestants.cost_bytes
        lengths = np.diff(self.contestants.offsets)
        of_rows[members] += np.repeat(per_byte, lengths) * rows.list_costs(members)
        return of_rows


@kernel
def _bound_knapsack(loads: Floats, cost_bytes: Int64Array, budget_bytes: float) -> float:
    """Return an upper bound on the loads of any choice that takes at most `budget_bytes`.

    For any price of a byte, it is the price of the budget and what loads exceed their price by.
    The best price is about that at which the loads that exceed theirs take the budget.
    """
    high = 0.0
    for i in range(loads.size):
        high = max(high, loads[i] / cost_bytes[i])
    low = high * 0.5**_PRICE_OCTAVES
    for _ in range(_BISECTIONS):
        price = math.sqrt(low * high)
        spent = 0.0
        for i in range(loads.size):
            if loads[i] > price * cost_bytes[i]:
                spent += cost_bytes[i]
        if spent > budget_bytes:
            low = price
        else:
            high = price
    bound = high * budget_bytes
    for i in range(loads.size):
        bound += max(loads[i] - high * cost_bytes[i], 0.0)
    return bound
