"""Compare all rules on the same train and held-out samples, budget by budget."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import count, pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from fae.arrays.arrow import BoolArray, Int32Array, Int64Array
from fae.arrays.jit import kernel
from fae.hotset.hot_set import HotShares
from fae.hotset.problem import (
    Objective,
    Problem,
    Ranking,
    StackedRows,
    StackedSamples,
    count_affordable_each,
)
from fae.hotset.rules import RULES
from fae.hotset.rules.peeling import LARGE_ACCESSES

#: Budgets to compare at, as shares of the bytes of all rows: with the chosen one, eight at most.
BUDGET_SHARES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.4)
#: What a ranking by samples counts for in the progress.
RANKING_STEPS = 10


@dataclass(frozen=True)
class Choice:
    """A rule with an objective, whose ranking for a budget is cut at smaller ones too.

    These are at most `reach` times smaller; of many accesses, one ranking serves all, unless the
    rule has no reach at all. A ranking costs up to half a calibration, so the rules that look at
    samples rank for few budgets: see benchmarks/RESULTS.md for what that changes.
    """

    rule: Callable[[Problem], Ranking]
    objective: Objective = field(default_factory=Objective)
    reach: float = 1

    @property
    def is_by_samples(self) -> bool:
        """Whether it ranks by samples; all else takes no time."""
        return self.rule is RULES["inputs"]


#: What is compared: each rule with each objective that makes a choice of its own.
CHOICES: Mapping[str, Choice] = {
    "inputs": Choice(RULES["inputs"], reach=6),
    "inputs (future)": Choice(RULES["inputs"], Objective(future=True), reach=12),
    "accesses": Choice(RULES["accesses"]),
    "threshold": Choice(RULES["threshold"]),
    "per-table": Choice(RULES["per-table"], reach=math.inf),  # its ranking is the same for all
}


@dataclass(frozen=True)
class HeldOutSamples:
    """Samples of valid and test; `is_known` (samples,) says whose values all have a row."""

    samples: StackedSamples
    is_known: BoolArray


@dataclass(frozen=True)
class Comparison:
    """The shares of samples that each choice of CHOICES makes hot at each of `budgets`.

    `budgets` ascend, and `shares[choice]` and `bounds` have an entry for each. `ranked_budgets` are
    those that a choice ranked for, of the choices that did not do so for each. `samples` train
    samples and `held_out` others are compared, of which `known` have values with rows alone.
    `bounds` are shares of train that no hot set can exceed, or None where no rule proves one.
    `total_bytes` are those of all rows, and `accessed_bytes` those of the rows that the train
    samples access.
    """

    samples: int
    held_out: int
    known: int
    budgets: tuple[int, ...]
    chosen_budget: int
    shares: dict[str, tuple[HotShares, ...]]
    ranked_budgets: dict[str, tuple[int, ...]]
    bounds: tuple[float | None, ...]
    total_bytes: int
    accessed_bytes: int


def compare_rules(problem: Problem, held_out: HeldOutSamples) -> Comparison:
    """Compare every rule at each share of BUDGET_SHARES and at the budget of `problem`.

    Its rows have the accesses of just its samples. Budgets that cannot hold id 0 of every table are
    left out, since no hot set is that small.
    """
    rows, samples = problem.rows, problem.read_samples()
    least, chosen = int(rows.row_bytes.sum()), problem.budget_bytes
    wanted = {chosen, *(int(share * rows.total_bytes) for share in BUDGET_SHARES)}
    budgets = tuple(sorted(budget for budget in wanted if budget >= least))
    known = _take_samples(held_out.samples, held_out.is_known)
    groups = (samples, held_out.samples, known)
    shares: dict[str, tuple[HotShares, ...]] = {}
    worths: list[npt.NDArray[np.float64]] = []
    ranked = {
        name: list_ranked(budgets, chosen, _find_reach(choice, rows))
        for name, choice in CHOICES.items()
    }
    steps = sum(
        RANKING_STEPS * len(ranked[name])
        for name, choice in CHOICES.items()
        if choice.is_by_samples
    )
    with problem.track("compare", steps) as end_step, ThreadPoolExecutor(problem.threads) as pool:

        def rank(name: str) -> list[Ranking]:
            return _rank(problem, CHOICES[name], budgets[0], ranked[name], end_step)

        for name, rankings in zip(CHOICES, pool.map(rank, CHOICES), strict=True):
            worths += [
                ranking.loads.bound_worth(np.array(budgets))
                for ranking in rankings
                if ranking.loads is not None
            ]
            hot_at = _mark_budgets(rows, budgets, ranked[name], rankings)
            train, *others = (_measure_shares(group, hot_at, len(budgets)) for group in groups)
            of_budgets = zip(train, *others, strict=True)
            shares[name] = tuple(HotShares(name, hot or 0.0, *rest) for hot, *rest in of_budgets)
    # What any loads prove holds for all hot sets, at each budget.
    bounds = np.minimum(np.min(worths, axis=0) / samples.count, 1.0).tolist() if worths else None
    accessed = rows.access_counts.ranges.take(rows.access_counts.values > 0)
    return Comparison(
        samples=samples.count,
        held_out=held_out.samples.count,
        known=known.count,
        budgets=budgets,
        chosen_budget=chosen,
        shares=shares,
        ranked_budgets={
            name: of_choice
            for name, of_choice in ranked.items()
            if of_choice != budgets and CHOICES[name].reach < math.inf
        },
        bounds=tuple(bounds or (None for _ in budgets)),
        total_bytes=rows.total_bytes,
        accessed_bytes=rows.sum_bytes(accessed),
    )


def _find_reach(choice: Choice, rows: StackedRows) -> float:
    is_large = rows.access_counts.total >= LARGE_ACCESSES
    return math.inf if is_large and choice.is_by_samples else choice.reach


def _rank(
    problem: Problem,
    choice: Choice,
    least: int,
    budgets: Sequence[int],
    end_step: Callable[[], None],
) -> list[Ranking]:
    """Return the ranking for each of `budgets`, of which the first serves those down to `least`."""
    rankings = []
    for budget in budgets:
        progress = _RankingProgress(end_step)
        changes: dict[str, Any] = {
            "budget_bytes": budget,
            "least_budget_bytes": least,
            "objective": choice.objective,
            "track": progress.track,
        }
        rankings.append(choice.rule(replace(problem, **changes)))
        if choice.is_by_samples:
            progress.show(1)
    return rankings


@dataclass
class _RankingProgress:
    """Shows the passes of a ranking, of which there are many or few, as RANKING_STEPS steps."""

    end_step: Callable[[], None]
    steps: int = 0

    @contextmanager
    def track(self, stage: str, passes: int) -> Iterator[Callable[[], None]]:
        """Yield what a rule calls after each of so many passes."""
        done = count(1)
        yield lambda: self.show(next(done) / passes) if stage == "rank" else None

    def show(self, share: float) -> None:
        """Show a share of the ranking as done."""
        while self.steps < int(share * RANKING_STEPS):
            self.steps += 1
            self.end_step()


def list_ranked(budgets: Sequence[int], chosen: int, reach: float) -> tuple[int, ...]:
    """Return the budgets, of some that ascend, to rank for.

    They are the largest, the chosen one, and each that is more than `reach` times smaller than the
    next of them above. With an infinite reach, the largest serves all.
    """
    if reach == math.inf:
        return (max(budgets),)
    ranked: list[int] = []
    for budget in reversed(budgets):
        if not ranked or budget == chosen or budget * reach < ranked[-1]:
            ranked.append(budget)
    return tuple(reversed(ranked))


def _mark_budgets(
    rows: StackedRows,
    budgets: Sequence[int],
    ranked: Sequence[int],
    rankings: Sequence[Ranking],
) -> npt.NDArray[np.uint8]:
    """Return at which budgets each row is hot, (rows,): bit i is set if it is at `budgets[i]`.

    Each budget buys from the ranking, of those for the budgets `ranked`, that is for the next one.
    """
    hot_at = np.zeros(rows.count, dtype=np.uint8)
    served_by = np.searchsorted(ranked, budgets)
    for place, ranking in enumerate(rankings):
        served = np.flatnonzero(served_by == place)
        bought = count_affordable_each(rows, ranking.ranked_rows, np.array(budgets)[served])
        order = ranking.ranked_rows.to_rows()
        # What a budget buys, all larger ones buy too.
        bits = [np.bitwise_or.reduce(1 << served[i:]) for i in range(served.size)]
        for (begin, end), bit in zip(pairwise([0, *bought.tolist()]), bits, strict=True):
            hot_at[order[begin:end]] |= np.uint8(bit)
    return hot_at


def _measure_shares(
    samples: StackedSamples, hot_at: npt.NDArray[np.uint8], budgets: int
) -> list[float | None]:
    """Return the share of the samples whose rows are all hot at each budget; None of no samples."""
    if not samples.count:
        return [None] * budgets
    counts = _count_hot_samples(samples.rows, samples.offsets, hot_at, budgets)
    shares: list[float | None] = (counts / samples.count).tolist()
    return shares


@kernel
def _count_hot_samples(
    rows: Int32Array, offsets: Int64Array, hot_at: npt.NDArray[np.uint8], budgets: int
) -> Int64Array:
    """Return how many samples are hot at each budget, from the bits that `_mark_budgets` sets."""
    counts = np.zeros(budgets, np.int64)
    for sample in range(offsets.size - 1):
        bits = (1 << budgets) - 1
        for access in range(offsets[sample], offsets[sample + 1]):
            bits &= hot_at[rows[access]]
            if not bits:
                break
        for i in range(budgets):
            counts[i] += bits >> i & 1
    return counts


def _take_samples(samples: StackedSamples, is_taken: BoolArray) -> StackedSamples:
    """Return some of the samples."""
    lengths = np.diff(samples.offsets)
    offsets = np.concatenate([[0], np.cumsum(lengths[is_taken])]).astype(np.int64)
    return StackedSamples(samples.rows[np.repeat(is_taken, lengths)], offsets)
