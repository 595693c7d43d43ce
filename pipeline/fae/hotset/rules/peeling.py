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
any hot set can reach (see `loads`), and the rule stops once it is near enough to the bound.

Of a large log, most accesses are to rows that are hot under any rule, and most rows are accessed by
one sample. So a core of rows is hot from the start, only samples with other rows are read
(`contested`), and rows of one sample are one contestant (`contest`). A tenth of the accesses is
left. Their loads are first balanced by all threads (`balancing`), which proves the bound; then a
few passes of peeling choose among the rows that the loads put near the budget.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from fae.arrays.arrow import BoolArray, Int32Array
from fae.arrays.run_length import RowRanges
from fae.hotset.contested import find_contested
from fae.hotset.loads import Floats, Loads
from fae.hotset.problem import (
    Problem,
    Ranking,
    StackedRows,
    StackedSamples,
    buy_rows,
    rank_others,
)
from fae.hotset.rules.accesses import rank_by_accesses
from fae.hotset.rules.balancing import balance_loads
from fae.hotset.rules.contest import Contestants, join_rows, keep_whole_samples
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
#: taken for hot, loads are balanced by so many passes, and so many passes of peeling choose among
#: the rows whose loads per byte are highest, up to so many budgets.
LARGE_ACCESSES, CORE_SHARE = 4_000_000, 1 / 16
BALANCING_PASSES, LARGE_PASSES, BAND_BUDGETS = 10, 3, 4
SHARED_PASSES = 2  # of balancing, besides, where the ranking serves smaller budgets too
#: The other contestants follow by load per byte or, where there are more than these, by accesses,
#: as ranges of rows, since each row alone would take 100 bytes in the stages that follow.
MOST_OTHERS = 1 << 22


def rank_by_peeling(
    problem: Problem,
    support: Floats | None = None,
    max_passes: int = 0,
    core: RowRanges | None = None,
) -> Ranking:
    """Rank rows by repeated peeling, the best first.

    Most passes stop below the budget, since the choice is made above it; the remaining rows are
    ranked as in the last full pass. The ranking is never worth less than that of `rank_by_accesses`
    at the budget. Time is linear in the accesses. Deterministic. `support` (rows,) are shares of
    the rows' worth that count when the next row to remove is chosen; None counts all. At most
    `max_passes` are made, by default MAX_PASSES. `core` is by default that of `choose_core`.
    """
    rows = problem.rows
    by_accesses = rank_by_accesses(problem).ranked_rows
    bought = buy_rows(rows, by_accesses, problem.budget_bytes)
    core = choose_core(problem, bought) if core is None else core
    # Rows of one sample whose accesses count would be worth something without the others.
    may_join = support is None and not problem.objective.per_access
    contest, *samples = _Contest.of(problem, core, bought, may_join=may_join)
    if core.size:
        choice = _choose_among_band(contest, samples, support)
    else:
        choice = _repeat_passes(contest, samples[0], support, max_passes or MAX_PASSES)
    ranked_rows = by_accesses if choice.ranked_rows is None else choice.ranked_rows
    return Ranking(ranked_rows, choice.loads, {"passes": choice.passes})


@dataclass(frozen=True)
class _Choice:
    """Rows, best first, or None where the rule `accesses` is better; and the loads."""

    ranked_rows: RowRanges | None
    loads: Loads
    passes: int


