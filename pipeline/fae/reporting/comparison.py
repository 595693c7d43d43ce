"""Compare all rules on the same train and held-out samples, budget by budget."""

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fae.arrays.arrow import BoolArray
from fae.hotset.hot_set import HotShares
from fae.hotset.problem import (
    Objective,
    Problem,
    Ranking,
    StackedSamples,
    count_affordable,
    track_nothing,
)
from fae.hotset.rules import RULES
from fae.hotset.rules.peeling_pass import count_hot_samples

#: Budgets to compare at, as shares of the bytes of all rows.
BUDGET_SHARES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.4)
#: What is compared: each rule with each objective that makes a choice of its own.
CHOICES: Mapping[str, tuple[Callable[[Problem], Ranking], Objective]] = {
    "inputs": (RULES["inputs"], Objective()),
    "inputs (future)": (RULES["inputs"], Objective(future=True)),
    **{name: (rule, Objective()) for name, rule in RULES.items() if name != "inputs"},
}


@dataclass(frozen=True)
class HeldOutSamples:
    """Samples of valid and test; `is_known` (samples,) says whose values all have a row."""

    samples: StackedSamples
    is_known: BoolArray


@dataclass(frozen=True)
class Comparison:
    """The shares of samples that each choice of CHOICES makes hot at each of `budgets`.

    `budgets` ascend, and `shares[choice]` and `bounds` have an entry for each. `samples` train
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
    bounds: tuple[float | None, ...]
    total_bytes: int
    accessed_bytes: int


def compare_rules(problem: Problem, held_out: HeldOutSamples) -> Comparison:
    """Compare every rule at each share of BUDGET_SHARES and at the budget of `problem`.

    Its rows have the accesses of just its samples. Budgets that cannot hold id 0 of every table are
    left out, since no hot set is that small. Each rule ranks anew for each budget, which costs as
    much as that many calibrations.
    """
    rows, samples = problem.rows, problem.read_samples()
    least, chosen = int(rows.row_bytes.sum()), problem.budget_bytes
    wanted = {chosen, *(int(share * rows.total_bytes) for share in BUDGET_SHARES)}
    budgets = tuple(sorted(budget for budget in wanted if budget >= least))
    known = _take_samples(held_out.samples, held_out.is_known)
    groups = (samples, held_out.samples, known)
    shares: dict[str, list[HotShares]] = {name: [] for name in CHOICES}
    worths: dict[int, list[float]] = {budget: [] for budget in budgets}
    choices = list(itertools.product(budgets, CHOICES.items()))
    with problem.track(len(choices)) as end_step:
        for budget, (name, (rule, objective)) in choices:
            changes: dict[str, Any] = {
                "budget_bytes": budget,
                "objective": objective,
                "track": track_nothing,
            }
            ranking = rule(replace(problem, **changes))
            hot = np.zeros(rows.count, dtype=np.bool_)
            bought = count_affordable(rows, ranking.ranked_rows, budget)
            hot[ranking.ranked_rows.head(bought).to_rows()] = True
            train, *others = (_measure_share(group, hot) for group in groups)
            shares[name].append(HotShares(name, train or 0.0, *others))
            if ranking.loads is not None:
                worths[budget].append(ranking.loads.bound_worth(np.array([budget]))[0])
            end_step()
    # The least bound that a rule's loads prove holds for all.
    bounds = [
        min(1.0, float(min(proven)) / samples.count) if proven else None
        for proven in worths.values()
    ]
    accessed = rows.access_counts.ranges.take(rows.access_counts.values > 0)
    return Comparison(
        samples=samples.count,
        held_out=held_out.samples.count,
        known=known.count,
        budgets=budgets,
        chosen_budget=chosen,
        shares={name: tuple(of_choice) for name, of_choice in shares.items()},
        bounds=tuple(bounds),
        total_bytes=rows.total_bytes,
        accessed_bytes=rows.sum_bytes(accessed),
    )


def _measure_share(samples: StackedSamples, is_hot: BoolArray) -> float | None:
    """Return the share of the samples whose rows are all hot; None of no samples."""
    if not samples.count:
        return None
    return count_hot_samples(samples.rows, samples.offsets, is_hot) / samples.count


def _take_samples(samples: StackedSamples, is_taken: BoolArray) -> StackedSamples:
    """Return some of the samples."""
    lengths = np.diff(samples.offsets)
    offsets = np.concatenate([[0], np.cumsum(lengths[is_taken])]).astype(np.int64)
    return StackedSamples(samples.rows[np.repeat(is_taken, lengths)], offsets)
