"""The rule `threshold`: the FAE paper's search, with the sizes of large tables estimated."""

from __future__ import annotations

import numpy as np

from fae.hotset.problem import StackedRows
from fae.hotset.rules.threshold import rank_by_threshold
from tests.support.stacked_tables import problem, stacked


def test_the_threshold_is_the_lowest_whose_rows_fit() -> None:
    rows = stacked([[0, 9, 5, 5, 1], [0, 7, 2]], [4, 4])
    for budget, threshold, count in [(8, 10, 2), (16, 6, 4), (23, 6, 4), (24, 3, 6), (28, 2, 7)]:
        ranking = rank_by_threshold(problem(rows, budget))
        assert ranking.notes["threshold"] == threshold
        assert ranking.ranked_rows.size == count
        assert ranking.notes["true_bytes"] == 4 * count <= budget


def test_the_estimate_bounds_the_hot_bytes_of_a_large_table() -> None:
    size = 100_000
    drawn = np.random.default_rng(3).zipf(1.5, size).clip(max=10_000)
    accesses = np.sort(drawn)[::-1].astype(np.int64)
    accesses[0] = 0
    rows = StackedRows.from_accesses(("t",), np.array([0, size]), accesses, np.array([68]))
    notes = rank_by_threshold(problem(rows, 10**6)).notes
    assert notes["true_bytes"] <= notes["estimated_bytes"] <= 10**6
    assert notes["true_bytes"] == 68 * (1 + int((accesses >= notes["threshold"]).sum()))
