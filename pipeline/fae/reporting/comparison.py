"""Compare all rules on the same train samples, budget by budget."""

from dataclasses import dataclass

import numpy as np

from fae.hotset.problem import Problem, StackedRows, StackedSamples, bound_worth, count_affordable
from fae.hotset.rules import RULES
from fae.hotset.rules.peeling import count_hot_samples

#: Budgets to compare at, as shares of the bytes of all rows.
BUDGET_SHARES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.4)


@dataclass(frozen=True)
class Comparison:
    """The share of `samples` samples that each rule makes hot at each of `budgets`.

    `budgets` ascend, and `hot_shares[rule]` and `bounds` have a number for each. `bounds` are
    shares that no hot set can exceed, or None where no rule proves one. `total_bytes` are those of
    all rows, and `accessed_bytes` those of the rows that the samples access.
    """

    samples: int
    budgets: tuple[int, ...]
    chosen_budget: int
    hot_shares: dict[str, tuple[float, ...]]
    bounds: tuple[float | None, ...]
    total_bytes: int
    accessed_bytes: int


def compare_rules(
    rows: StackedRows, samples: StackedSamples, chosen_budget: int, seed: int
) -> Comparison:
    """Compare every rule at each share of BUDGET_SHARES and at `chosen_budget`, in bytes.

    `rows` has the accesses of just these `samples`. Budgets that cannot hold id 0 of every table
    are left out, since no hot set is that small. Each rule ranks anew for each budget, which costs
    as much as that many calibrations.
    """
    least = int(rows.row_bytes.sum())
    wanted = {chosen_budget, *(int(share * rows.total_bytes) for share in BUDGET_SHARES)}
    budgets = tuple(sorted(budget for budget in wanted if budget >= least))
    hot_shares: dict[str, list[float]] = {name: [] for name in RULES}
    bounds = []
    for budget in budgets:
        problem = Problem(rows, lambda: samples, budget, seed=seed)
        rankings = {name: rule(problem) for name, rule in RULES.items()}
        for name, ranking in rankings.items():
            hot = np.zeros(rows.count, dtype=np.bool_)
            bought = count_affordable(rows, ranking.ranked_rows, budget)
            hot[ranking.ranked_rows.head(bought).to_rows()] = True
            hot_samples = count_hot_samples(samples.rows, samples.offsets, hot)
            hot_shares[name].append(hot_samples / samples.count)
        # The least bound that a rule's loads prove holds for all.
        loads = [ranking.loads for ranking in rankings.values() if ranking.loads is not None]
        worths = [bound_worth(rows, of_rule, np.array([budget]))[0] for of_rule in loads]
        bounds.append(min(1.0, float(min(worths)) / samples.count) if worths else None)
    accessed = rows.access_counts.ranges.take(rows.access_counts.values > 0)
    return Comparison(
        samples=samples.count,
        budgets=budgets,
        chosen_budget=chosen_budget,
        hot_shares={name: tuple(shares) for name, shares in hot_shares.items()},
        bounds=tuple(bounds),
        total_bytes=rows.total_bytes,
        accessed_bytes=rows.sum_bytes(accessed),
    )
