"""Rules are compared at every budget, and their shares are exact."""

from __future__ import annotations

import math
from itertools import combinations

import pytest

from fae.hotset.problem import Problem
from fae.hotset.problem_data import stack_rows, stack_samples
from fae.hotset.rules import RULES, peeling
from fae.reporting import comparison
from fae.reporting.comparison import CHOICES, list_ranked
from fae.reporting.data import read_held_out_samples, read_rows, read_train_samples
from fae.reporting.facts import read_facts
from fae.reporting.page import RULE_MEANINGS
from fae.reporting.report import Report
from fae.reporting.style import format_share, format_size
from tests.support.report_pages import Page, as_sets
from tests.support.small_logs import Stages


def test_every_rule_is_compared_at_every_budget(
    criteo: Stages, criteo_report: tuple[Page, Report]
) -> None:
    page, report = criteo_report
    comparison = report.comparison
    assert set(comparison.shares) == {*RULES, "inputs (future)"} == set(RULE_MEANINGS)
    total_bytes = sum(table.rows for table in criteo.manifest.tables) * (16 * 4 + 4)
    shares = (0.01, 0.02, 0.05, 0.1, 0.2, 0.4)
    budgets = sorted({100_000, *(int(share * total_bytes) for share in shares)})
    assert list(comparison.budgets) == [budget for budget in budgets if budget >= 26 * 68]
    assert comparison.samples == sum(leaf.rows for leaf in criteo.manifest.splits["train"].values())
    # The data set was made by `accesses`, from the same samples and with the same budget.
    chosen = comparison.budgets.index(100_000)
    expected = criteo.manifest.preparation["hot_share"]["train"]
    assert comparison.shares["accesses"][chosen].train == expected
    assert comparison.shares["accesses"][chosen] == criteo.hot_set.shares[0]
    for index in range(len(comparison.budgets)):
        best = max(comparison.shares[rule][index].train for rule in RULES)
        assert best == comparison.shares["inputs"][index].train
        assert best <= (comparison.bounds[index] or 1)
    held_out = page.table("Share of the held-out samples that are hot")
    known = page.table("Share of the held-out samples whose values all have a row")
    shares = comparison.shares["inputs (future)"][chosen]
    assert held_out[chosen]["inputs (future)"] == format_share(shares.held_out)
    assert known[chosen]["inputs (future)"] == format_share(shares.known)
    lines = page.table("Share of the compared train samples")
    assert [row["budget"] for row in lines] == [
        format_size(budget) for budget in comparison.budgets
    ]
    assert lines[chosen]["accesses"] == format_share(expected)


@pytest.mark.parametrize(
    ("chosen", "reach", "ranked"),
    [
        (95, 1, (10, 20, 50, 95, 100, 200, 400)),
        (95, 6, (10, 95, 400)),
        (95, 12, (95, 400)),
        (10, 6, (10, 50, 400)),
        (95, math.inf, (400,)),
    ],
)
def test_a_ranking_serves_budgets_within_its_reach(
    chosen: int, reach: float, ranked: tuple[int, ...]
) -> None:
    budgets = sorted({10, 20, 50, 100, 200, 400, chosen})
    assert list_ranked(budgets, chosen, reach) == ranked


def test_one_ranking_of_many_accesses_serves_all_budgets(
    criteo: Stages, criteo_report: tuple[Page, Report], monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (peeling, comparison):
        monkeypatch.setattr(module, "LARGE_ACCESSES", 1)
    facts = read_facts(criteo.dataset)
    source = (criteo.dataset, facts, read_rows(criteo.dataset, facts), 1_000_000, 0)
    rows, samples = read_train_samples(*source)
    problem = Problem(rows, lambda: samples, 100_000, threads=2)
    compared = comparison.compare_rules(problem, read_held_out_samples(*source))
    largest = compared.budgets[-1]
    assert compared.ranked_budgets == {"inputs": (largest,), "inputs (future)": (largest,)}
    for index, bound in enumerate(compared.bounds):
        assert bound is not None
        for shares in (criteo_report[1].comparison.shares, compared.shares):
            assert max(points[index].train for points in shares.values()) <= bound
        ranked = criteo_report[1].comparison.shares["inputs"][index].train
        assert compared.shares["inputs"][index].train >= ranked - 0.02


def test_the_compared_shares_are_exact(shop: Stages, shop_report: tuple[Page, Report]) -> None:
    """Compare with sets in plain Python; no rule beats the best of all choices of rows."""
    comparison = shop_report[1].comparison
    schema = shop.staging.schema
    rows = stack_rows(shop.frequencies, schema, shop.manifest.embedding)
    stacked = stack_samples(shop.staging, shop.frequencies)
    samples = [set(rows_) for rows_ in as_sets(stacked)]
    for index, budget in enumerate(comparison.budgets):
        for name, choice in CHOICES.items():
            own = comparison.ranked_budgets.get(name, comparison.budgets)
            next_above = min(other for other in own if other >= budget)
            problem = Problem(rows, lambda: stacked, next_above, choice.objective)
            hot = set(choice.rule(problem).ranked_rows.to_rows()[: budget // 20].tolist())
            expected = sum(sample <= hot for sample in samples) / 16
            assert comparison.shares[name][index].train == expected
        spare = min(budget // 20 - 2, rows.seen_rows.size)
        choices = combinations(rows.seen_rows.tolist(), spare)
        best = max(sum(sample <= set(choice) for sample in samples) for choice in choices) / 16
        bound = comparison.bounds[index] or 1
        assert comparison.shares["inputs"][index].train <= best <= bound