def _repeat_passes(
    contest: _Contest, samples: StackedSamples, support: Floats | None, max_passes: int
) -> _Choice:
    """Return the best order of up to `max_passes` passes over all contestants."""
    problem, contestants = contest.problem, contest.contestants
    peeler = Peeler(
        samples,
        contestants.cost_bytes,
        contest.invert_costs(support),
        contest.certain,
        problem.objective.per_sample,
        np.zeros(contestants.count),
    )
    accesses = samples.rows.size
    most_visits = max(VISITED_SHARE * problem.rows.access_counts.total, MIN_VISITED)
    passes = max(MIN_PASSES, math.ceil(most_visits / max(accesses, 1)))
    best: Int32Array | None = None
    worths = [contest.worth_of_accesses]
    with problem.track("rank", min(passes, max_passes)) as end_step:
        for passes in range(1, max_passes + 1):
            order = peeler.make_pass(contest.stop_bytes(passes))
            worth = contest.measure_worth(peeler, order)
            if worth >= worths[-1]:  # of equals the later, which is better at other budgets
                best = order
            worths.append(max(worth, worths[-1]))
            loads = contest.complete_loads(peeler.mean_loads)
            limit = loads.bound_worth(np.array([problem.budget_bytes]))[0]
            end_step()
            is_near = worths[-1] >= (1 - TARGET_GAP) * limit
            gain = worths[-1] - worths[max(len(worths) - 1 - PATIENCE_PASSES, 0)]
            is_done = passes > PATIENCE_PASSES and gain < MIN_GAIN * worths[-1]
            is_long = passes * accesses >= most_visits
            if passes >= MIN_PASSES and (is_near or is_done or is_long):
                break
    return _Choice(None if best is None else contest.rank(best), loads, passes)


def _choose_among_band(
    contest: _Contest, samples: list[StackedSamples], support: Floats | None
) -> _Choice:
    """Return the best order of a few passes over the band, the others by their balanced loads.

    The band has the contestants of highest load per byte. The memory of `samples`, one item, is
    reused and freed.
    """
    problem, contestants = contest.problem, contest.contestants
    inverse_cost, per_sample = contest.invert_costs(support), problem.objective.per_sample
    balancing = BALANCING_PASSES + SHARED_PASSES * (problem.least_budget_bytes is not None)
    passes = balancing + LARGE_PASSES
    with problem.track("rank", passes + 1) as end_step:
        worths = (contest.certain, per_sample)
        loads = balance_loads(
            samples[0], inverse_cost, worths, balancing, problem.threads, end_step
        )
        density = (loads * inverse_cost).astype(np.float32)
        by_density = np.argsort(-density, kind="stable").astype(np.int32)
        spent = np.cumsum(contestants.cost_bytes[by_density])
        size_bytes = BAND_BUDGETS * contest.free_bytes
        band_size = np.searchsorted(spent, size_bytes, side="right")
        band, others = by_density[:band_size].copy(), by_density[band_size:]
        if others.size > MOST_OTHERS:
            others = others[:0].copy()
        del spent, density, by_density  # of all contestants: peeling needs their memory
        labels = np.full(contestants.count, -1, dtype=np.int32)
        labels[band] = np.arange(band.size, dtype=np.int32)
        peeler = Peeler(
            keep_whole_samples(samples.pop(), labels),
            contestants.cost_bytes[band],
            inverse_cost[band],
            contest.certain[band],
            per_sample,
            loads[band] * balancing,
            balancing,
        )
        del labels, inverse_cost
        best = _peel_band(contest, peeler, end_step)
        del peeler
        ranked_rows = None if best is None else contest.rank(np.concatenate([band[best], others]))
        end_step()
    return _Choice(ranked_rows, contest.complete_loads(loads), passes)


def _peel_band(
    contest: _Contest, peeler: Peeler, end_pass: Callable[[], None]
) -> Int32Array | None:
    """Return the best order of a few passes; None if the rule `accesses` is better."""
    best, best_worth = None, contest.worth_of_accesses
    for number in range(1, LARGE_PASSES + 1):
        order = peeler.make_pass(contest.stop_bytes(number))
        worth = contest.measure_worth(peeler, order)
        if worth >= best_worth:
            best, best_worth = order, worth
        end_pass()
    return best


def measure_worth(problem: Problem, samples: StackedSamples, ranked_rows: RowRanges) -> float:
    """Return the worth, by the problem's objective, of the `ranked_rows` that the budget buys."""
    rows, objective = problem.rows, problem.objective
    bought = buy_rows(rows, ranked_rows, problem.budget_bytes)
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


