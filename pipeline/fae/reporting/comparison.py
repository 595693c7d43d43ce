"""The comparison: what every rule would have made of the same train inputs, budget by budget."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fae.hotset.problem import (
    Problem,
    Ranking,
    StackedRows,
    StackedSamples,
    bound_worth,
    count_affordable,
)
from fae.hotset.rules import RULES
from fae.hotset.rules.peeling import count_hot_samples

#: Budgets as shares of the bytes of all rows.
SHARES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.4)


@dataclass(frozen=True)
class Comparison:
    """The share of `inputs` that are hot, by rule, at each of `budgets`, which ascend.

    `bounds` (budgets,) is a share that no hot set can exceed, or None where no rule knows one.
    `everything` is the bytes of all rows; `accessed` those of rows that the inputs access.
    """

    inputs: int
    budgets: tuple[int, ...]
    own: int
    hot: dict[str, tuple[float, ...]]
    bounds: tuple[float | None, ...]
    everything: int
    accessed: int


def compare(rows: StackedRows, inputs: StackedSamples, own_budget: int, seed: int) -> Comparison:
    """Every rule of RULES at each share of SHARES and at `own_budget`.

    `rows` has the accesses of just these `inputs`. Budgets that cannot hold id 0 of every table are
    left out, for no hot set has so few bytes. Each rule ranks anew for each budget: the cost is
    that of a calibration for each of them.
    """
    everything = rows.total_bytes
    least = int(rows.row_bytes.sum())
    wanted = {own_budget, *(int(share * everything) for share in SHARES)}
    budgets = tuple(sorted(budget for budget in wanted if budget >= least))
    rankings = {
        name: [rule(Problem(rows, lambda: inputs, budget, seed=seed)) for budget in budgets]
        for name, rule in RULES.items()
    }
    return Comparison(
        inputs=inputs.count,
        budgets=budgets,
        own=own_budget,
        hot={
            name: tuple(
                _hot_share(rows, inputs, ranking, budget)
                for ranking, budget in zip(found, budgets, strict=True)
            )
            for name, found in rankings.items()
        },
        bounds=tuple(
            _bound(rows, inputs, [found[place] for found in rankings.values()], budget)
            for place, budget in enumerate(budgets)
        ),
        everything=everything,
        accessed=rows.sum_bytes(rows.access_counts.ranges.take(rows.access_counts.values > 0)),
    )


def _hot_share(
    rows: StackedRows, inputs: StackedSamples, ranking: Ranking, budget_bytes: int
) -> float:
    hot = np.zeros(rows.count, dtype=np.bool_)
    bought = count_affordable(rows, ranking.ranked_rows, budget_bytes)
    hot[ranking.ranked_rows.head(bought).to_rows()] = True
    return count_hot_samples(inputs.rows, inputs.offsets, hot) / inputs.count


def _bound(
    rows: StackedRows, inputs: StackedSamples, rankings: list[Ranking], budget_bytes: int
) -> float | None:
    """The least of the bounds that the rankings' loads give, as a share of the inputs."""
    at = np.array([budget_bytes])
    found = [bound_worth(rows, one.loads, at)[0] for one in rankings if one.loads is not None]
    return min(1.0, float(min(found)) / inputs.count) if found else None
