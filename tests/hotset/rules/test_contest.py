"""Contestants: rows, or all the rows that one sample alone accesses."""

from __future__ import annotations

import numpy as np

from fae.arrays.run_length import RowRanges
from fae.hotset.rules.contest import join_rows, keep_whole_samples
from tests.support.stacked_tables import stacked, stacked_samples

#: Rows 1 to 6 of two tables, of 4 and 8 bytes a row; row 1 is the core.
ROWS = stacked([[0, 5, 2, 1], [0, 2, 1, 1]], [4, 8])
CORE = RowRanges(np.array([1]), np.array([1]))
SAMPLES = [[2, 5], [2, 3, 6, 7], [5]]


def test_rows_that_one_sample_alone_accesses_are_one_contestant() -> None:
    samples, contestants = join_rows(ROWS, CORE, stacked_samples(SAMPLES), may_join=True)
    # Contestants 0 and 1 are rows 2 and 5, and contestant 2 has the others of the second sample.
    assert samples.rows.tolist() == [0, 1, 0, 2, 1]
    assert samples.offsets.tolist() == [0, 2, 4, 5]
    assert contestants.cost_bytes.tolist() == [4, 8, 4 + 8 + 8]
    assert contestants.list_members(np.array([2, 0])).tolist() == [3, 6, 7, 2]
    assert contestants.sum_members(ROWS.access_counts).tolist() == [2, 2, 3]


def test_rows_that_may_not_be_joined_are_contestants_each() -> None:
    samples, contestants = join_rows(ROWS, CORE, stacked_samples(SAMPLES), may_join=False)
    assert contestants.members.tolist() == [2, 3, 5, 6, 7]
    assert samples.rows.tolist() == [0, 2, 0, 1, 3, 4, 2]


def test_seen_rows_without_samples_are_contestants() -> None:
    _, contestants = join_rows(ROWS, CORE, stacked_samples([[2]]), may_join=True)
    assert sorted(contestants.members.tolist()) == [2, 3, 5, 6, 7]


def test_samples_are_kept_if_all_their_contestants_are() -> None:
    samples = stacked_samples([[0, 1], [1, 2], [2]])
    kept = keep_whole_samples(samples, np.array([-1, 1, 0], dtype=np.int32))
    assert kept.rows.tolist() == [1, 0, 0]
    assert kept.offsets.tolist() == [0, 2, 3]