def choose_core(problem: Problem, bought: RowRanges) -> RowRanges:
    """Return the rows to take for hot, most accesses per byte first; none of a small problem.

    They are among those that the rule `accesses` buys, `bought`.
    """
    rows = problem.rows
    by_density = rows.by_density
    if rows.access_counts.total < LARGE_ACCESSES or not by_density.size:
        return by_density.head(0)
    free_bytes = (problem.least_budget_bytes or problem.budget_bytes) - int(rows.row_bytes.sum())
    densest = buy_rows(rows, by_density, int(CORE_SHARE * free_bytes))
    core = densest.to_rows()
    return rows.to_ranges(core[_mark_rows(rows, bought)[core]])


@dataclass(frozen=True)
class _Contest:
    """A problem whose `core` is hot, and what else is to decide.

    `fixed` are the rows that are hot in any case: id 0 of each table, then the core. They are worth
    `fixed_worth`, distributed among them as `fixed_loads`. `worth_of_accesses` is the worth of what
    the rule `accesses` buys.
    """

    problem: Problem
    contestants: Contestants
    certain: Floats
    fixed: RowRanges
    fixed_loads: Floats
    fixed_worth: float
    worth_of_accesses: float

    @classmethod
    def of(
        cls, problem: Problem, core: RowRanges, bought: RowRanges, *, may_join: bool
    ) -> tuple[Self, StackedSamples]:
        """Return what is to decide, and the samples by contestant.

        `bought` is what the rule `accesses` buys, core included.
        """
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
        with problem.track("join", 1) as end_step:
            samples, contestants = join_rows(rows, core, left, may_join=may_join)
            end_step()
        certain = np.broadcast_to(0.0, contestants.count)
        if objective.per_access:
            certain = objective.per_access * contestants.sum_members(rows.access_counts)
        contest = cls(
            problem,
            contestants,
            certain,
            fixed,
            loads,
            float(loads.sum()),
            hot_worth + _sum_access_worth(problem, bought),
        )
        return contest, samples

    @property
    def free_bytes(self) -> int:
        """The bytes of the budget that the fixed rows leave."""
        return self.problem.budget_bytes - self.problem.rows.sum_bytes(self.fixed)

    def invert_costs(self, support: Floats | None) -> npt.NDArray[np.float32]:
        """Return the inverse of each contestant's bytes, times the support of its row."""
        inverse_cost = self.problem.rows.row_bytes.min() / self.contestants.cost_bytes
        if support is not None:  # contestants are rows, then
            inverse_cost *= support[self.contestants.members]
        narrow: npt.NDArray[np.float32] = inverse_cost.astype(np.float32)
        return narrow

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

    def complete_loads(self, loads: Floats) -> Loads:
        """Return the loads of the contestants with those of the fixed rows."""
        rows = self.problem.rows
        tables = len(rows.tables)  # id 0 of each comes first
        core_bytes = rows.list_costs(self.fixed.to_rows()[tables:])
        return Loads(
            float(self.fixed_loads[:tables].sum()),
            int(rows.row_bytes.sum()),
            np.concatenate([loads, self.fixed_loads[tables:]]),
            np.concatenate([self.contestants.cost_bytes, core_bytes]),
        )

    def rank(self, order: Int32Array) -> RowRanges:
        """Return the ranking with the contestants in `order`, and without unseen rows.

        The other contestants follow by accesses per byte.
        """
        rows = self.problem.rows
        members = self.contestants.list_members(order)
        seen = members[rows.access_counts.take(members) > 0]
        ranked_rows = RowRanges.concat(self.fixed, rows.to_ranges(seen))
        if order.size == self.contestants.count:
            return ranked_rows
        others = rank_others(rows, ranked_rows, rows.access_counts)
        is_seen = rows.access_counts.take(others.begins) > 0
        return RowRanges.concat(ranked_rows, others.take(is_seen))
