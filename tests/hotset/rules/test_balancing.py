"""Balanced loads: all of the worth, as even as can be, whatever the number of threads."""

from __future__ import annotations

import numpy as np
import pytest

from fae.hotset.loads import Loads
from fae.hotset.rules.balancing import balance_loads
from tests.support.stacked_tables import stacked_samples


def balance(sets: list[list[int]], count: int, passes: int, threads: int = 1) -> list[float]:
    """Return the loads of rows of equal cost."""
    worths = (np.zeros(count), 1.0)
    inverse_cost = np.ones(count, dtype=np.float32)
    samples = stacked_samples(sets)
    loads = balance_loads(samples, inverse_cost, worths, passes, threads, lambda: None)
    return loads.tolist()


def test_loads_become_even_where_samples_leave_a_choice() -> None:
    # Row 0 alone has three samples; rows 1 and 2 share four, and row 1 could take one of row 0.
    sets = [[0], [0], [0], [0, 1], [1, 2], [1, 2], [1, 2]]
    assert balance(sets, 3, 60) == pytest.approx([3, 2, 2], abs=0.1)


@pytest.mark.parametrize("threads", [2, 4])
def test_loads_do_not_depend_on_the_number_of_threads(threads: int) -> None:
    rng = np.random.default_rng(3)
    sets = [sorted(set(rng.zipf(1.5, 4).clip(max=60).tolist())) for _ in range(500)]
    loads = balance(sets, 61, 4)
    assert sum(loads) == pytest.approx(500)
    assert balance(sets, 61, 4, threads) == loads


def test_the_bound_is_the_fractional_knapsack_of_the_loads() -> None:
    # Id 0 has 2 of 10 bytes; then 4 bytes of density 1, and 4 of 8 bytes of density 1/2.
    loads = Loads(1.0, 2, np.array([4.0, 4.0, 1.0]), np.array([4, 8, 16]))
    budgets = np.array([2, 10, 14, 1000])
    assert loads.bound_worth(budgets).tolist() == pytest.approx([1, 7, 9, 10], rel=1e-3)
    assert (loads.bound_worth(budgets) >= [1, 7, 9, 10]).all()
