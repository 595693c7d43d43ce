"""Coverage: samples by the number of hot rows from which on they are hot."""

from __future__ import annotations

import numpy as np
import pytest

from fae.hotset.coverage import Coverage, find_row_count

#: Hot from the start, from 2 and from 3 hot rows on, and never.
SAMPLES = np.array([1, 0, 4, 2, 3])


def coverage_at(samples: np.ndarray, cuts: np.ndarray) -> Coverage:
    """Return the coverage at some cuts, from that at every number of rows."""
    hot = np.cumsum(samples)[cuts]
    return Coverage(cuts, np.diff(hot, prepend=0, append=samples.sum()))


def test_coverage_counts_samples_by_their_coldest_access() -> None:
    coverage = coverage_at(SAMPLES, np.arange(4))
    assert coverage.total == 10
    assert coverage.count_hot(np.array([0, 1, 2, 3])).tolist() == [1, 1, 5, 7]


def test_coverage_between_cuts_is_not_known() -> None:
    with pytest.raises(ValueError, match="only at its cuts"):
        coverage_at(SAMPLES, np.array([0, 3])).count_hot(np.array([2]))


@pytest.mark.parametrize(
    ("share", "rows"), [(0.0, 0), (0.1, 0), (0.11, 2), (0.5, 2), (0.7, 3), (0.71, None)]
)
def test_the_search_finds_the_fewest_rows_for_a_share(share: float, rows: int | None) -> None:
    assert find_row_count(share, 3, lambda cuts: coverage_at(SAMPLES, cuts)) == rows


def test_the_search_among_many_rows_takes_few_steps() -> None:
    samples = np.random.default_rng(3).integers(0, 3, 3_000_000)
    hot = np.cumsum(samples[:-1])
    steps = 0

    def measure(cuts: np.ndarray) -> Coverage:
        nonlocal steps
        steps += 1
        return coverage_at(samples, cuts)

    for share in (0.0, 1e-7, 0.3, 0.77777, 0.999999):
        suffices = np.flatnonzero(hot >= share * samples.sum())
        expected = int(suffices[0]) if suffices.size else None
        assert find_row_count(share, samples.size - 2, measure) == expected
    assert steps <= 5 * 2
